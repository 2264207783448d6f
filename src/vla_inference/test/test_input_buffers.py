import math

from fakes import (
    buffers,
    CONTRACT,
    features,
    feed,
    move_robot,
    MS,
    sample_stamps,
    sample_values,
    START_NS,
    TASK,
    VIEWS,
)
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core.freshness import Reaction
from vla_core.timebase import NS

SLOT_NS = 100 * MS / 65
LAG_NS = 30 * MS


def test_fresh_inputs_are_used_and_every_field_of_the_lineage_is_filled():
    made = buffers()
    feed(made, START_NS + NS)
    shot = made.snapshot(START_NS + NS)
    assert (shot.reaction, shot.reasons, shot.task) == (Reaction.USE, (), TASK)
    line = shot.lineage
    assert line.views == VIEWS and line.feature_id == 1000
    assert line.view_stamps_ns == shot.features.view_stamps_ns
    assert line.features_ns == START_NS + NS
    assert START_NS + 865 * MS < line.sensor_first_ns < START_NS + 875 * MS
    assert START_NS + 965 * MS < line.sensor_last_ns <= START_NS + 972 * MS
    assert line.sensor_samples == 65 and line.sensor_fill == 1.0
    assert line.sensor_max_gap_s == pytest.approx(1 / 650, abs=1e-4)
    assert line.robot_ns == START_NS + 900 * MS
    assert line.image_age_s == pytest.approx(0.32) and line.feature_age_s == 0
    assert line.sensor_age_s == pytest.approx(0.03, abs=0.003)
    assert line.robot_age_s == pytest.approx(0.1)


def test_the_model_input_holds_what_the_lineage_tells():
    made = buffers()
    feed(made, START_NS + NS)
    inputs = made.snapshot(START_NS + NS).inputs
    assert inputs.window.shape == (65, 5) and inputs.window_mask.all()
    assert inputs.state.shape == (12,) and inputs.state[0] == pytest.approx(0.09)
    assert inputs.image_age_s == pytest.approx([0.3, 0.31, 0.32])
    assert inputs.feature_age_s == 0 and inputs.state_age_s == pytest.approx(0.1)


@settings(max_examples=60, deadline=None)
@given(
    event_ms=st.floats(-128.0, -32.0),
    phase_ns=st.integers(0, 1_600_000),
    split=st.integers(1, 15),
    rate_hz=st.sampled_from([640.0, 650.0, 700.0]),
)
def test_an_event_in_the_sensor_stream_lies_in_the_slot_of_its_time(
    event_ms, phase_ns, split, rate_hz
):
    made, tick_ns = buffers(), START_NS + NS
    stamps = sample_stamps(tick_ns - 400 * MS + phase_ns, tick_ns, rate_hz)
    event = int(np.argmin(np.abs(stamps - (tick_ns + event_ms * MS))))
    values = np.zeros((len(stamps), 5), np.float32)
    values[event] = 7.0
    for part in range(0, len(stamps), split):
        made.push_samples(stamps[part : part + split], values[part : part + split])
    assert made.snapshot(tick_ns).lineage.sensor_samples >= 62
    slots = np.flatnonzero(made.read_window(tick_ns).values[:, 0] == 7.0)
    expected = 64 - (tick_ns - LAG_NS - stamps[event]) / SLOT_NS
    if rate_hz <= 650 and 0 <= expected <= 63:  # a faster stream has more samples than slots
        assert len(slots) >= 1
    assert (np.abs(slots - expected) <= 1.75).all()


def test_samples_after_the_end_of_the_window_wait_for_the_next_tick():
    made = buffers()
    feed(made, START_NS + NS)
    before = made.read_window(START_NS + NS).values[-1, 0]
    assert before == pytest.approx(0.97, abs=0.003)
    after = made.read_window(START_NS + NS + 20 * MS).values[-1, 0]
    assert after == pytest.approx(0.99, abs=0.003)


