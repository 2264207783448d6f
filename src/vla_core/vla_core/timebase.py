"""Integer-nanosecond time, clocks, and the absolute tick grid.

`stamp_ns` everywhere in the suite is Unix time of the system clock in integer nanoseconds. The
action loop's thread owns a `SteadyGrid`. Deliberately knows no ROS time: a node passes its clock
as a callable.
"""

from collections.abc import Callable
from dataclasses import dataclass
import threading
import time
from typing import Protocol

NS = 1_000_000_000

# A timed Event wait wakes through a lock and late; the last stretch is slept in short pieces,
# which also keeps the processor from falling asleep deeply. On two shared virtual cores that
# halved the median lateness (190 to 250 us by Event alone, 130 to 165 us by one sleep, 90 to 100
# us so). The stretch is also the longest that a stop goes unnoticed.
FINE_NS = 3_000_000
PIECE_NS = 500_000


def s_to_ns(seconds: float) -> int:
    """Seconds to integer nanoseconds, rounded to nearest."""
    return round(seconds * NS)


def ns_to_s(ns: int) -> float:
    """Integer nanoseconds to seconds (float64: 0.24 us resolution for Unix times)."""
    return ns / NS


class Clock(Protocol):
    """Source of stamps."""

    def now_ns(self) -> int:
        """Unix time, ns."""
        ...


class SystemClock:
    """The system clock."""

    def now_ns(self) -> int:
        """Unix time, ns."""
        return time.time_ns()


class ManualClock:
    """A clock for tests and offline use that stands still until moved. Not thread-safe."""

    def __init__(self, start_ns: int = 1_700_000_000 * NS) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Unix time, ns."""
        return self._now_ns

    def advance_ns(self, delta_ns: int) -> int:
        """Move by `delta_ns` (negative: a clock step backward); return the new time."""
        self._now_ns += delta_ns
        return self._now_ns


@dataclass(frozen=True)
class Tick:
    """One point of the grid that was met."""

    index: int  # of the grid point: skipped ones count, so stamp = start + index x period
    deadline_steady_ns: int  # the grid point on the steady clock
    stamp_ns: int  # the grid point as Unix time, by the offset of the two clocks at this very tick
    late_ns: int  # how long after the grid point `wait` returned
    skipped: int  # grid points missed right before this one


class SteadyGrid:
    """Absolute grid of ticks on a steady clock: never drifts, never queues missed ticks.

    Used by one thread; only the stop event is shared. A `steady` clock that can be slower or
    faster than real time (simulated time) needs `poll_ns`, the longest real time between two looks
    at it. Should such a clock jump back (a bag that loops), the grid is started anew and
    `restarts` counts it.
    """

    def __init__(
        self,
        period_ns: int,
        steady: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], int] = time.time_ns,
        poll_ns: int | None = None,
    ) -> None:
        if period_ns <= 0:
            raise ValueError(f'period_ns must be above 0, not {period_ns}')
        self.period_ns = period_ns
        self.restarts = 0
        self.skipped_total = 0
        self._steady = steady
        self._wall = wall
        self._poll_ns = poll_ns
        self._origin_ns: int | None = None
        self._next_index = 0

    def start(self) -> None:
        """Lay the grid: its first point is now."""
        self._origin_ns = self._steady()
        self._next_index = 0

    def next_deadline_ns(self) -> int:
        """Return the next grid point on the steady clock."""
        if self._origin_ns is None:
            self.start()
        assert self._origin_ns is not None
        return self._origin_ns + self._next_index * self.period_ns

    def wait(self, stop: threading.Event) -> Tick | None:
        """Sleep to the next grid point; None once `stop` is set.

        If one or more whole periods have gone by since the point that was due, goes on with the
        newest point that has passed and reports the others as skipped.
        """
        deadline_ns = self.next_deadline_ns()
        while not stop.is_set():
            now_ns = self._steady()
            if deadline_ns - now_ns > 2 * self.period_ns:
                self.restarts += 1
                self.start()
                deadline_ns = self.next_deadline_ns()
            elif now_ns >= deadline_ns:
                return self._meet(deadline_ns, now_ns)
            else:
                self._sleep(deadline_ns - now_ns, stop)
        return None

    def _sleep(self, remaining_ns: int, stop: threading.Event) -> None:
        if self._poll_ns is not None:
            stop.wait(min(remaining_ns, self._poll_ns) / NS)
        elif remaining_ns > FINE_NS:
            stop.wait((remaining_ns - FINE_NS) / NS)
        else:
            time.sleep(min(remaining_ns, PIECE_NS) / NS)

    def _meet(self, deadline_ns: int, now_ns: int) -> Tick:
        skipped = (now_ns - deadline_ns) // self.period_ns
        index = self._next_index + skipped
        deadline_ns += skipped * self.period_ns
        self._next_index = index + 1
        self.skipped_total += skipped
        steady_ns, wall_ns = self._both_clocks()
        return Tick(
            index, deadline_ns, wall_ns - (steady_ns - deadline_ns), now_ns - deadline_ns, skipped
        )

    def _both_clocks(self) -> tuple[int, int]:
        # The thread may lose the processor between two readings: keep the closest of three pairs.
        best_gap_ns, best = -1, (0, 0)
        for _ in range(3):
            before_ns, wall_ns, after_ns = self._steady(), self._wall(), self._steady()
            gap_ns = after_ns - before_ns
            if best_gap_ns < 0 or gap_ns < best_gap_ns:
                best_gap_ns, best = gap_ns, (before_ns + gap_ns // 2, wall_ns)
        return best
