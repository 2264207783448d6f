"""Closed-loop evaluation: who can insert succeeds, who cannot fails, and time is told truly."""

from dataclasses import replace
import functools
import json
import math
from pathlib import Path
import shutil

import av
import numpy as np
import pytest

from vla_core.errors import VlaError
from vla_policy import manifest
from vla_policy.errors import CheckpointError
from vla_sim import gl
from vla_sim.eye_motion import VARIANTS
from vla_training.evaluation.evaluate import evaluate, Evaluation, run_one, wilson
from vla_training.evaluation.options import Delays, EvaluationOptions, Loss
from vla_training.evaluation.picture import draw_evaluation, draw_sweep, film
from vla_training.evaluation.policies import ConstantPolicy, mean_action, ScriptedPolicy
from vla_training.evaluation.sweep import Sweep, table
from vla_training.simulation.judge import Judge, STANDING_M

CONTRACT = Path(__file__).resolve().parents[3] / 'launch/config/contract/insertion.yaml'
SCRIPTED = functools.partial(ScriptedPolicy, CONTRACT)
HOLD = functools.partial(ConstantPolicy, CONTRACT, np.zeros((8, 6)))


@pytest.fixture(scope='module')
def scripted():
    return evaluate(SCRIPTED, [1001], EvaluationOptions())


def test_the_scripted_expert_inserts_and_holds_the_depth(scripted):
    assert scripted.successes == 1
    for result in scripted.results:
        assert result.entry_error_m < 0.0003 and abs(result.depth_error_m) < 0.0005
        assert 5 < result.duration_s < 25 and 0.1 < result.peak_force_n < 1.0


def test_who_does_not_move_runs_out_of_time():
    result = run_one(1000, HOLD(), EvaluationOptions(limit_s=2.0))
    assert not result.success and result.reason == 'time-out'
    assert np.isnan(result.entry_error_m) and result.duration_s == pytest.approx(2.0, abs=0.01)


def test_who_drives_past_the_opening_is_stopped_by_the_gate_or_never_enters():
    chunk = np.zeros((8, 6))
    chunk[:, 2] = -0.002  # straight down, 20 mm/s
    result = run_one(1000, ConstantPolicy(CONTRACT, chunk), EvaluationOptions(limit_s=8.0))
    assert not result.success


def test_features_are_as_old_as_the_latency_model_says():
    """One pass every 0.385 s, 0.381 s long, of pictures up to 0.25 s old."""
    options = EvaluationOptions(Delays(0.381, 2.6), limit_s=3.0)
    late = run_one(1000, SCRIPTED(), options)
    assert 0.1 < np.median(late.feature_ages_s) < 0.3 and max(late.feature_ages_s) < 0.42
    assert 0.5 < np.median(late.image_ages_s) < 0.85 and max(late.image_ages_s) < 1.1
    prompt = run_one(1000, SCRIPTED(), EvaluationOptions(Delays(0.0, 10.0), limit_s=3.0))
    assert np.median(prompt.image_ages_s) < 0.3


def test_features_older_than_the_hold_limit_let_the_robot_hold():
    result = run_one(1000, SCRIPTED(), EvaluationOptions(Delays(1.6, 0.6), limit_s=4.0))
    assert result.holds > 10 and not result.success


def test_the_same_seed_gives_the_same_result(scripted):
    again = run_one(1001, SCRIPTED(), EvaluationOptions())
    assert again == scripted.results[0]


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing():
    options = EvaluationOptions(limit_s=1.5, task='moving', loss=Loss(sensor=0.3, robot=0.1))
    alone = evaluate(SCRIPTED, [1000, 1001], options)
    side_by_side = evaluate(SCRIPTED, [1000, 1001], options, jobs=2)
    assert json.dumps(alone.to_dict()) == json.dumps(side_by_side.to_dict())