def test_lost_samples_are_masked_and_shown():
    made, tick_ns = buffers(), START_NS + NS
    feed(made, tick_ns, sensor=False)
    stamps = sample_stamps(tick_ns - 300 * MS, tick_ns)
    lost = (stamps > tick_ns - 80 * MS) & (stamps < tick_ns - 70 * MS)
    made.push_samples(stamps[~lost], sample_values(stamps[~lost]))
    shot = made.snapshot(tick_ns)
    assert shot.reaction is Reaction.MARK and shot.reasons[0].startswith('sensor: window 9')
    assert (~shot.inputs.window_mask).sum() == pytest.approx(lost.sum(), abs=1)
    assert shot.lineage.sensor_max_gap_s == pytest.approx(0.0115, abs=0.003)


def test_a_window_that_is_mostly_empty_holds():
    made, tick_ns = buffers(), START_NS + NS
    feed(made, tick_ns, sensor=False)
    stamps = sample_stamps(tick_ns - 300 * MS, tick_ns)[::4]
    made.push_samples(stamps, sample_values(stamps))
    shot = made.snapshot(tick_ns)
    assert shot.reaction is Reaction.HOLD and 'full < 46% (hold)' in shot.reasons[0]


NAMES = {'sensor': 'sensor', 'robot': 'robot', 'vlm': 'features'}


@pytest.mark.parametrize('missing', NAMES)
def test_a_missing_input_holds_and_says_so(missing):
    made = buffers()
    feed(made, START_NS + NS, **{missing: False})
    shot = made.snapshot(START_NS + NS)
    assert shot.reaction is Reaction.HOLD and shot.inputs is None
    assert f'{NAMES[missing]}: nothing received yet' in shot.reasons
    ages = {'sensor': 'sensor_age_s', 'robot': 'robot_age_s', 'vlm': 'feature_age_s'}
    assert math.isnan(getattr(shot.lineage, ages[missing]))


AGES = [
    ('sensor', 0.055, Reaction.MARK), ('sensor', 0.3, Reaction.HOLD),
    ('sensor', 1.5, Reaction.STOP),
    ('robot', 0.1, Reaction.USE), ('robot', 0.2, Reaction.MARK), ('robot', 0.5, Reaction.HOLD),
    ('robot', 2.1, Reaction.STOP), ('vlm', 0.2, Reaction.USE), ('vlm', 0.7, Reaction.MARK),
    ('vlm', 1.3, Reaction.HOLD), ('vlm', 3.1, Reaction.STOP),
]  # fmt: skip


@pytest.mark.parametrize(('dead', 'silent_s', 'reaction'), AGES)
def test_an_input_that_ceases_is_marked_then_held_then_stopped(dead, silent_s, reaction):
    made, died_ns = buffers(), START_NS + 10 * NS
    now_ns = died_ns + round(silent_s * NS)
    feed(made, died_ns)
    feed(made, now_ns, start_ns=died_ns, **{dead: False})
    if dead != 'vlm':
        feed(made, now_ns, sensor=False, robot=False)
    shot = made.snapshot(now_ns)
    assert shot.reaction is reaction
    assert (shot.inputs is None) == (reaction >= Reaction.HOLD)
    if reaction is not Reaction.USE:
        assert any(reason.startswith(NAMES[dead]) for reason in shot.reasons)
        assert any(f'({reaction.name.lower()})' in reason for reason in shot.reasons)


