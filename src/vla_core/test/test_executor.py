"""The chunk executor: by time, newest first, holds win, nothing queued."""

import threading

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core.errors import ConfigError
from vla_core.execution.ensemble import mean_step, weights
from vla_core.execution.executor import ChunkExecutor, ExecutorSettings, POLICIES
from vla_core.execution.values import TimedChunk
from vla_core.freshness import Reaction
from vla_core.rotation import quat_multiply, quat_to_rotvec, rotvec_to_quat
from vla_core.timebase import NS

PERIOD_NS = NS // 10
MS = NS // 1000
T0 = 1_700_000_000 * NS


def chunk(tick=0, value=0.0, steps=8, **changes):
    """Return a chunk made at tick number `tick` whose step k moves by value + k/1000 m along x."""
    made_ns = T0 + tick * PERIOD_NS
    delta = np.zeros((steps, 6))
    delta[:, 0] = value + np.arange(steps) / 1000
    fields = {
        'chunk_id': tick + 1,
        'made_ns': made_ns,
        'step_stamps_ns': made_ns + PERIOD_NS * np.arange(steps),
        'delta': delta,
    }
    return TimedChunk(**{**fields, **changes})


def executor(policy='latest', **changes):
    return ChunkExecutor(ExecutorSettings(policy=policy, **changes))


def time_ns(ticks, ms=0):
    return T0 + ticks * PERIOD_NS + ms * MS


def test_nothing_to_execute_without_a_chunk_before_its_first_step_and_after_its_last():
    made = executor()
    assert made.at(time_ns(0)) is None
    made.add(chunk(tick=1, steps=2), time_ns(0))
    assert made.at(time_ns(0, 99)) is None
    assert made.at(time_ns(1)) is not None
    assert made.at(time_ns(2, 99)) is not None
    assert made.at(time_ns(3)) is None


def test_velocity_is_the_steps_displacement_over_the_period():
    made = executor()
    made.add(chunk(value=0.002), time_ns(0))
    motion = made.at(time_ns(3, 50))
    assert motion.velocity == pytest.approx([0.05, 0, 0, 0, 0, 0])
    assert (motion.chunk_id, motion.step, motion.made_ns) == (1, 3, T0)


def test_the_chunk_before_covers_the_time_until_a_newer_one_is_published():
    made = executor()
    made.add(chunk(tick=0), time_ns(0, 25))
    before = made.at(time_ns(1, 20))
    made.add(chunk(tick=1, value=0.5), time_ns(1, 25))
    after = made.at(time_ns(1, 30))
    assert (before.chunk_id, before.step) == (1, 1)
    assert (after.chunk_id, after.step) == (2, 0)


def test_a_newer_chunk_that_does_not_cover_now_leaves_the_older_one_in_force():
    made = executor()
    made.add(chunk(tick=0), time_ns(0))
    made.add(chunk(tick=3), time_ns(0, 10))
    assert made.at(time_ns(2)).chunk_id == 1
    assert made.at(time_ns(3)).chunk_id == 4


def test_late_steps_are_skipped_and_counted():
    made = executor()
    made.add(chunk(tick=0), time_ns(3, 10))
    assert made.at(time_ns(3, 10)).step == 3
    assert made.counters.get('steps_late') == 3
    assert made.counters.get('steps_begun') == 1


def test_a_chunk_whose_steps_are_all_over_is_counted_and_not_kept():
    made = executor()
    made.add(chunk(tick=0), time_ns(8))
    assert made.at(time_ns(8)) is None
    assert made.counters.get('late_chunks') == 1
    assert made.counters.get('steps_late') == 8


def test_steps_that_nobody_asked_for_in_their_time_count_as_late():
    made = executor()
    made.add(chunk(), time_ns(0))
    made.at(time_ns(0))
    made.at(time_ns(4))
    assert made.counters.get('steps_begun') == 2
    assert made.counters.get('steps_late') == 3


def test_a_step_counts_once_however_often_it_is_asked_for():
    made = executor()
    made.add(chunk(), time_ns(0))
    for ms in range(0, 300, 10):
        made.at(time_ns(0, ms))
    assert made.counters.get('steps_begun') == 3


def test_chunks_out_of_order_do_not_replace_a_newer_one():
    made = executor()
    made.add(chunk(tick=2, value=0.2), time_ns(2, 20))
    made.add(chunk(tick=1, value=0.1), time_ns(2, 21))
    assert made.at(time_ns(2, 30)).chunk_id == 3
    assert made.counters.get('out_of_order_chunks') == 1


