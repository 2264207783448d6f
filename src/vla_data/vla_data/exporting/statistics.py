"""Statistics of features as LeRobot keeps them: min, max, mean, std, count and five quantiles.

Called by the LeRobot export, per episode, and summed over the episodes. Vectors keep their numbers
until the episode ends (they are few); images and windows are summed as they pass, so that memory
stays flat. Deliberately exact where it can be: images by a histogram of their 256 values.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
Stats: TypeAlias = dict[str, NDArray[np.float64]]
PIXEL_STEP = 4  # every 4th pixel of every 4th row: 14,400 a frame of 640x360


def quantile_name(quantile: float) -> str:
    """0.01 is 'q01'."""
    return f'q{round(quantile * 100):02d}'


def vector_stats(values: NDArray[np.float64]) -> Stats:
    """Stats of (N, C), each (C,); NaN (nothing known) is left out, a column of NaN only is 0."""
    finite = np.isfinite(values)
    known = np.where(finite, values, np.nan)
    empty = ~finite.any(axis=0)
    known[:, empty] = 0.0
    stats: Stats = {
        'min': np.nanmin(known, axis=0),
        'max': np.nanmax(known, axis=0),
        'mean': np.nanmean(known, axis=0),
        'std': np.nanstd(known, axis=0),
        'count': np.array([len(values)], np.float64),
    }
    for quantile in QUANTILES:
        stats[quantile_name(quantile)] = np.nanquantile(known, quantile, axis=0)
    return stats


class ImageStats:
    """Stats of RGB frames, scaled to 0..1, each (3, 1, 1)."""

    def __init__(self) -> None:
        self._bins = np.zeros((3, 256), np.int64)
        self._frames = 0

    def add(self, rgb: NDArray[np.uint8]) -> None:
        """Take in one frame (H, W, 3)."""
        some = rgb[::PIXEL_STEP, ::PIXEL_STEP]
        for channel in range(3):
            self._bins[channel] += np.bincount(some[..., channel].ravel(), minlength=256)
        self._frames += 1

    def stats(self) -> Stats:
        """Return the stats of the frames so far."""
        levels, total = np.arange(256) / 255.0, self._bins.sum(axis=1)
        mean = self._bins @ levels / total
        spread = np.sqrt(np.maximum(self._bins @ levels**2 / total - mean**2, 0))
        share = np.cumsum(self._bins, axis=1) / total[:, None]
        stats = {
            'min': levels[(self._bins > 0).argmax(axis=1)],
            'max': levels[255 - (self._bins[:, ::-1] > 0).argmax(axis=1)],
            'mean': mean,
            'std': spread,
        }
        for quantile in QUANTILES:
            stats[quantile_name(quantile)] = levels[(share >= quantile).argmax(axis=1)]
        shaped = {name: value.reshape(3, 1, 1) for name, value in stats.items()}
        return {**shaped, 'count': np.array([self._frames], np.float64)}


class WindowStats:
    """Stats of sensor windows by channel, each (1, C): masked slots are left out; no quantiles."""

    def __init__(self, channels: int) -> None:
        self._low = np.full(channels, np.inf)
        self._high = np.full(channels, -np.inf)
        self._sum = np.zeros(channels)
        self._squares = np.zeros(channels)
        self._slots = 0

    def add(self, window: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        """Take in one window (S, C) with its mask (S,)."""
        if not mask.any():
            return
        real = window[mask].astype(np.float64)
        np.minimum(self._low, real.min(axis=0), out=self._low)
        np.maximum(self._high, real.max(axis=0), out=self._high)
        self._sum += real.sum(axis=0)
        self._squares += (real**2).sum(axis=0)
        self._slots += len(real)

    def stats(self) -> Stats:
        """Return the stats so far; zeros and count 0 when every slot was masked."""
        count = max(self._slots, 1)
        mean = self._sum / count
        spread = np.sqrt(np.maximum(self._squares / count - mean**2, 0))
        low, high = (self._low, self._high) if self._slots else (mean, mean)
        stats = {'min': low, 'max': high, 'mean': mean, 'std': spread}
        shaped = {name: value[None] for name, value in stats.items()}
        return {**shaped, 'count': np.array([self._slots], np.float64)}


def merge(episodes: Iterable[Mapping[str, Stats]]) -> dict[str, Stats]:
    """Sum the stats of episodes: exact but for the quantiles, which are weighted means."""
    by_feature: dict[str, list[Stats]] = {}
    for episode in episodes:
        for name, stats in episode.items():
            by_feature.setdefault(name, []).append(stats)
    return {name: _merge_one(parts) for name, parts in by_feature.items()}


def _merge_one(parts: list[Stats]) -> Stats:
    counts = np.array([float(part['count'][0]) for part in parts])
    used = [part for part, count in zip(parts, counts) if count] or parts[:1]
    weights = np.array([float(part['count'][0]) for part in used])
    weights = weights / weights.sum() if weights.sum() else np.ones(len(used)) / len(used)

    def mean_of(name: str) -> NDArray[np.float64]:
        return sum(part[name] * weight for part, weight in zip(used, weights))

    mean = mean_of('mean')
    squares = sum((p['std'] ** 2 + (p['mean'] - mean) ** 2) * w for p, w in zip(used, weights))
    merged = {
        'min': np.min([part['min'] for part in used], axis=0),
        'max': np.max([part['max'] for part in used], axis=0),
        'mean': mean,
        'std': np.sqrt(squares),
        'count': np.array([counts.sum()]),
    }
    for name in used[0]:
        if name not in merged:
            merged[name] = mean_of(name)
    return merged
