"""Averaged weights (EMA): what is validated and shipped.

Used by the loop. The first steps count more, so that a short run does not ship its random start.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


class Average:
    """Exponential mean of a module's trained weights. One thread."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        """`decay` 0: the average is the weights themselves."""
        self.decay = decay
        self._weights = {
            name: weight for name, weight in module.named_parameters() if weight.requires_grad
        }
        self.values = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step` (from 0)."""
        share = 1.0 - min(self.decay, (1 + step) / (10 + step))
        if self.decay == 0.0:
            share = 1.0
        for name, mean in self.values.items():
            mean.lerp_(self._weights[name], share)

    def load(self, values: Mapping[str, torch.Tensor]) -> None:
        """Continue from `values`."""
        for name, mean in self.values.items():
            mean.copy_(values[name])

    def settle(self) -> None:
        """Put the average in the place of the weights for good."""
        self._put(self.values)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in the place of the weights for a while."""
        present = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self._put(self.values)
        try:
            yield
        finally:
            self._put(present)

    @torch.no_grad()
    def _put(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(values[name])