def test_a_duplicate_is_counted_and_changes_nothing():
    made = executor('ensemble')
    made.add(chunk(tick=0, value=0.1), time_ns(0))
    made.add(chunk(tick=0, value=0.9), time_ns(0, 5))
    assert made.at(time_ns(0, 10)).velocity[0] == pytest.approx(1.0)
    assert made.counters.get('duplicate_chunks') == 1


@pytest.mark.parametrize('policy', POLICIES)
@pytest.mark.parametrize('reaction', [Reaction.HOLD, Reaction.STOP])
def test_a_hold_drops_what_came_before_and_does_not_move_whatever_its_steps_say(policy, reaction):
    made = executor(policy)
    made.add(chunk(tick=0, value=0.1), time_ns(0))
    made.add(chunk(tick=2, value=0.1), time_ns(0, 50))  # made later: the hold is not about it
    made.add(chunk(tick=1, value=0.7, reaction=reaction), time_ns(1, 20))
    assert made.at(time_ns(1, 30)).velocity.tolist() == [0] * 6
    assert made.at(time_ns(1, 30)).chunk_id == 2
    assert made.at(time_ns(2)).chunk_id == 3


def test_a_hold_that_begins_later_stops_the_chunks_before_it_at_once():
    made = executor()
    made.add(chunk(tick=0, value=0.1), time_ns(0))
    made.add(chunk(tick=2, reaction=Reaction.HOLD), time_ns(0, 50))
    assert made.at(time_ns(1)) is None


def test_a_chunk_older_than_a_hold_is_not_executed_when_it_comes_after_it():
    made = executor()
    made.add(chunk(tick=1, reaction=Reaction.HOLD), time_ns(1, 20))
    made.add(chunk(tick=0, value=0.1), time_ns(1, 21))
    assert made.at(time_ns(1, 30)).chunk_id == 2
    assert made.counters.get('superseded_chunks') == 1


@pytest.mark.parametrize('policy', POLICIES)
def test_the_first_chunk_after_a_hold_moves_as_it_says(policy):
    made = executor(policy)
    made.add(chunk(tick=0, reaction=Reaction.HOLD), time_ns(0, 20))
    made.add(chunk(tick=1, value=0.1), time_ns(1, 20))
    assert made.at(time_ns(1, 30)).velocity[0] == pytest.approx(1.0)


def test_ensemble_weighs_all_predictions_for_now_oldest_most():
    made = executor('ensemble', ensemble_decay=0.5)
    made.add(chunk(tick=0, value=0.0), time_ns(0))
    made.add(chunk(tick=1, value=0.1), time_ns(1))
    motion = made.at(time_ns(1))
    old, new = 0.001, 0.1  # step 1 of the first, step 0 of the second
    expected = (old + np.exp(-0.5) * new) / (1 + np.exp(-0.5)) * 10
    assert motion.velocity[0] == pytest.approx(expected)
    assert (motion.chunk_id, motion.step, motion.made_ns) == (2, 0, T0 + PERIOD_NS)


def test_ensemble_leaves_out_predictions_for_another_instruction():
    made = executor('ensemble')
    made.add(chunk(tick=0, value=0.9, task='insert'), time_ns(0))
    made.add(chunk(tick=1, value=0.1, task='retract'), time_ns(1))
    assert made.at(time_ns(1)).velocity[0] == pytest.approx(1.0)


def test_weights_of_the_ensemble_sum_to_one_and_fall_from_the_oldest_on():
    assert weights(4, 0.0) == pytest.approx([0.25] * 4)
    assert weights(4, 1.0).sum() == pytest.approx(1.0)
    assert np.diff(weights(4, 1.0)).max() < 0


def test_mean_of_turns_around_180_degrees_does_not_cancel():
    near = np.array([[0, 0, 0, 0, 0, np.pi - 0.1], [0, 0, 0, 0, 0, -np.pi + 0.1]])
    assert np.linalg.norm(mean_step(near, 0.0)[3:]) == pytest.approx(np.pi)


@given(st.lists(st.lists(st.floats(-0.1, 0.1), min_size=3, max_size=3), min_size=2, max_size=5))
def test_mean_of_small_rotation_vectors_is_their_mean_rotation(turns):
    steps = np.zeros((len(turns), 6))
    steps[:, 3:] = turns
    mean = mean_step(steps, 0.0)[3:]
    inverse = rotvec_to_quat(-mean)
    away = quat_to_rotvec(quat_multiply(rotvec_to_quat(steps[:, 3:]), inverse))
    assert np.abs(away.mean(0)).max() < 1e-3


