"""Which features a sample has, and where they come from.

Used by the data sets. Features of a frozen backbone come from the cache, those of one that learns
from its pictures (pictures.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from vla_core.errors import VlaError
from vla_training.cache.store import FeatureCache
from vla_training.data.prepared import feature_keys, PreparedEpisode

_IN_MEMORY_BYTES = 1e9  # features up to here are held in memory


@dataclass(frozen=True)
class Pick:
    """One sample with its features: numbers of the episode, the tick, each pass's image set."""

    episode: int
    row: int
    images: tuple[int, ...]  # newest first
    age_s: float


class Features(Protocol):
    """Where the features of image sets come from."""

    def get(self, episode: int, images: int) -> np.ndarray:
        """Features (T, D) float16 of one image set."""
        ...


class CachedFeatures:
    """Features of every image set, in memory where they fit."""

    def __init__(
        self, paths: Sequence[Path], episodes: Sequence[PreparedEpisode], cache: FeatureCache,
        images: str,
    ) -> None:  # fmt: skip
        """VlaError where a set of `images` (normal, black) has none in the cache."""
        self._cache = cache
        self._keys = [feature_keys(episode, cache, images == 'black') for episode in episodes]
        missing = [sum(key not in cache for key in keys) for keys in self._keys]
        if any(missing):
            path = next(path for path, count in zip(paths, missing) if count)
            total = sum(len(keys) for keys in self._keys)
            raise VlaError(
                f'{path}: {sum(missing)} of {total} image sets have no features of this encoder '
                f'({cache.identity.name}) in {cache.root}: run vla cache again'
            )
        wanted = sorted({key for keys in self._keys for key in keys})
        size = cache.get(wanted[0]).nbytes * len(wanted) if wanted else 0
        held = wanted if size <= _IN_MEMORY_BYTES else []
        self._held = {key: cache.get(key) for key in held}

    def get(self, episode: int, images: int) -> np.ndarray:
        """Features (T, D) float16 of one image set."""
        key = self._keys[episode][images]
        found = self._held.get(key)
        return self._cache.get(key) if found is None else found
