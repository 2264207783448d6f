"""The sensor window: samples of the last 100 ms, resampled to 65 slots with a mask.

Called by the action loop at every tick and by whoever makes training samples from recordings, so
that both see the same. Deliberately a window in time, never "the last 65 that came": what is
missing is masked.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_core.ring import SampleRing

# A slot takes the nearest sample up to this many periods away (of the slots or of the source,
# whichever is longer). Half a period is needed where the rates differ, the other quarter is for
# jitter: 0.38 ms at 650 Hz. Less than one period, so that a lost sample is not covered up by its
# neighbour.
TOLERANCE_PERIODS = 0.75
# The grid of slots is moved to the source's phase when the samples agree on one: their phases, as
# unit vectors, have a mean at least this long (1 = all equal; 0.66 at 650 Hz with 1 % rate error).
PHASE_LOCK = 0.6


@dataclass(frozen=True)
class WindowSpec:
    """A window that ends `lag_ns` before the tick and has `samples` slots over `duration_ns`."""

    samples: int = 65
    duration_ns: int = 100_000_000
    lag_ns: int = 30_000_000

    def __post_init__(self) -> None:
        if self.samples <= 0 or self.duration_ns <= 0 or self.lag_ns < 0:
            raise ValueError(f'not a window: {self}')

    @property
    def slot_ns(self) -> float:
        """Time between two slots."""
        return self.duration_ns / self.samples

    def end_ns(self, tick_ns: int) -> int:
        """End of the window of this tick."""
        return tick_ns - self.lag_ns

    def tolerance_ns(self, source_period_ns: int) -> float:
        """How far from its slot a sample may be."""
        return TOLERANCE_PERIODS * max(self.slot_ns, source_period_ns)

    def reach_ns(self, end_ns: int, source_period_ns: int) -> tuple[int, int]:
        """Times (after, up to) of the samples that the window ending at `end_ns` may use."""
        tolerance_ns = int(self.tolerance_ns(source_period_ns))
        return end_ns - self.duration_ns - tolerance_ns, end_ns + tolerance_ns


@dataclass(frozen=True, eq=False)
class Window:
    """One resampled window, oldest slot first."""

    values: NDArray[
        np.float32
    ]  # (samples, C); a masked slot repeats the last real one, 0 before the first
    mask: NDArray[np.bool_]  # (samples,) True where the slot holds a real sample
    fill: float  # share of real slots, 0..1
    max_gap_ns: int  # longest time without a sample in the window, both borders included
    first_ns: int  # stamp of the oldest sample used, 0 when there is none
    last_ns: int  # stamp of the newest sample used, 0 when there is none
    count: int  # distinct samples used


def read_window(ring: SampleRing, tick_ns: int, spec: WindowSpec, source_period_ns: int) -> Window:
    """Slice what the tick's window needs out of the ring, and resample it."""
    end_ns = spec.end_ns(tick_ns)
    stamps, values = ring.slice(*spec.reach_ns(end_ns, source_period_ns))
    return resample(stamps, values, end_ns, spec, source_period_ns)


def resample(
    stamps: NDArray[np.int64],
    values: NDArray[np.float32],
    end_ns: int,
    spec: WindowSpec,
    source_period_ns: int,
) -> Window:
    """Resample stamps (N,) int64 ns and values (N, C) to the window (end - duration, end].

    Slot k is at end - (samples - 1 - k) x duration / samples, moved back by up to one slot to the
    phase of the source where it runs at the slots' rate: then every slot has exactly one sample,
    whatever the phase, and a lost sample is exactly one masked slot. Each slot takes the nearest
    sample within `tolerance_ns`, which may lie that much outside the window. Samples that are not
    finite are as good as lost. The samples of `spec.reach_ns` are needed, in any order; more
    change nothing.
    """
    stamps, values = _clean(stamps, values, *spec.reach_ns(end_ns, source_period_ns))
    offsets = stamps - end_ns  # small numbers from here on: exact in float64
    shift_ns = _phase_shift(offsets, spec)
    numbers = np.arange(1 - spec.samples, 1, dtype=np.float64)
    slots = numbers * spec.slot_ns + shift_ns
    nearest, mask = _nearest(offsets, slots, spec.tolerance_ns(source_period_ns))
    result = np.zeros((spec.samples, values.shape[1]), np.float32)
    used = np.unique(nearest[mask])
    if len(used):
        # The slot whose sample each slot shows: its own, or the last real one before it.
        shown = np.maximum.accumulate(np.where(mask, np.arange(spec.samples), -1))
        filled = shown >= 0
        result[filled] = values[nearest[shown[filled]]]
    return Window(
        values=result,
        mask=mask,
        fill=float(mask.mean()),
        max_gap_ns=_max_gap(offsets, spec.duration_ns),
        first_ns=int(stamps[used[0]]) if len(used) else 0,
        last_ns=int(stamps[used[-1]]) if len(used) else 0,
        count=len(used),
    )


def _clean(
    stamps: NDArray[np.int64], values: NDArray[np.float32], after_ns: int, until_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Keep what the window may use: sort, drop double stamps and what is not finite."""
    stamps = np.asarray(stamps, np.int64)
    if stamps.ndim != 1 or values.ndim != 2 or len(values) != len(stamps):
        raise ValueError(f'expected (N,) and (N, C), got {stamps.shape} and {values.shape}')
    within = (stamps > after_ns) & (stamps <= until_ns)
    if not within.all():
        stamps, values = stamps[within], values[within]
    if not (stamps[1:] > stamps[:-1]).all():
        stamps, first = np.unique(stamps, return_index=True)
        values = values[first]
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        stamps, values = stamps[finite], values[finite]
    return stamps, values


def _phase_shift(offsets: NDArray[np.int64], spec: WindowSpec) -> float:
    """How far to move the slots, (-slot_ns, 0], to meet samples that come at the slots' rate."""
    if not len(offsets):
        return 0.0
    mean = np.exp(2j * np.pi * (offsets / spec.slot_ns)).mean()
    if abs(mean) < PHASE_LOCK:
        return 0.0
    turn = float(np.angle(mean)) / (2 * np.pi)  # (-0.5, 0.5]
    return (turn - 1.0 if turn > 0 else turn) * spec.slot_ns


def _nearest(
    offsets: NDArray[np.int64], slots: NDArray[np.float64], tolerance_ns: float
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Index of the sample nearest to each slot, and whether it is near enough."""
    if not len(offsets):
        return np.zeros(len(slots), np.intp), np.zeros(len(slots), bool)
    right = np.clip(np.searchsorted(offsets, slots), 0, len(offsets) - 1)
    left = np.maximum(right - 1, 0)
    take_left = np.abs(offsets[left] - slots) <= np.abs(offsets[right] - slots)
    nearest = np.where(take_left, left, right)
    return nearest, np.abs(offsets[nearest] - slots) <= tolerance_ns


def _max_gap(offsets: NDArray[np.int64], duration_ns: int) -> int:
    inside = offsets[(offsets > -duration_ns) & (offsets <= 0)]
    edges = np.concatenate(([-duration_ns], inside, [0]))
    return int(np.diff(edges).max())
