"""What the stages of pretraining share: options, the course of the rate, a step downhill, a loop.

Used by `run`, `trunk` and `sensing`. The short loop keeps no state: its stages take minutes.
Deliberately knows neither pictures nor windows.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
import math
from typing import TypeVar

import torch
from torch import nn

from vla_core.errors import VlaError
from vla_training.train.average import Average

T = TypeVar('T')
TELL_EVERY = 250
_CLIP, _LEAST_RATE = 1.0, 0.01


@dataclass(frozen=True)
class StageOptions:
    """How long and how fast; a stage of no steps leaves its part as it is."""

    steps: int
    batch: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.03
    warm_up: int = 50
    seed: int = 0

    @property
    def full_rate_steps(self) -> float:
        """Steps, the warm-up included, before the rate falls."""
        return 0.0


def rate(step: int, options: StageOptions) -> float:
    """Warm-up, full rate for a while, then half a cosine (0 to 1)."""
    begin = options.full_rate_steps
    fall = max(step - begin, 0.0) / (options.steps - begin)
    warm = min(1.0, (step + 1) / options.warm_up)
    return warm * (_LEAST_RATE + (1.0 - _LEAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * fall)))


class Descent:
    """AdamW on the weights of a module that are to learn, at the rate of each step."""

    def __init__(self, weights: Iterable[nn.Parameter], options: StageOptions) -> None:
        self._weights = [weight for weight in weights if weight.requires_grad]
        self._options = options
        self.optimizer = torch.optim.AdamW(
            self._weights, options.learning_rate, (0.9, 0.98), weight_decay=options.weight_decay
        )

    def step(self, step: int, loss: torch.Tensor, advice: str) -> None:
        """Go downhill. VlaError with `advice` where the loss is not finite."""
        if not torch.isfinite(loss):
            raise VlaError(f'the loss is not finite any more: {advice}')
        for group in self.optimizer.param_groups:
            group['lr'] = self._options.learning_rate * rate(step, self._options)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._weights, _CLIP)
        self.optimizer.step()


def learn(
    module: nn.Module, options: StageOptions, averaging: float, draw: Callable[[int], T],
    loss: Callable[[T], torch.Tensor], tell: Callable[[int, float], None],
) -> None:  # fmt: skip
    """Train what of `module` is to learn, in place; ends with the averaged weights.

    `draw` makes the batch of a step while the one before is learned from; `tell` is called every
    TELL_EVERY steps with how many are done and the last loss. VlaError where one is not finite.
    """
    descent, average = Descent(module.parameters(), options), Average(module, averaging)
    with ThreadPoolExecutor(1, 'batches') as pool:
        coming = pool.submit(draw, 0)
        for step in range(options.steps):
            batch = coming.result()
            if step + 1 < options.steps:
                coming = pool.submit(draw, step + 1)
            found = loss(batch)
            descent.step(step, found, 'leave this stage out by giving it 0 steps')
            average.update(step)
            if (step + 1) % TELL_EVERY == 0:
                tell(step + 1, float(found.detach()))
    average.settle()
