"""How often each sample is drawn: priorities of data sets.

Used by `vla train` after the split. A data set is a folder of episodes, or a tag of episodes. With
priority 2, each of its samples is drawn twice as often as one without priority (the seed's
priority data). Deliberately draws nothing.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from vla_core.errors import did_you_mean, VlaError


class Named(Protocol):
    """Samples of episodes that have names."""

    @property
    def names(self) -> list[set[str]]:
        """Names of each episode."""
        ...

    @property
    def episode_of(self) -> np.ndarray:
        """Number (N,) of each sample's episode."""
        ...


def sample_weights(data: Named, priorities: Mapping[str, float]) -> np.ndarray:
    """Probability (N,) float64 of each sample; the sum is 1.

    priorities: name of the folder that holds the episodes, or a tag -> factor; several that match
    are multiplied. VlaError names one that matches no episode, and factors that are no numbers
    above or equal to 0.
    """
    for name, factor in priorities.items():
        if not (np.isfinite(factor) and factor >= 0.0):
            raise VlaError(f'priority of {name}: {factor} is not a number of at least 0')
    names = data.names
    known = set().union(*names)
    for name in priorities:
        if name not in known:
            raise VlaError(
                f'priority of {name}: no episode lies in a folder or has a tag of that name'
                f'{did_you_mean(name, sorted(known))}'
            )
    factors = np.array([
        np.prod([factor for name, factor in priorities.items() if name in mine]) for mine in names
    ])  # fmt: skip
    weights = factors[data.episode_of]
    if not weights.sum() > 0.0:
        raise VlaError('priorities: every sample has the weight 0')
    return weights / weights.sum()
