"""What a chunk must continue: the delay is measured, its limits are checked."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core.execution.continuation import Continuation
from vla_core.timebase import NS

PERIOD_NS = NS // 10
DELTA = np.arange(48.0).reshape(8, 6)


def after(delay_s=0.025, ticks=1, **settings):
    """Return a Continuation that published DELTA at tick 0 `delay_s` late, `ticks` times."""
    made = Continuation(8, PERIOD_NS, **settings)
    for _ in range(ticks):
        made.published(0, DELTA, 'insert', delay_s)
    return made


def test_the_next_tick_continues_the_chunk_before_shifted_by_one_step():
    prefix, reason = after().prefix(PERIOD_NS, 'insert')
    assert np.array_equal(prefix.delta, DELTA[1:])
    assert (prefix.committed_steps, reason) == (1, '')


def test_after_a_skipped_tick_the_prefix_is_shifted_by_two_steps():
    prefix, _ = after().prefix(2 * PERIOD_NS, 'insert')
    assert np.array_equal(prefix.delta, DELTA[2:])


def test_a_delay_of_more_than_the_ticks_between_is_not_continued_and_says_so():
    made = after(delay_s=0.12)
    assert made.prefix(PERIOD_NS, 'insert') == (None, 'rtc: delay 2 steps > 1')
    assert made.counters.get('rtc_delay') == 1
    assert made.prefix(2 * PERIOD_NS, 'insert')[0].committed_steps == 2


def test_the_actuation_delay_counts():
    made = after(delay_s=0.05, actuation_delay_s=0.06)
    assert made.prefix(PERIOD_NS, 'insert')[1] == 'rtc: delay 2 steps > 1'


def test_one_late_chunk_in_many_does_not_change_the_measured_delay():
    made = after(delay_s=0.025, ticks=50)
    made.published(0, DELTA, 'insert', 0.4)
    assert made.delay_steps == 1
    for _ in range(10):
        made.published(0, DELTA, 'insert', 0.15)
    assert made.delay_steps == 2


def test_a_gap_longer_than_the_chunk_allows_is_not_continued():
    made = after()
    assert made.prefix(7 * PERIOD_NS, 'insert')[0] is not None
    assert made.prefix(8 * PERIOD_NS, 'insert') == (None, 'rtc: 8 steps between chunks > 7')
    assert made.counters.get('rtc_gap') == 1


@pytest.mark.parametrize('tick_ns', [-PERIOD_NS, 0, PERIOD_NS * 3 // 2])
def test_a_tick_of_another_clock_is_not_continued(tick_ns):
    prefix, reason = after().prefix(tick_ns, 'insert')
    assert prefix is None and reason.startswith('rtc: tick ')


def test_nothing_is_continued_at_the_start_after_a_hold_and_with_another_instruction():
    made = Continuation(8, PERIOD_NS)
    assert made.prefix(0, 'insert') == (None, '')
    made = after()
    assert made.prefix(PERIOD_NS, 'retract') == (None, '')
    assert made.counters.get('rtc_task') == 1
    made.held(0.02)
    assert made.prefix(PERIOD_NS, 'insert') == (None, '')
    assert made.counters.get('rtc_fresh') == 1


@given(st.floats(0, 2), st.integers(-20, 20), st.floats(0, 1))
def test_whatever_the_times_a_prefix_keeps_to_its_limits(delay_s, ticks, actuation_s):
    made = after(delay_s=delay_s, actuation_delay_s=actuation_s)
    prefix, reason = made.prefix(ticks * PERIOD_NS, 'insert')
    if prefix is None:
        assert reason
    else:
        delay, between = prefix.committed_steps, ticks
        assert delay_s + actuation_s <= delay * 0.1 + 1e-6
        assert delay <= between <= 8 - delay
        assert len(prefix.delta) == 8 - between
