"""Windows of the simulated OCT/force sensor with what the needle has ahead, drawn at random.

Used by `sensing`. Made by the simulator's own signal, so a window is what the driver would
deliver; a trocar, a scene or a picture is not needed. Deliberately knows no model.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_sim.oct_signal import FORCE_OFFSET, FORCE_PER_NEWTON, IMAGING_DEPTH_M, OctSignal
from vla_sim.tissue import Surface

RATE_HZ = 650.0
_SIGNALS = 16  # sensors with noise and speckle of their own
_NEAR_M, _FAR_M = -0.0004, IMAGING_DEPTH_M + 0.0003  # of the surface at the end of the window
_SPEED_M_S = 0.004  # standard deviation, along the needle
_FORCE_N = 0.25
_FREE = 0.3  # share of windows whose needle is in no contact
_SHARES = {Surface.NOTHING: 0.2, Surface.VALVE: 0.15, Surface.TISSUE: 0.55, Surface.HARD: 0.1}
_LONGEST_S = 600.0


@dataclass(frozen=True, eq=False)
class Windows:
    """What the sensor told and why; lengths in metres, NaN where nothing echoes."""

    values: NDArray[np.float32]  # (B, samples, 1026) force (N) and A-scan, as the live window
    surface: NDArray[np.int64]  # (B,) Surface that is seen at the end
    distance_m: NDArray[np.float32]  # (B, 2) tip to surface at the window's begin and end


class WindowSource:
    """Draws windows; the same generator gives the same ones. One thread."""

    def __init__(self, samples: int, seed: int) -> None:
        """`samples` of a window, at 650 Hz."""
        self._samples = samples
        self._signals = [OctSignal(seed * _SIGNALS + number) for number in range(_SIGNALS)]

    def draw(self, count: int, rng: np.random.Generator) -> Windows:
        """Draw `count` windows."""
        rows = [self._one(rng) for _ in range(count)]
        values, surface, distance = (np.stack(part) for part in zip(*rows))
        return Windows(values, surface, distance.astype(np.float32))

    def _one(self, rng: np.random.Generator) -> tuple[NDArray, NDArray, NDArray]:
        signal = self._signals[int(rng.integers(_SIGNALS))]
        kind = rng.choice(list(_SHARES), p=list(_SHARES.values()))
        first = int(rng.integers(_LONGEST_S * RATE_HZ))
        index = first + np.arange(self._samples)
        since_s = np.arange(1 - self._samples, 1) / RATE_HZ
        end_m, speed = rng.uniform(_NEAR_M, _FAR_M), rng.normal(0.0, _SPEED_M_S)
        distance_m = end_m - speed * since_s
        pressed_n = 0.0 if rng.random() < _FREE else rng.exponential(_FORCE_N)
        force_n = np.full(self._samples, pressed_n)
        surface = np.full(self._samples, kind)
        force, profile = signal.synthesise(index, index / RATE_HZ, distance_m, surface, force_n)
        newtons = (force - np.float32(FORCE_OFFSET)) / np.float32(FORCE_PER_NEWTON)
        seen = int(kind) if distance_m[-1] < IMAGING_DEPTH_M else int(Surface.NOTHING)
        told = distance_m[[0, -1]] if seen != Surface.NOTHING else np.full(2, np.nan)
        return np.concatenate([newtons[:, None], profile], axis=1), np.int64(seen), told
