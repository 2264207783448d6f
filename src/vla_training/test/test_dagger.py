"""Collecting corrections: who drives, what is kept, that a run goes on where it ended."""

from dataclasses import replace
import functools

import numpy as np
import pytest

from vla_core.errors import VlaError
from vla_sim.scripted import ScriptedExpert
from vla_sim.scripted_values import Goal
from vla_training.dagger import collect as collecting
from vla_training.dagger.collect import collect, DaggerOptions
from vla_training.dagger.teacher import Driver, ELSEWHERE, TaughtPolicy
from vla_training.data.corrected import CorrectionDataset
from vla_training.data.corrections import correction_files
from vla_training.evaluation.episode import Episode
from vla_training.evaluation.evaluate import run_one
from vla_training.evaluation.options import EvaluationOptions
from vla_training.evaluation.policies import ConstantPolicy

from conftest import CONTRACT  # isort: skip

FORWARD = functools.partial(ConstantPolicy, CONTRACT, np.tile([2e-4, 0, -2e-4, 0, 0, 0], (8, 1)))
DRIVERS = (Driver.DEMONSTRATOR, Driver.POLICY)
SHORT = EvaluationOptions(limit_s=4.0, task='moving')


def taught(driver):
    policy = TaughtPolicy(FORWARD())
    policy.driver = driver
    run_one(7, policy, SHORT)
    return policy.kept


def test_the_policy_drives_and_the_demonstrator_answers(monkeypatch):
    sights = []
    plan = ScriptedExpert.plan
    monkeypatch.setattr(
        ScriptedExpert, 'plan',
        lambda self, sight, goal: sights.append(sight) or plan(self, sight, goal),
    )  # fmt: skip
    kept = taught(Driver.POLICY)
    moved_m = sights[-1].tip_m - sights[0].tip_m
    assert moved_m[0] > 0.003 and moved_m[2] < -0.003  # what the policy wanted
    assert 0.1 * len(sights) < len(kept) < len(sights)  # far from the opening: a share of them
    assert 0.2 < ELSEWHERE < 0.5
    last = kept[-1]
    assert last.truth.shape == (12,) and np.abs(last.truth[6:9]).max() > 0  # the eye moves
    assert last.actions.shape == (8, 6)


@pytest.mark.parametrize('driver', [Driver.DEMONSTRATOR, Driver.HAMPERED])
def test_the_demonstrator_drives_where_told_to(driver):
    one, other = taught(driver), taught(Driver.POLICY)
    tips = [kept[-1].inputs.state[0, 6:9].numpy() for kept in (one, other)]
    assert np.linalg.norm(tips[0] - tips[1]) > 0.003
    same = taught(driver)
    assert len(same) == len(one)
    np.testing.assert_array_equal(same[-1].actions, one[-1].actions)


def test_a_demonstrator_who_only_watches_says_how_fast_it_should_go_not_how_fast_it_goes():
    episode = Episode(3, FORWARD(), SHORT)
    devices, watching = episode._devices, ScriptedExpert()
    sight = devices.commanded.sight(devices.now_ns)
    crept_m = np.array([1e-4, 0.0, -1e-4])  # 1.4 mm/s, a tenth of what he would do
    for tick in range(30):
        now = replace(sight, stamp_ns=tick * 100_000_000, tip_m=sight.tip_m + tick * crept_m)
        plan = watching.plan(now, Goal.INSERT)
    episode.close()
    assert np.linalg.norm(plan.delta[0, :3]) > 4 * np.linalg.norm(crept_m)


def test_each_episode_draws_its_setting_and_shares_are_about_those_asked_for():
    options = DaggerOptions(0.3, 0.2, moving_share=0.6, nominal_share=0.5)
    drawn = [options.draw(seed) for seed in range(400)]
    assert drawn == [options.draw(seed) for seed in range(400)]
    settings = [setting for setting, _ in drawn]
    drivers = [driver for _, driver in drawn]
    assert 0.2 < drivers.count(Driver.DEMONSTRATOR) / 400 < 0.4
    assert 0.1 < drivers.count(Driver.HAMPERED) / 400 < 0.3
    assert 0.5 < np.mean([setting.task == 'moving' for setting in settings]) < 0.7
    jitters = np.array([setting.camera_jitter for setting in settings])
    assert 0.2 < np.mean(jitters == 3.0) < 0.4 and set(jitters.tolist()) == {1.0, 3.0}
    delays = np.array([setting.delays.vlm_delay_s for setting in settings])
    assert 0.4 < np.mean(delays == 0.381) < 0.6 and delays.min() >= 0 and delays.max() > 0.7
    with pytest.raises(VlaError, match='teacher_share 2'):
        DaggerOptions(teacher_share=2.0)
    with pytest.raises(VlaError, match='no more than 1 together'):
        DaggerOptions(teacher_share=0.6, hampered_share=0.6)


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(DaggerOptions, 'draw', lambda self, seed: (SHORT, DRIVERS[seed % 2]))


def test_a_run_that_was_ended_goes_on_with_what_is_missing(tmp_path, nano, short):
    told = []
    out, options = tmp_path / 'd', DaggerOptions()
    assert collect(nano, out, range(5, 6), options, 1, told.append, FORWARD) == 0
    before = (out / 'insert_000005.npz').read_bytes()
    assert collect(nano, out, range(5, 7), options, 1, told.append, FORWARD) == 1
    assert [(one.seed, one.driver) for one in told] == [(5, DRIVERS[1]), (6, DRIVERS[0])]
    assert (out / 'insert_000005.npz').read_bytes() == before
    data = CorrectionDataset(correction_files([out], nano), 5, 1)
    assert len(data) == sum(one.ticks for one in told)


def test_a_folder_takes_episodes_of_one_setting(tmp_path, nano):
    given = nano, tmp_path / 'd', range(300_000, 300_000)
    for _ in range(2):
        collect(*given, DaggerOptions(), 1, print, FORWARD)
    with pytest.raises(VlaError, match='wide_share was 0.3, is 0.5.*another folder'):
        collect(*given, DaggerOptions(wide_share=0.5), 1, print, FORWARD)


def test_the_number_of_processes_changes_nothing(tmp_path, nano):
    options = DaggerOptions(0.5, 0.5)
    seeds, contents = range(20, 22), []
    for jobs in (1, 2):
        out = tmp_path / str(jobs)
        collect(nano, out, seeds, options, jobs, lambda one: None, FORWARD)
        data = CorrectionDataset(correction_files([out], nano), 5, 1)
        contents.append(data.batch(np.arange(len(data)), np.random.default_rng(0)))
    np.testing.assert_array_equal(contents[0].actions, contents[1].actions)
    np.testing.assert_array_equal(contents[0].inputs.window, contents[1].inputs.window)


def test_scenes_of_an_evaluation_are_not_learned_from(nano, tmp_path):
    for seeds in (range(990, 1001), range(99_999, 100_001), range(1_000, 1_001)):
        with pytest.raises(VlaError, match='for evaluation and never learned from'):
            collect(nano, tmp_path / 'out', seeds, DaggerOptions(), 1, lambda one: None, FORWARD)
    assert not (tmp_path / 'out').exists()


def test_names_sort_as_seeds_do():
    assert collecting._name(42) < collecting._name(300_000)