@pytest.mark.parametrize('frozen', ['sensor', 'robot'])
def test_a_frozen_input_is_stale_although_it_keeps_coming(frozen):
    made, froze_ns = buffers(), START_NS + 10 * NS
    now_ns = froze_ns + 800 * MS
    feed(made, froze_ns)
    feed(made, now_ns, start_ns=froze_ns, **{frozen: False})
    if frozen == 'sensor':
        for stamp_ns in range(froze_ns, now_ns, 5 * MS):
            stamps = sample_stamps(stamp_ns, stamp_ns + 5 * MS)
            made.push_samples(stamps, np.ones((len(stamps), 5), np.float32))
    else:
        for stamp_ns in range(froze_ns, now_ns, 10 * MS):
            move_robot(made, stamp_ns, position=1.0)
    shot = made.snapshot(now_ns)
    assert shot.reaction is Reaction.HOLD
    assert any(reason.startswith(f'{frozen}: age 0.') for reason in shot.reasons)
    feed(made, now_ns + 300 * MS, start_ns=now_ns)
    assert made.snapshot(now_ns + 300 * MS).reaction is Reaction.USE, 'nothing latches'


def test_a_resting_robot_may_be_accepted():
    made, now_ns = buffers(robot_must_change=False), START_NS + 10 * NS
    feed(made, now_ns, robot=False)
    for stamp_ns in range(START_NS, now_ns, 100 * MS):
        move_robot(made, stamp_ns, position=1.0)
    assert made.snapshot(now_ns).reaction is Reaction.USE


def test_old_images_in_new_features_are_judged_by_the_oldest_view():
    made, now_ns = buffers(), START_NS + 10 * NS
    feed(made, now_ns, vlm=False)
    stamps = (now_ns - 200 * MS, now_ns - 1300 * MS, now_ns - 200 * MS)
    made.set_features(features(now_ns, view_stamps_ns=stamps), now_ns)
    shot = made.snapshot(now_ns)
    assert shot.reaction is Reaction.HOLD
    assert shot.reasons == ('images view2: age 1.30 s > 1.20 s (hold)',)


def test_an_input_from_the_future_is_held_not_fresh_for_ever():
    made, now_ns = buffers(), START_NS + 10 * NS
    feed(made, now_ns, robot=False)
    move_robot(made, now_ns + 3600 * NS)
    shot = made.snapshot(now_ns)
    assert shot.reaction is Reaction.HOLD and 'ahead of this clock' in shot.reasons[0]


def test_features_of_another_task_are_marked_then_held_until_new_ones_come():
    made, now_ns = buffers(), START_NS + 10 * NS
    feed(made, now_ns)
    assert made.set_task('retract', now_ns)
    feed(made, now_ns + 100 * MS, start_ns=now_ns, vlm=False)
    shot = made.snapshot(now_ns + 100 * MS)
    assert shot.task == 'retract' and shot.reaction is Reaction.MARK and shot.inputs is not None
    assert shot.reasons == (f"task: features are for '{TASK}', current 'retract' (mark)",)
    late_ns = now_ns + 1300 * MS
    feed(made, late_ns)  # the VLM goes on with the old task
    shot = made.snapshot(late_ns)
    assert shot.reaction is Reaction.HOLD and '(hold)' in shot.reasons[-1]
    made.set_features(features(late_ns, feature_id=99_999, task='retract'), late_ns)
    assert made.snapshot(late_ns).reaction is Reaction.USE


def test_an_empty_task_is_counted_and_changes_nothing():
    made = buffers()
    assert not made.set_task('  ', START_NS) and not made.set_task(TASK, START_NS)
    assert made.task == TASK and made.counters.get('empty_task') == 1


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        ({'checkpoint_hash': 'beef'}, 'made with checkpoint beef, this expert has c0ffee'),
        ({'contract_hash': 'beef'}, f'made with contract beef, this expert has {CONTRACT.hash}'),
        ({'views': ('view1',)}, 'made from views view1, not view1, view2, view3'),
    ],
)
def test_features_of_another_model_are_refused_counted_and_shown(change, text):
    made, now_ns = buffers(), START_NS + 10 * NS
    feed(made, now_ns, vlm=False)
    assert not made.set_features(features(now_ns, **change), now_ns)
    shot = made.snapshot(now_ns)
    assert shot.reaction is Reaction.HOLD and made.counters.get('features_refused') == 1
    assert shot.reasons[0].startswith(f'features: refused, {text}')
    made.set_features(features(now_ns, feature_id=2), now_ns)
    assert made.snapshot(now_ns).reaction is Reaction.MARK, (
        'good features are used, the intruder shown'
    )


