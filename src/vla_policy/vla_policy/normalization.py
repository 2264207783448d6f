"""Normalisation of sensor, state and action, stored in the checkpoint as JSON.

Training writes it from the training split; the expert reads it. Each key is `mean_std` or
`min_max` (to -1..1). Deliberately has no default at loading: a missing key is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vla_policy.errors import CheckpointError

METHODS = {'mean_std': ('mean', 'std'), 'min_max': ('min', 'max')}


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of one key, each (width,) float64, in the key's own units."""

    method: str
    first: np.ndarray  # mean or min
    second: np.ndarray  # std or max

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f'method must be one of {", ".join(METHODS)}, not {self.method!r}')
        if self.first.ndim != 1 or self.first.shape != self.second.shape:
            raise ValueError(
                f'{self.names[0]} and {self.names[1]} must be lists of the same length'
            )
        if not (np.isfinite(self.first).all() and np.isfinite(self.second).all()):
            raise ValueError('numbers must be finite')
        if (self.scale <= 0).any():
            raise ValueError(
                'std must be above 0, max above min' + '; a constant number needs std 1'
            )

    @property
    def names(self) -> tuple[str, str]:
        """What the two lists are called."""
        return METHODS[self.method]

    @property
    def offset(self) -> np.ndarray:
        """Value that becomes 0."""
        return self.first if self.method == 'mean_std' else (self.first + self.second) / 2

    @property
    def scale(self) -> np.ndarray:
        """Distance that becomes 1."""
        return self.second if self.method == 'mean_std' else (self.second - self.first) / 2

    @staticmethod
    def mean_std(values: np.ndarray, floor: float = 1e-6) -> 'Statistics':
        """Measure values (N, width); a deviation under `floor` (a constant) becomes 1."""
        std = values.std(0, dtype=np.float64)
        return Statistics(
            'mean_std', values.mean(0, dtype=np.float64), np.where(std < floor, 1.0, std)
        )


class Normalizer(nn.Module):
    """Applies the statistics of one key to the last axis; not part of the weights."""

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        for name in ('offset', 'scale'):
            value = torch.from_numpy(np.asarray(getattr(statistics, name), np.float64)).float()
            self.register_buffer(name, value, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raw to normalised."""
        return (x - self.offset) / self.scale

    def invert(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised to raw."""
        return x * self.scale + self.offset


def save_normalization(path: Path, statistics: Mapping[str, Statistics]) -> None:
    """Write one entry a key."""
    data = {
        key: {
            'method': entry.method,
            entry.names[0]: entry.first.tolist(),
            entry.names[1]: entry.second.tolist(),
        }
        for key, entry in statistics.items()
    }
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + '\n')


def load_normalization(path: Path, widths: Mapping[str, int]) -> dict[str, Statistics]:
    """Read statistics for exactly the keys of `widths`; CheckpointError names a wrong key."""
    remedy = 'the checkpoint is damaged or of another version; make it again'
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(path, f'cannot be read ({error})', remedy) from error
    if not isinstance(data, dict) or set(data) != set(widths):
        keys = sorted(data) if isinstance(data, dict) else type(data).__name__
        raise CheckpointError(path, f'expected the keys {sorted(widths)}, found {keys}', remedy)
    result = {}
    for key, width in widths.items():
        try:
            result[key] = _parse(data[key])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(path, f'{key}: {error}', remedy) from error
        if len(result[key].first) != width:
            raise CheckpointError(
                path, f'{key}: has {len(result[key].first)} numbers, not {width}', remedy
            )
    return result


def _parse(entry: Any) -> Statistics:
    method = entry['method']
    names = METHODS.get(method, ())
    if set(entry) != {'method', *names}:
        raise ValueError(f'expected method and {" and ".join(names)}, found {sorted(entry)}')
    return Statistics(method, *(np.asarray(entry[name], np.float64) for name in names))
