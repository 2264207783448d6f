"""The tick grid, on a clock that the test moves."""

import threading
import time

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_core.timebase import ManualClock, ns_to_s, s_to_ns, SteadyGrid, SystemClock

PERIOD_NS = 100_000_000
WALL_AHEAD_NS = 1_700_000_000_000_000_000


class FakeTime:
    """A steady clock that jumps on when it is asked `steps` times, and a wall clock beside it."""

    def __init__(self):
        self.now_ns = 5_000
        self.wall_ahead_ns = WALL_AHEAD_NS

    def steady(self):
        return self.now_ns

    def wall(self):
        return self.now_ns + self.wall_ahead_ns


def grid_at(fake):
    grid = SteadyGrid(PERIOD_NS, fake.steady, fake.wall)
    grid.start()
    return grid


def test_seconds_and_nanoseconds_convert_both_ways():
    assert s_to_ns(0.1) == 100_000_000
    assert s_to_ns(-1e-9) == -1
    assert ns_to_s(1_500_000_000) == 1.5


def test_system_clock_is_unix_time():
    before = time.time_ns()
    assert before <= SystemClock().now_ns() <= time.time_ns()


def test_manual_clock_stands_still_until_moved_and_can_go_back():
    clock = ManualClock(100)
    assert clock.now_ns() == 100
    assert clock.advance_ns(50) == 150
    assert clock.advance_ns(-70) == clock.now_ns() == 80


def test_first_tick_is_at_once_and_the_next_ones_lie_on_the_grid():
    fake = FakeTime()
    grid, stop = grid_at(fake), threading.Event()
    first = grid.wait(stop)
    assert (first.index, first.late_ns, first.skipped) == (0, 0, 0)
    assert first.stamp_ns == first.deadline_steady_ns + WALL_AHEAD_NS
    assert grid.next_deadline_ns() == first.deadline_steady_ns + PERIOD_NS
    fake.now_ns += PERIOD_NS + 3_000
    second = grid.wait(stop)
    assert (second.index, second.late_ns) == (1, 3_000)
    assert second.stamp_ns - first.stamp_ns == PERIOD_NS


@given(st.lists(st.integers(0, 7 * PERIOD_NS), min_size=1, max_size=50))
def test_grid_never_drifts_and_skipped_points_are_counted(late_by):
    fake = FakeTime()
    grid, stop = grid_at(fake), threading.Event()
    origin = grid.next_deadline_ns()
    index = -1
    for late_ns in late_by:
        fake.now_ns = grid.next_deadline_ns() + late_ns
        tick = grid.wait(stop)
        assert tick.deadline_steady_ns == origin + tick.index * PERIOD_NS
        assert 0 <= tick.late_ns < PERIOD_NS
        assert tick.skipped == tick.index - index - 1 == late_ns // PERIOD_NS
        index = tick.index
    assert grid.skipped_total == index + 1 - len(late_by)


def test_stamp_follows_a_step_of_the_wall_clock_while_the_grid_stays():
    fake = FakeTime()
    grid, stop = grid_at(fake), threading.Event()
    first = grid.wait(stop)
    fake.now_ns += PERIOD_NS
    fake.wall_ahead_ns -= 3_000_000_000
    second = grid.wait(stop)
    assert second.deadline_steady_ns - first.deadline_steady_ns == PERIOD_NS
    assert second.stamp_ns - first.stamp_ns == PERIOD_NS - 3_000_000_000


def test_stop_ends_the_wait_even_when_a_tick_is_due():
    grid, stop = grid_at(FakeTime()), threading.Event()
    stop.set()
    assert grid.wait(stop) is None


def test_stop_wakes_a_wait_that_has_begun():
    grid, stop = SteadyGrid(3_600_000_000_000), threading.Event()
    ticks = []
    grid.start()
    thread = threading.Thread(target=lambda: ticks.extend([grid.wait(stop), grid.wait(stop)]))
    thread.start()
    stop.set()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert ticks[-1] is None


def test_never_returns_before_the_grid_point_on_the_real_clock():
    grid, stop = SteadyGrid(5_000_000), threading.Event()
    ticks = [grid.wait(stop) for _ in range(10)]
    for tick in ticks:
        assert tick.late_ns >= 0
    indices = [tick.index for tick in ticks]
    assert indices == sorted(set(indices))


def test_grid_starts_anew_when_a_simulated_clock_jumps_back():
    fake = FakeTime()
    grid = SteadyGrid(PERIOD_NS, fake.steady, fake.wall, poll_ns=1_000_000)
    fake.now_ns = 10 * PERIOD_NS
    grid.start()
    stop = threading.Event()
    assert grid.wait(stop).index == 0
    fake.now_ns = PERIOD_NS
    tick = grid.wait(stop)
    assert (tick.index, tick.deadline_steady_ns, grid.restarts) == (0, PERIOD_NS, 1)


def test_period_must_be_positive():
    with pytest.raises(ValueError, match='above 0'):
        SteadyGrid(0)
