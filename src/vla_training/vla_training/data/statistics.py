"""Normalisation from what the policy is trained on: sums of each episode, joined.

Made per episode when it is prepared, so that no run needs to read all windows again. The caller
gives the training episodes only. Deliberately stores nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vla_core.errors import VlaError
from vla_policy.normalization import Statistics

# A deviation below this is a constant, whose noise must not be blown up: N and dB of the sensor;
# rad and m of the state; m and rad a step of the action.
FLOORS = {'sensor': 1e-3, 'state': 1e-4, 'action': 1e-7}


@dataclass(frozen=True, eq=False)
class Sums:
    """Count, sum and sum of squares of rows (N, width); float64."""

    count: int
    total: np.ndarray  # (width,)
    squares: np.ndarray  # (width,)

    @staticmethod
    def of(rows: np.ndarray) -> 'Sums':
        """Sum up rows (N, width)."""
        values = rows.astype(np.float64)
        return Sums(len(values), values.sum(0), np.einsum('ij,ij->j', values, values))

    @staticmethod
    def zero(width: int) -> 'Sums':
        """Sums of nothing."""
        return Sums(0, np.zeros(width), np.zeros(width))

    def __add__(self, other: 'Sums') -> 'Sums':
        return Sums(
            self.count + other.count, self.total + other.total, self.squares + other.squares
        )

    def statistics(self, key: str) -> Statistics:
        """Mean and deviation. VlaError where there is nothing of `key` to measure."""
        if not self.count:
            raise VlaError(f'normalisation: the training episodes hold no {key} at all')
        mean = self.total / self.count
        std = np.sqrt(np.maximum(self.squares / self.count - mean**2, 0.0))
        return Statistics('mean_std', mean, np.where(std < FLOORS[key], 1.0, std))


def joined(parts: Iterable[Sums]) -> Sums:
    """Join sums of several episodes; at least one."""
    first, *others = parts
    for other in others:
        first = first + other
    return first
