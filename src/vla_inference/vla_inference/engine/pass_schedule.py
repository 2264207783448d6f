"""When the next vision-language pass may start: a least period on the grid of capture times.

Called by the image inbox under its lock. Time, not counts: the legacy system started a pass when a
tick counter hit a multiple of k, so a pass just over k x 100 ms slipped to 2k x 100 ms.
Deliberately knows no clock: only capture stamps.
"""

from dataclasses import dataclass

from vla_core.timebase import NS, s_to_ns

REUSE_TICK_NS = NS // 10  # the seed's vl_reuse counts actions at 10 Hz


def least_period_ns(vl_reuse: int, max_rate_hz: float) -> int:
    """Return the longer of vl_reuse x 100 ms and 1 / max_rate_hz, ns."""
    by_rate = s_to_ns(1 / max_rate_hz) if max_rate_hz > 0 else 0
    return max(vl_reuse * REUSE_TICK_NS, by_rate)


@dataclass
class PassSchedule:
    """Grid of capture times at which passes are due; keeps the mean rate.

    A frame up to a quarter of the period (at most 50 ms, half a tick) early counts as due: a 5 Hz
    camera with jitter would otherwise slip a whole frame. A late pass does not shift the grid
    unless it is a whole period late.
    """

    period_ns: int
    _due_ns: int | None = None

    @property
    def tolerance_ns(self) -> int:
        """How early a frame may be and still count."""
        return min(self.period_ns // 4, REUSE_TICK_NS // 2)

    def is_due(self, stamp_ns: int) -> bool:
        """Whether a frame captured at `stamp_ns` is late enough for the next pass."""
        return self._due_ns is None or stamp_ns >= self._due_ns - self.tolerance_ns

    def follow(self, newest_ns: int) -> None:
        """Start a new grid if even the newest frame is far before this one: the cameras' clocks
        were set back.
        """
        if self._due_ns is not None and newest_ns < self._due_ns - 2 * self.period_ns - NS:
            self._due_ns = None

    def taken(self, stamp_ns: int) -> None:
        """Note that a pass starts whose newest frame was captured at `stamp_ns`."""
        if self.period_ns == 0:
            return
        if self._due_ns is None or abs(stamp_ns - self._due_ns) >= self.period_ns:
            self._due_ns = stamp_ns
        self._due_ns += self.period_ns
