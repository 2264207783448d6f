"""The force rules, on every sample of the live sensor: a limit on force and on its rise.

Used by `SafetyGate.observe_force`, under its lock. Deliberately decides nothing about the robot:
it says what was crossed and when the sensor last brought something new.

The limit on force looks at every finite sample, whatever its stamp: one is enough. The rise is
measured between medians of three over a window, so that the noise of one sample cannot trip it.
In plain floats: a datagram has some seven samples.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_core.counters import Counters
from vla_core.freshness import FUTURE_TOLERANCE_S
from vla_core.safety.limits import SafetyLimits
from vla_core.safety.values import Intervention
from vla_core.timebase import NS, s_to_ns

Sample = tuple[int, float]  # stamp, ns, and force, N

RELEASE_RATIO = 0.9  # a limit once crossed counts as crossed until the value is back under this
OLDEST_S = 60.0  # a stamp further back is not of this run
KEPT = 512  # samples; the longest window at 650 Hz is 130


class ForceWatch:
    """Memory of the sensor. Not thread-safe: the gate's lock guards it.

    Counters: force_samples, force_not_finite, force_bad_batch, force_late, force_ahead,
    force_frozen, force_restarts.
    """

    def __init__(self, counters: Counters) -> None:
        self.changed_ns: int | None = None  # stamp of the newest sample with new content
        self.newest_n = math.nan  # newest force, zero subtracted
        self.force_over = False
        self.slope_over = False
        self._counters = counters
        self._newest_ns: int | None = None
        self._last_batch = b''
        self._forget_window()

    def observe(
        self, stamps_ns: ArrayLike, force_n: ArrayLike, now_ns: int, limits: SafetyLimits
    ) -> tuple[Intervention, ...]:
        """Take in samples (N,) int64 ns and (N,) N in any order; what was crossed by them."""
        batch = _lists(stamps_ns, force_n)
        if batch is None:
            self._counters.add('force_bad_batch')
            return ()
        stamps, forces = batch
        self._counters.add('force_samples', len(forces))
        samples = [
            (stamp, force - limits.force_zero_n)
            for stamp, force in zip(stamps, forces)
            if math.isfinite(force)
        ]
        self._drop('force_not_finite', len(forces) - len(samples))
        crossed = self._check_force(samples, limits)
        samples = self._in_order(samples, now_ns)
        if samples:
            self._note_content(samples)
            if not crossed:
                self.force_over &= abs(self.newest_n) > RELEASE_RATIO * limits.max_force_n
            crossed += self._check_slope(samples, limits)
        return crossed

    def over(self, limits: SafetyLimits) -> tuple[Intervention, ...]:
        """What is above its limit now, with hysteresis."""
        found: tuple[Intervention, ...] = ()
        if self.force_over:
            found += (Intervention('force_limit', abs(self.newest_n), limits.max_force_n),)
        if self.slope_over:
            found += (Intervention('force_slope', self._slope, limits.max_force_slope_n_s),)
        return found

    def forget(self) -> None:
        """The clock was set back: what came before cannot be dated; the sensor must come anew."""
        self.changed_ns = self._newest_ns = None
        self._forget_window()

    def _forget_window(self) -> None:
        self._times: list[int] = []
        self._forces: list[float] = []  # absolute
        self._slope = 0.0
        self.slope_over = False

    def _drop(self, kind: str, count: int) -> None:
        if count:
            self._counters.add(kind, count)

    def _check_force(
        self, samples: list[Sample], limits: SafetyLimits
    ) -> tuple[Intervention, ...]:
        peak = max((abs(force) for _, force in samples), default=0.0)
        if not peak > limits.max_force_n:
            return ()
        self.force_over = True
        return (Intervention('force_limit', peak, limits.max_force_n),)

    def _in_order(self, samples: list[Sample], now_ns: int) -> list[Sample]:
        """Only what is newer than everything before, oldest first; the rest is counted. Of two
        with one stamp the first counts.
        """
        latest_ns = now_ns + s_to_ns(FUTURE_TOLERANCE_S)
        if self._newest_ns is not None and self._newest_ns > latest_ns:
            self._counters.add('force_restarts')
            self.forget()
        oldest_ns = now_ns - s_to_ns(OLDEST_S) if self._newest_ns is None else self._newest_ns
        self._drop('force_ahead', sum(stamp > latest_ns for stamp, _ in samples))
        self._drop('force_late', sum(stamp <= oldest_ns for stamp, _ in samples))
        kept: dict[int, float] = {}
        for stamp, force in samples:
            if oldest_ns < stamp <= latest_ns:
                kept.setdefault(stamp, force)
        return sorted(kept.items())

    def _note_content(self, samples: list[Sample]) -> None:
        """Find the newest sample that differs from the one before it. A datagram whose values
        repeat the one before has nothing new, whatever its stamps.
        """
        content = array('d', [force for _, force in samples]).tobytes()
        repeated = len(samples) > 1 and content == self._last_batch
        self._last_batch = content
        frozen = 0
        for stamp, force in samples:
            if repeated or force == self.newest_n:
                frozen += 1
            else:
                self.changed_ns = stamp
            self.newest_n = force
        self._drop('force_frozen', frozen)
        self._newest_ns = samples[-1][0]

    def _check_slope(
        self, samples: list[Sample], limits: SafetyLimits
    ) -> tuple[Intervention, ...]:
        self._times += [stamp for stamp, _ in samples]
        self._forces += [abs(force) for _, force in samples]
        del self._times[:-KEPT], self._forces[:-KEPT]
        slopes = rises(self._times, self._forces, len(samples), limits.slope_window_s)
        if not slopes:
            self.slope_over = False
            return ()
        steepest, self._slope = max(slopes), slopes[-1]
        self.slope_over &= self._slope > RELEASE_RATIO * limits.max_force_slope_n_s
        if not steepest > limits.max_force_slope_n_s:
            return ()
        self.slope_over = True
        return (Intervention('force_slope', steepest, limits.max_force_slope_n_s),)


def rises(
    times_ns: Sequence[int], force_n: Sequence[float], newest: int, window_s: float
) -> list[float]:
    """Rise, N/s, of the median of three over at least `window_s`, at each of the `newest` last
    samples that has a sample that far back: at most `newest`.

    times_ns (N,) rising, force_n (N,). Over a gap in the samples the rise is that across the gap.
    """
    window_ns, last = s_to_ns(window_s), len(force_n) - 2
    slopes = []
    for end in range(max(1, last + 1 - newest), last + 1):  # the middle ones
        begin = bisect_right(times_ns, times_ns[end] - window_ns, 1, end) - 1
        if begin >= 1:
            rise = _median(force_n, end) - _median(force_n, begin)
            slopes.append(rise / ((times_ns[end] - times_ns[begin]) / NS))
    return slopes


def _median(force_n: Sequence[float], middle: int) -> float:
    a, b, c = force_n[middle - 1 : middle + 2]
    return max(min(a, b), min(max(a, b), c))


def _lists(stamps_ns: ArrayLike, force_n: ArrayLike) -> tuple[list[int], list[float]] | None:
    convert: Callable[[ArrayLike, type], NDArray[np.generic]] = np.asarray
    try:
        stamps, force = convert(stamps_ns, np.int64), convert(force_n, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    if stamps.ndim != 1 or stamps.shape != force.shape:
        return None
    return stamps.tolist(), force.tolist()