def test_features_are_reused_for_as_many_ticks_as_told():
    eight = Delays(0.1, 5.0, vl_reuse=8)
    assert eight.pass_period_s == pytest.approx(0.8)
    assert Delays(0.1, 5.0, vl_reuse=1).pass_period_s == pytest.approx(0.2)
    reused = run_one(1000, SCRIPTED(), EvaluationOptions(eight, limit_s=3.0))
    assert 0.7 < max(reused.feature_ages_s) < 0.9


@pytest.mark.parametrize(
    ('kind', 'name', 'values'),
    [
        (Delays, 'vlm_delay_s', (-1.0, math.inf, math.nan)),
        (Delays, 'vlm_hz', (0.0, 1e-300, math.inf, math.nan)),
        (Delays, 'expert_s', (-1.0, math.inf)),
        (Delays, 'vl_reuse', (-1, 10**30)),
        (EvaluationOptions, 'camera_jitter', (-1.0, 1e300, math.inf, math.nan)),
        (EvaluationOptions, 'limit_s', (0.0, math.inf, math.nan)),
        (EvaluationOptions, 'standing_m', (0.0, math.nan)),
        (EvaluationOptions, 'hold_age_s', (0.0, math.nan)),
        (Loss, 'sensor', (-0.1, 1.0, math.nan)),
    ],
)
def test_a_number_that_no_time_or_chance_can_be_is_refused_by_its_name(kind, name, values):
    for value in values:
        with pytest.raises(ValueError, match=name):
            kind(**{name: value})


def test_a_longer_hold_age_lets_old_features_act_and_overlapping_passes_keep_the_rate():
    slow = EvaluationOptions(Delays(0.8, 2.6), limit_s=3.0)
    assert run_one(1000, SCRIPTED(), slow).holds > 5
    patient = run_one(1000, SCRIPTED(), replace(slow, hold_age_s=2.5))
    assert patient.holds == 0 and max(patient.image_ages_s) > 1.5
    piped = replace(slow, delays=Delays(0.8, 2.6, overlap=True), hold_age_s=2.5)
    assert max(run_one(1000, SCRIPTED(), piped).feature_ages_s) < 0.42
    with pytest.raises(ValueError, match='hold_age'):
        EvaluationOptions(hold_age_s=0.0)


@pytest.mark.slow
def test_a_lost_stream_shows_in_what_it_feeds():
    """Most of the pictures, passes or datagrams lost: older inputs, and the robot holds."""
    whole = run_one(1000, SCRIPTED(), EvaluationOptions(limit_s=3.0))
    blinking = run_one(1000, SCRIPTED(), EvaluationOptions(limit_s=3.0, loss=Loss(images=0.6)))
    assert max(blinking.image_ages_s) > max(whole.image_ages_s) + 0.3
    for loss in (Loss(features=0.9), Loss(sensor=0.9), Loss(robot=0.95)):
        starved = run_one(1000, SCRIPTED(), EvaluationOptions(limit_s=3.0, loss=loss))
        assert starved.holds > whole.holds + 2
    silent = run_one(1000, SCRIPTED(), EvaluationOptions(limit_s=3.0, loss=Loss(chunks=0.99)))
    assert silent.jerk_m_s3 < 0.1 * whole.jerk_m_s3
    with pytest.raises(ValueError, match='loss of chunks'):
        Loss(chunks=1.0)