def test_an_expert_of_two_passes_gets_both_newest_first():
    made, now_ns = buffers(passes=2), START_NS + NS
    feed(made, now_ns)
    first = made.snapshot(now_ns)
    assert first.tokens.shape == (12, 4), 'the only pass stands for both'
    np.testing.assert_array_equal(first.tokens[:6], first.tokens[6:])
    np.testing.assert_array_equal(first.inputs.image_age_s[:3], first.inputs.image_age_s[3:])
    tokens = np.full((6, 4), 2.0, np.float16)
    made.set_features(features(now_ns + MS, feature_id=1001, tokens=tokens), now_ns)
    shot = made.snapshot(now_ns + MS)
    assert shot.tokens[0, 0] == 2.0 and shot.tokens[6, 0] == 1.0
    assert shot.inputs.view_motion.shape == (6, 6)
    assert shot.lineage.earlier_feature_ids == (1000,)
    assert shot.lineage.earlier_image_age_s == pytest.approx(0.321)
    np.testing.assert_allclose(
        shot.inputs.image_age_s, [0.3, 0.31, 0.32, 0.301, 0.311, 0.321], atol=1e-6
    )


@pytest.mark.parametrize('change', [{'feature_id': 1}, {'task': 'retract'}])
def test_a_pass_of_another_run_or_task_is_not_kept_beside_the_newest(change):
    made, now_ns = buffers(passes=2), START_NS + NS
    feed(made, now_ns)
    tokens = np.full((6, 4), 2.0, np.float16)
    newer = features(now_ns + MS, **{'feature_id': 1001, 'tokens': tokens, **change})
    made.set_task(newer.task, now_ns)
    assert made.set_features(newer, now_ns)
    assert (made.snapshot(now_ns + MS).tokens == 2.0).all()


def test_features_that_come_late_are_counted_and_a_restarted_vlm_is_accepted():
    made = buffers()
    assert made.set_features(features(START_NS + NS, feature_id=9), 0)
    assert not made.set_features(features(START_NS, feature_id=8), 0)
    assert made.counters.get('features_late') == 1
    assert made.set_features(features(START_NS + 2 * NS, feature_id=1), 0)


@pytest.mark.parametrize('bad', [np.array([math.nan] * 6), np.zeros(5)])
def test_bad_joints_are_counted_and_not_used(bad):
    made = buffers()
    made.set_joints(START_NS, bad)
    made.set_pose(START_NS, np.zeros(3), np.zeros(4))
    assert made.counters.get('robot_bad') == 2
    assert math.isnan(made.snapshot(START_NS).lineage.robot_age_s)


def test_joints_and_pose_of_one_instant_go_together():
    made = buffers()
    move_robot(made, START_NS)
    made.set_joints(START_NS + 10 * MS, np.ones(6))
    assert made.snapshot(START_NS + 20 * MS).lineage.robot_ns == START_NS


def test_robot_topics_that_never_share_a_stamp_are_paired_by_the_older():
    made = buffers()
    for number in range(6):
        made.set_joints(START_NS + 10 * number * MS, np.full(6, number / 10))
        made.set_pose(
            START_NS + (10 * number + 3) * MS, np.full(3, 0.2 + number), np.array([0, 0, 0, 1.0])
        )
    assert made.snapshot(START_NS + 60 * MS).lineage.robot_ns == START_NS + 50 * MS


def test_after_deactivation_nothing_old_is_used():
    made = buffers()
    feed(made, START_NS + NS)
    made.forget()
    shot = made.snapshot(START_NS + NS)
    assert shot.reaction is Reaction.HOLD and len(shot.reasons) == 3
