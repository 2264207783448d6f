"""What of the last published chunk the next one must continue, for real-time chunking.

Kept by the action loop and by `vla bench splice`. arXiv 2506.07339: while a chunk is being made
the robot executes the one before, so its first d steps are settled: d is the measured delay.
Deliberately knows no model: it hands out steps, the policy continues them.
"""

from collections import deque
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from vla_core.counters import Counters
from vla_core.timebase import NS

Array = NDArray[np.float64]

DELAYS = 100  # recent delays that the measured one is taken from: 10 s at 10 Hz
DELAY_PERCENTILE = 95
GRID_TOLERANCE = 0.1  # of a step: a tick further off the last chunk's grid is of another clock


@dataclass(frozen=True, eq=False)
class Prefix:
    """Steps of the last chunk for the times of the next one's first steps."""

    delta: Array  # (H - s, dims), raw
    committed_steps: int  # d


@dataclass(frozen=True, eq=False)
class _Published:
    tick_ns: int
    delta: Array
    task: str


class Continuation:
    """The last chunk and the measured delay. One thread calls everything.

    Counters: rtc_continued, rtc_delay (d > s), rtc_gap (s > H - d, or the clock moved), rtc_task
    (the instruction changed), rtc_fresh (nothing to continue: the start, after a hold).
    """

    def __init__(self, steps: int, period_ns: int, actuation_delay_s: float = 0.0) -> None:
        self.counters = Counters()
        self._steps, self._period_ns = steps, period_ns
        self._actuation_delay_s = actuation_delay_s
        self._delays_s: deque[float] = deque(maxlen=DELAYS)
        self._last: _Published | None = None

    @property
    def delay_steps(self) -> int:
        """Steps that begin before a new chunk can act: measured delay, rounded up, at least 1."""
        measured_s = np.percentile(self._delays_s, DELAY_PERCENTILE) if self._delays_s else 0.0
        delay_s = float(measured_s) + self._actuation_delay_s
        return max(1, math.ceil(delay_s * NS / self._period_ns - 1e-9))

    def published(self, tick_ns: int, delta: Array, task: str, delay_s: float) -> None:
        """Remember a chunk (H, dims) that was published `delay_s` after its tick."""
        self._delays_s.append(delay_s)
        self._last = _Published(tick_ns, np.array(delta, np.float64), task)

    def held(self, delay_s: float) -> None:
        """The chunk published was a hold: the next one starts from rest."""
        self._delays_s.append(delay_s)
        self._last = None

    def prefix(self, tick_ns: int, task: str) -> tuple[Prefix | None, str]:
        """Return what a chunk for this tick must continue, and why nothing when that is unusual.

        The text is '' at the start, after a hold and after a change of the instruction.
        """
        last = self._last
        if last is None:
            return self._none('rtc_fresh')
        if task != last.task:
            return self._none('rtc_task')
        gone = (tick_ns - last.tick_ns) / self._period_ns
        between, delay = round(gone), self.delay_steps
        if between < 1 or abs(gone - between) > GRID_TOLERANCE:
            return self._none('rtc_gap', f'rtc: tick {gone:.2f} steps after the last chunk')
        if delay > between:
            return self._none('rtc_delay', f'rtc: delay {delay} steps > {between}')
        if between > self._steps - delay:
            most = self._steps - delay
            return self._none('rtc_gap', f'rtc: {between} steps between chunks > {most}')
        self.counters.add('rtc_continued')
        return Prefix(last.delta[between:], delay), ''

    def _none(self, kind: str, reason: str = '') -> tuple[None, str]:
        self.counters.add(kind)
        return None, reason