def test_the_judge_names_what_was_struck_and_counts_the_time_at_depth():
    judge = Judge(tissue_depth_m=0.012)
    judge.see(False, False, 0.1, 0.0, 0.0018, 0.0, 0.01)
    assert judge.harm == ''  # below the limit
    judge.see(False, False, 0.2, 0.0, 0.0018, 0.0, 0.01)
    judge.see(False, False, 0.2, 0.0, 0.009, 0.0, 0.01)
    assert judge.harm == 'struck the trocar' and judge.outcome == 'failure'  # the first counts
    far = Judge(tissue_depth_m=0.012)
    far.see(False, False, 0.2, 0.003, 0.009, 0.0, 0.01)
    assert far.harm == 'struck the eye'
    levered = Judge(tissue_depth_m=0.012)
    levered.see(True, False, 0.3, 0.0112, 0.0001, 0.1, 0.01)  # along the needle: the valve
    assert levered.harm == '' and levered.max_side_n == 0.1
    levered.see(True, False, 0.0, 0.0112, 0.0001, 0.13, 0.01)
    assert levered.harm == 'levered the trocar'
    far = Judge(tissue_depth_m=0.012, standing_m=0.00025)
    for _ in range(99):
        far.see(True, False, 0.0, 0.0112, 0.0001, 0.0, 0.01)
    assert not far.held
    far.see(True, False, 0.0, 0.0114, 0.0001, 0.0, 0.01)
    assert far.held
    far.see(True, False, 0.0, 0.0116, 0.0001, 0.0, 0.01)  # 0.6 mm too deep
    assert not far.held


@pytest.mark.parametrize(
    ('standing_m', 'mm_s', 'held'),
    [
        (1e-3, 0.9, True), (1e-3, 1.1, False), (STANDING_M['moving'], 0.9, False),
        (STANDING_M['moving'], 0.2, True), (STANDING_M['still'], 0.2, False),
        (STANDING_M['still'], 0.08, True),
        (2e-4, 0.9, False), (2e-4, -0.3, False), (2e-4, 0.15, True),
    ],
)  # fmt: skip
def test_who_creeps_through_the_depth_holds_nothing_unless_it_may(standing_m, mm_s, held):
    judge = Judge(0.012, standing_m)
    seconds = 1.0 / abs(mm_s)  # from one end of the tolerance to the other
    for at in np.arange(0.0, seconds, 0.01):
        judge.see(True, False, 0.0, 0.011 + 1e-3 * mm_s * (at - seconds / 2), 0.0001, 0.0, 0.01)
        if judge.held:
            break
    assert judge.held is held


def test_how_still_the_tip_must_stand_follows_from_the_eye_unless_it_is_said():
    assert EvaluationOptions().judged_standing_m == STANDING_M['still']
    moving = EvaluationOptions(task='moving')
    assert moving.judged_standing_m == STANDING_M['moving'] > STANDING_M['still']
    assert replace(moving, task='still').judged_standing_m == STANDING_M['still']
    assert EvaluationOptions(task='moving', standing_m=1e-3).judged_standing_m == 1e-3
    assert set(STANDING_M) == set(VARIANTS)


def test_wilson_intervals_are_those_of_the_textbook():
    assert wilson(190, 200) == pytest.approx((0.9104, 0.9726), abs=2e-4)
    assert wilson(0, 50)[0] == 0.0 and wilson(0, 50)[1] == pytest.approx(0.0714, abs=1e-4)
    assert wilson(50, 50)[1] == pytest.approx(1.0)
    with pytest.raises(ValueError, match='no episodes'):
        wilson(0, 0)


def test_the_result_is_json_with_the_promised_keys(scripted):
    text = json.dumps(scripted.to_dict(), allow_nan=False)
    data = json.loads(text)
    assert data['episodes'] == data['successes'] == 1 and len(data['interval']) == 2
    assert data['reasons'] == {'success': 1}
    options = EvaluationOptions(limit_s=1.5)
    held = Evaluation(options, (run_one(1000, HOLD(), options),))
    assert json.loads(json.dumps(held.to_dict(), allow_nan=False))['entry_error_mm']['p50'] is None


