"""Synthesis of the OCT/force sensor's samples: an A-scan of 1025 bins over 3.7 mm, and a force.

The sensor stream calls it for every datagram, `Lab` for one sample. Everything costly (speckle,
attenuation, noise) is computed once; a sample is two slices and a sum, 650 times a second.
Deliberately knows nothing of geometry: it gets the distance along the needle from `tissue`.

Levels follow what is known of the real sensor: force offset about 1.0 unit, mean of an A-scan
about 50. The imaging depth of 3.7 mm is the threshold the legacy simulator used.
"""

import numpy as np
from numpy.typing import NDArray

from vla_sim.tissue import Surface

PROFILE_BINS = 1025
IMAGING_DEPTH_M = 0.0037
BIN_M = IMAGING_DEPTH_M / PROFILE_BINS

_FLANK_M = 30e-6

FORCE_OFFSET = 1.0
FORCE_PER_NEWTON = 1.0
FORCE_NOISE = 0.004
FORCE_DRIFT = 0.006  # slow, with a period of 17 s

NOISE_MEAN = 46.0
NOISE_SIGMA = 3.5
_TEXTURES = 24  # speckle patterns a surface kind
_NOISE_POOL = 1 << 16
# The speckle changes as the needle moves sideways through the tissue and as the tissue lives.
SPECKLE_HZ = 40.0

FloatArray = NDArray[np.float32]


class OctSignal:
    """Makes samples. Stateless once made: the same index and inputs give the same sample."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 0x0C7])
        self._noise = (NOISE_MEAN + NOISE_SIGMA * rng.standard_normal(_NOISE_POOL)).astype(
            np.float32
        )
        self._noise += (
            0.25 * np.abs(rng.standard_normal(_NOISE_POOL)).astype(np.float32) * NOISE_SIGMA
        )
        self._force_noise = (FORCE_NOISE * rng.standard_normal(_NOISE_POOL)).astype(np.float32)
        self._fibre = _fibre_reflection()
        self._echo = np.stack([_echoes(kind, rng) for kind in Surface])
        self._salt = int(rng.integers(1, 1 << 30)) | 1

    def synthesise(
        self,
        index: NDArray[np.int64],
        time_s: NDArray[np.float64],
        distance_m: NDArray[np.float64],
        surface: NDArray[np.int64],
        force_n: NDArray[np.float64],
    ) -> tuple[FloatArray, FloatArray]:
        """Samples for N instants: force (N,) and A-scans (N, 1025), float32, sensor units.

        index: running number of each sample; time_s: any steady time; distance_m, surface,
        force_n: from `tissue.Contact`, all (N,).
        """
        count = len(index)
        where = (index * self._salt) % (_NOISE_POOL - PROFILE_BINS)
        drift = FORCE_DRIFT * np.sin(2 * np.pi * time_s / 17.0)
        force = (FORCE_OFFSET + FORCE_PER_NEWTON * force_n + drift).astype(np.float32)
        force += self._force_noise[where]
        shift = np.clip(np.rint(distance_m / BIN_M), -PROFILE_BINS, PROFILE_BINS).astype(np.int64)
        # Beyond the imaging depth nothing echoes (the peak's flank would still show in the last
        # bins).
        surface = np.where(distance_m < IMAGING_DEPTH_M + _FLANK_M, surface, int(Surface.NOTHING))
        texture = (time_s * SPECKLE_HZ).astype(np.int64) * 7 % _TEXTURES
        profile = np.empty((count, PROFILE_BINS), dtype=np.float32)
        for i in range(count):
            start = PROFILE_BINS - shift[i]
            np.add(
                self._noise[where[i] : where[i] + PROFILE_BINS],
                self._echo[surface[i], texture[i], start : start + PROFILE_BINS],
                out=profile[i],
            )
        profile += self._fibre
        return force, profile


def _fibre_reflection() -> FloatArray:
    """The fibre's own end face: bright first bins in every A-scan, (1025,)."""
    bins = np.arange(PROFILE_BINS, dtype=np.float64)
    return (70.0 * np.exp(-((bins / 3.0) ** 2))).astype(np.float32)


def _echoes(kind: Surface, rng: np.random.Generator) -> FloatArray:
    """Speckled echo of one kind of surface, (24, 3 x 1025); the surface is at bin 1025."""
    depth_m = (np.arange(3 * PROFILE_BINS) - PROFILE_BINS) * BIN_M
    speckle = rng.exponential(1.0, (_TEXTURES, len(depth_m)))
    kernel = np.exp(-(np.linspace(-2, 2, 7) ** 2))  # an axial resolution of about 11 micrometres
    kernel /= kernel.sum()
    speckle = np.apply_along_axis(np.convolve, 1, speckle, kernel, 'same')
    echo = _scatter(kind, depth_m) * speckle + _peak(kind, depth_m)
    # A spectrometer's sensitivity falls with depth; the echo moves as a whole, so the fall-off is
    # put on its own depth, which is near enough over 3.7 mm.
    return np.asarray(echo, dtype=np.float32)


def _scatter(kind: Surface, depth_m: NDArray[np.float64]) -> NDArray[np.float64]:
    below = depth_m >= 0
    if kind is Surface.TISSUE:
        return below * 70.0 * np.exp(-depth_m.clip(0) / 0.0007)
    if kind is Surface.HARD:
        return below * 95.0 * np.exp(-depth_m.clip(0) / 0.00025)
    if kind is Surface.VALVE:
        return (below & (depth_m < 0.0003)) * 40.0
    return np.zeros_like(depth_m)


def _peak(kind: Surface, depth_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Specular peaks: (depth, height, width) a layer boundary."""
    layers = {
        Surface.NOTHING: (),
        Surface.VALVE: ((0.0, 130.0, 9e-6), (0.0003, 70.0, 9e-6)),
        Surface.TISSUE: ((0.0, 160.0, 10e-6), (0.00028, 90.0, 18e-6)),
        Surface.HARD: ((0.0, 220.0, 10e-6),),
    }[kind]
    peak = np.zeros_like(depth_m)
    for at_m, height, width_m in layers:
        peak += height * np.exp(-(((depth_m - at_m) / width_m) ** 2))
    return peak
