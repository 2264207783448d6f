"""The force rules, on every sample of the live sensor: a limit on force and on its rise.

Used by `SafetyGate.observe_force`, under its lock. Deliberately decides nothing about the robot:
it says what was crossed and when the sensor last brought something new.

The limit on force looks at every finite sample, whatever its stamp: one is enough. The rise is
measured between medians of three over a window, so that the noise of one sample cannot trip it.
"""

from collections.abc import Callable
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_core.counters import Counters
from vla_core.freshness import FUTURE_TOLERANCE_S
from vla_core.safety.limits import SafetyLimits
from vla_core.safety.values import Intervention
from vla_core.timebase import NS, s_to_ns

Array = NDArray[np.float64]
Stamps = NDArray[np.int64]

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
        batch = _arrays(stamps_ns, force_n)
        if batch is None:
            self._counters.add('force_bad_batch')
            return ()
        stamps, force = batch
        self._counters.add('force_samples', len(force))
        finite = np.isfinite(force)
        self._drop('force_not_finite', ~finite)
        stamps, force = stamps[finite], force[finite] - limits.force_zero_n
        crossed = self._check_force(force, limits)
        stamps, force = self._in_order(stamps, force, now_ns)
        if len(force):
            self._note_content(stamps, force)
            if not crossed:
                self.force_over &= abs(self.newest_n) > RELEASE_RATIO * limits.max_force_n
            crossed += self._check_slope(stamps, force, limits)
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
        self._times: Stamps = np.empty(0, np.int64)
        self._forces: Array = np.empty(0)
        self._slope = 0.0
        self.slope_over = False

    def _drop(self, kind: str, mask: NDArray[np.bool_]) -> None:
        count = int(np.count_nonzero(mask))
        if count:
            self._counters.add(kind, count)

    def _check_force(self, force: Array, limits: SafetyLimits) -> tuple[Intervention, ...]:
        peak = float(np.abs(force).max(initial=0.0))
        if not peak > limits.max_force_n:
            return ()
        self.force_over = True
        return (Intervention('force_limit', peak, limits.max_force_n),)

    def _in_order(self, stamps: Stamps, force: Array, now_ns: int) -> tuple[Stamps, Array]:
        """Only what is newer than everything before, oldest first; the rest is counted."""
        latest_ns = now_ns + s_to_ns(FUTURE_TOLERANCE_S)
        if self._newest_ns is not None and self._newest_ns > latest_ns:
            self._counters.add('force_restarts')
            self.forget()
        ahead = stamps > latest_ns
        self._drop('force_ahead', ahead)
        oldest_ns = now_ns - s_to_ns(OLDEST_S) if self._newest_ns is None else self._newest_ns
        late = stamps <= oldest_ns
        self._drop('force_late', late)
        keep = ~(ahead | late)
        kept, first = np.unique(stamps[keep], return_index=True)
        return kept, force[keep][first]

    def _note_content(self, stamps: Stamps, force: Array) -> None:
        """Find the newest sample that differs from the one before it. A datagram whose values
        repeat the one before has nothing new, whatever its stamps.
        """
        content = force.tobytes()
        changed = np.diff(force, prepend=self.newest_n) != 0
        if len(force) > 1 and content == self._last_batch:
            changed[:] = False
        self._last_batch = content
        self._drop('force_frozen', ~changed)
        if changed.any():
            self.changed_ns = int(stamps[changed][-1])
        self._newest_ns, self.newest_n = int(stamps[-1]), float(force[-1])

    def _check_slope(
        self, stamps: Stamps, force: Array, limits: SafetyLimits
    ) -> tuple[Intervention, ...]:
        self._times = np.concatenate([self._times, stamps])[-KEPT:]
        self._forces = np.concatenate([self._forces, np.abs(force)])[-KEPT:]
        slopes = rises(self._times, self._forces, len(force), limits.slope_window_s)
        if not len(slopes):
            self.slope_over = False
            return ()
        steepest, self._slope = float(slopes.max()), float(slopes[-1])
        self.slope_over &= self._slope > RELEASE_RATIO * limits.max_force_slope_n_s
        if not steepest > limits.max_force_slope_n_s:
            return ()
        self.slope_over = True
        return (Intervention('force_slope', steepest, limits.max_force_slope_n_s),)


def rises(times_ns: Stamps, force_n: Array, newest: int, window_s: float) -> Array:
    """Rise, N/s, of the median of three over at least `window_s`, at each of the `newest` last
    samples that has a sample that far back: (<= newest,).

    times_ns (N,) rising, force_n (N,). Over a gap in the samples the rise is that across the gap.
    """
    if len(force_n) < 4:
        return np.empty(0)
    a, b, c = force_n[:-2], force_n[1:-1], force_n[2:]
    median = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    times = times_ns[1:-1]  # of the middle one
    ends = np.arange(max(0, len(times) - newest), len(times))
    begins = np.searchsorted(times, times[ends] - s_to_ns(window_s), side='right') - 1
    ends, begins = ends[begins >= 0], begins[begins >= 0]
    with np.errstate(over='ignore', invalid='ignore'):  # 1e308 N is above any limit all the same
        slopes: Array = (median[ends] - median[begins]) / ((times[ends] - times[begins]) / NS)
    return slopes


def _arrays(stamps_ns: ArrayLike, force_n: ArrayLike) -> tuple[Stamps, Array] | None:
    convert: Callable[[ArrayLike, type], NDArray[np.generic]] = np.asarray
    try:
        stamps, force = convert(stamps_ns, np.int64), convert(force_n, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    if stamps.ndim != 1 or stamps.shape != force.shape:
        return None
    return stamps.astype(np.int64), force.astype(np.float64)