def test_rtc_counts_chunks_without_a_committed_prefix():
    made = executor('rtc')
    made.add(chunk(tick=0), time_ns(0))
    made.add(chunk(tick=1, committed_steps=1), time_ns(1))
    assert made.counters.get('uncommitted_chunks') == 1
    assert made.at(time_ns(1)).chunk_id == 2


def test_a_clock_set_back_drops_every_chunk_so_that_none_is_executed_twice():
    made = executor()
    made.add(chunk(tick=100), time_ns(100))
    assert made.at(time_ns(100)) is not None
    assert made.at(time_ns(50)) is None
    assert made.at(time_ns(100)) is None
    assert made.counters.get('clock_steps') == 1


def test_threads_whose_times_differ_by_little_are_no_clock_step():
    made = executor()
    made.add(chunk(), time_ns(0, 50))
    assert made.at(time_ns(0, 10)) is not None
    assert made.counters.get('clock_steps') == 0


def test_a_chunk_of_another_clock_is_counted_and_takes_no_place():
    made = executor(max_chunks=2)
    for tick in (100, 101, 102):
        made.add(chunk(tick=tick), time_ns(0))
    made.add(chunk(tick=0), time_ns(0))
    assert made.at(time_ns(0)).chunk_id == 1
    assert made.counters.get('future_chunks') == 3


@pytest.mark.parametrize(
    'changes',
    [
        {'delta': np.full((8, 6), np.nan)},
        {'delta': np.zeros((8, 5))},
        {'delta': np.zeros((7, 6))},
        {'step_stamps_ns': np.full(8, T0)},
        {'step_stamps_ns': np.zeros(0, np.int64), 'delta': np.zeros((0, 6))},
    ],
)
def test_a_malformed_chunk_is_counted_and_not_executed(changes):
    made = executor()
    made.add(chunk(**changes), time_ns(0))
    assert made.at(time_ns(0)) is None
    assert made.counters.get('bad_chunks') == 1


def test_clear_forgets_the_chunks():
    made = executor()
    made.add(chunk(), time_ns(0))
    made.clear()
    assert made.at(time_ns(0)) is None


@pytest.mark.parametrize(
    ('key', 'value'),
    [('policy', 'newest'), ('period_ns', 0), ('max_chunks', 1), ('ensemble_decay', -1.0)],
)
def test_settings_that_cannot_be_used_name_their_key(key, value):
    with pytest.raises(ConfigError, match=key):
        ExecutorSettings(**{key: value})


EVENTS = st.lists(
    st.tuples(
        st.integers(-30, 30),  # ticks the clock moves
        st.integers(-12, 12),  # tick of the chunk against the clock
        st.integers(1, 12),  # steps
        st.sampled_from(list(Reaction)),
        st.floats(-1, 1),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(POLICIES), EVENTS)
def test_whatever_comes_the_motion_is_between_the_steps_that_cover_now(policy, events):
    made, tick, kept = executor(policy, max_chunks=4), 0, []
    for moved, offset, steps, reaction, value in events:
        tick += moved
        kept.append(chunk(tick + offset, value, steps, reaction=reaction))
        made.add(kept[-1], time_ns(tick))
        motion = made.at(time_ns(tick))
        covering = [
            0.0 if known.reaction >= Reaction.HOLD else known.delta[k, 0]
            for known in kept
            for k in [tick - round((known.made_ns - T0) / PERIOD_NS)]
            if 0 <= k < len(known.delta)
        ]
        assert len(made._entries) <= 4
        if motion is not None:
            assert min(covering) - 1e-9 <= motion.velocity[0] / 10 <= max(covering) + 1e-9


def test_adding_in_one_thread_and_asking_in_another_stays_consistent():
    made, failures = executor(), []

    def ask():
        for ms in range(0, 5000, 5):
            motion = made.at(time_ns(0, ms))
            if motion is not None and not np.isfinite(motion.velocity).all():
                failures.append(motion)

    thread = threading.Thread(target=ask)
    thread.start()
    for tick in range(50):
        made.add(chunk(tick), time_ns(tick))
    thread.join(10)
    assert not failures and not thread.is_alive()
    assert made.counters.get('chunks') == 50
