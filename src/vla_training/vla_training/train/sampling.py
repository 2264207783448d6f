"""Which samples a step learns from, and the random numbers of a batch.

Everything follows from the seed and a count, nothing is remembered: a resumed run goes on with the
very samples, and it does not matter which process computes which batch of a step.
"""

from functools import lru_cache

import numpy as np
import torch

_ORDER, _DRAW, _NOISE, _DROPOUT = range(4)  # uses of random numbers, kept apart


class SampleOrder:
    """An endless sequence of sample numbers, in epochs as long as there are samples.

    Each epoch holds a sample as often as its weight says, give or take one: with equal weights
    exactly once.
    """

    def __init__(self, weights: np.ndarray, seed: int) -> None:
        """`weights` (N,) sum up to 1."""
        self._edges = np.cumsum(weights)
        self._edges[-1] = 1.0
        self._seed = seed
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    def at(self, start: int, count: int) -> np.ndarray:
        """Sample numbers (count,) int64 at positions start, start + 1, ..."""
        places = np.arange(start, start + count)
        epochs, inside = np.divmod(places, len(self._edges))
        return np.array([self._epoch(int(e))[i] for e, i in zip(epochs, inside)], np.int64)

    def _make_epoch(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self._seed, _ORDER, epoch])
        count = len(self._edges)
        picks = np.searchsorted(self._edges, (np.arange(count) + rng.random()) / count, 'right')
        return rng.permutation(np.minimum(picks, count - 1))


def draw_rng(seed: int, step: int, part: int) -> np.random.Generator:
    """Random numbers for making batch `part` of a step: feature ages, dropouts."""
    return np.random.default_rng([seed, _DRAW, step, part])


def noise_seed(seed: int, step: int, part: int) -> int:
    """Seed for the noise of a head on batch `part` of a step."""
    return int(np.random.default_rng([seed, _NOISE, step, part]).integers(2**62))


def seed_dropout(seed: int, step: int, part: int) -> None:
    """Set torch's global generators, which dropout inside a backbone draws from."""
    torch.manual_seed(int(np.random.default_rng([seed, _DROPOUT, step, part]).integers(2**62)))