def test_a_sweep_changes_one_option_and_names_what_it_does_not_know():
    base = EvaluationOptions()
    sweep = Sweep.parse('vlm-delay-ms=0,800')
    assert [o.delays.vlm_delay_s for o in sweep.options(base)] == [0.0, 0.8]
    assert [o.task for o in Sweep.parse('task=still,moving').options(base)] == ['still', 'moving']
    assert Sweep.parse('vl-reuse=8').options(base)[0].delays.vl_reuse == 8
    assert Sweep.parse('chunks-loss=0.2').options(base)[0].loss == Loss(chunks=0.2)
    assert Sweep.parse('executor=rtc').options(base)[0].executor == 'rtc'
    with pytest.raises(VlaError, match='did you mean'):
        Sweep.parse('vlm-delay=3')
    with pytest.raises(VlaError, match='task'):
        Sweep.parse('task=jumping').options(base)
    with pytest.raises(VlaError, match='expected values'):
        Sweep.parse('images=')


def test_the_table_and_the_curve_of_a_sweep_tell_each_value(scripted, tmp_path):
    sweep = Sweep.parse('vlm-delay-ms=0,381')
    lines = table(sweep, [scripted, scripted]).splitlines()
    assert len(lines) == 3 and '1/1' in lines[1] and lines[2].split()[0] == '381'
    draw_sweep(sweep, [scripted, scripted], 'scripted', tmp_path / 'curve.png')
    assert (tmp_path / 'curve.png').stat().st_size > 5000


def test_checkpoints_are_compared_under_the_names_that_tell_them_apart(scripted):
    sweep = Sweep.parse('checkpoint=runs/flow/best,runs/regression/best')
    assert sweep.labels == ('flow', 'regression')
    assert sweep.options(EvaluationOptions()) == (EvaluationOptions(),) * 2
    assert 'regression  1/1' in table(sweep, [scripted, scripted])


def test_one_evaluation_is_drawn_even_where_nothing_came_to_an_end(scripted, tmp_path):
    options = EvaluationOptions(limit_s=1.5)
    held = Evaluation(options, (run_one(1000, HOLD(), options),))
    for number, found in enumerate((scripted, held)):
        draw_evaluation(found, 'policy', tmp_path / f'{number}.png')
        assert (tmp_path / f'{number}.png').stat().st_size > 10_000


def with_actions(nano, folder, **entry):
    """A copy of a checkpoint whose actions are normalised so."""
    shutil.copytree(nano, folder)
    path = folder / 'normalization.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {'action': entry}))
    manifest.write(folder)
    return folder


def test_the_mean_action_is_that_of_the_checkpoint(nano, tmp_path):
    mean, ones = [0.001 * k for k in range(6)], [1.0] * 6
    folder = with_actions(nano, tmp_path / 'a', method='mean_std', mean=mean, std=ones)
    chunk = mean_action(folder, 8)
    assert chunk.shape == (8, 6)
    np.testing.assert_allclose(chunk, np.tile(mean, (8, 1)))
    bounds = with_actions(nano, tmp_path / 'b', method='min_max', min=mean, max=ones)
    with pytest.raises(CheckpointError, match='not normalised by their mean'):
        mean_action(bounds, 8)


@pytest.mark.parametrize('text', ['', '{', '{}', None])
def test_a_mean_action_of_a_damaged_checkpoint_is_refused(nano, tmp_path, text):
    folder = tmp_path / 'damaged'
    shutil.copytree(nano, folder)
    path = folder / 'normalization.json'
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(CheckpointError, match='missing' if text is None else 'bytes'):
        mean_action(folder, 8)
    manifest.write(folder)  # as if it had been made so
    with pytest.raises(CheckpointError, match='cannot be read|expected the keys'):
        mean_action(folder, 8)


def test_a_film_shows_the_episode_at_five_pictures_a_second(tmp_path):
    try:
        gl.require()
    except gl.GraphicsError as error:
        pytest.skip(str(error))
    path = tmp_path / 'film {1}.mp4'
    film(1000, HOLD(), EvaluationOptions(limit_s=1.0), path)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    assert len(frames) in (8, 9) and frames[0].shape == (360, 960, 3)
    assert frames[0][:180].std() > 20
