"""The pretraining loop: averaged weights, validation on scenes held back, a state to resume from.

Called by `pipeline`. Deliberately one process on one device: it is for backbones that a CPU can
train; larger ones come pretrained.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
import math
import time

import numpy as np
import torch

from vla_core.errors import VlaError
from vla_training.pretrain.batches import SceneBatches
from vla_training.pretrain.objective import Losses, SeeingModel
from vla_training.pretrain.report import figures, NEAR_M
from vla_training.train.average import Average
from vla_training.train.state import Progress, RunState

Report = Callable[[str], None]
_AVERAGING = 0.998  # a step's share in the averaged weights is one in five hundred
_CLIP = 1.0
_REPORT_EVERY, SAVE_EVERY = 50, 500
_LEAST_RATE = 0.01


@dataclass(frozen=True)
class PretrainOptions:
    """How long and how fast."""

    steps: int = 4000
    batch: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.03
    warm_up: int = 150
    vision_share: float = 0.35  # of the steps: first the vision tower by itself, at half the cost
    held_back_shards: int = 2
    seed: int = 0


class Pretraining:
    """One run. What a step sees follows from seed and step, so a resumed run needs no memory."""

    def __init__(
        self, model: SeeingModel, batches: SceneBatches, options: PretrainOptions, task: str,
        report: Report, state: RunState | None = None,
    ) -> None:  # fmt: skip
        """`model` is trained in place; `state` None: nothing is kept to resume from."""
        self._model, self._batches, self._options = model, batches, options
        self._task, self._report, self._state = task, report, state
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._weights, options.learning_rate, (0.9, 0.98), weight_decay=options.weight_decay
        )
        self._average = Average(model, _AVERAGING)
        self._kept: list[Losses] = []
        self._coming: Future[tuple[torch.Tensor, ...]]
        self.step = 0

    def resume(self, run: dict[str, object]) -> None:
        """Go on at the newest state of the same run. VlaError where there is none."""
        assert self._state is not None
        given = (self._model, self._average, self._optimizer, self._identity(run))
        self.step = self._state.load(*given).step

    def train(self, save: Callable[[], None], run: dict[str, object] | None = None) -> None:
        """Run to the end; `save` is called with averaged weights in the model, last at the end."""
        with ThreadPoolExecutor(1, 'batches') as self._pool:
            self._coming = self._pool.submit(self._draw, self.step)
            self._run(save, run or {})
        self._average.settle()

    def _run(self, save: Callable[[], None], run: dict[str, object]) -> None:
        started_s, first = time.monotonic(), self.step
        while self.step < self._options.steps:
            self._kept.append(self._one_step())
            self._average.update(self.step)
            self.step += 1
            last = self.step == self._options.steps
            if self.step % _REPORT_EVERY == 0 or last:
                spent_s = time.monotonic() - started_s
                left_s = spent_s / (self.step - first) * (self._options.steps - self.step)
                self._report(_line(self.step, spent_s, left_s, self._kept))
                self._kept.clear()
            if self.step % SAVE_EVERY == 0 or last:
                with self._average.applied():
                    self._report(validate(self._model, self._batches, self._task))
                    save()
                self._save_state(run)

    def _one_step(self) -> Losses:
        options = self._options
        for group in self._optimizer.param_groups:
            group['lr'] = options.learning_rate * rate(self.step, options)
        batch = self._coming.result()
        if self.step + 1 < options.steps:
            self._coming = self._pool.submit(self._draw, self.step + 1)
        alone = self.step < options.vision_share * options.steps
        losses = self._model.losses(*batch, task=self._task, tokens_only=alone)
        if not torch.isfinite(losses.total):
            raise VlaError('the loss is not finite any more: use a smaller --learning-rate')
        self._optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(self._weights, _CLIP)
        self._optimizer.step()
        return losses.detach()

    def _draw(self, step: int) -> tuple[torch.Tensor, ...]:
        """Batch of a step; read from disk while the one before is learned from."""
        options = self._options
        return self._batches.draw(options.batch, np.random.default_rng([options.seed, step]))

    def _save_state(self, run: dict[str, object]) -> None:
        if self._state is not None:
            self._state.save(
                Progress(self.step), self._model, self._average, self._optimizer,
                self._identity(run),
            )  # fmt: skip

    def _identity(self, run: dict[str, object]) -> dict[str, object]:
        return asdict(self._options) | {'shards': self._batches.shards, 'task': self._task} | run


@torch.no_grad()
def validate(model: SeeingModel, batches: SceneBatches, task: str) -> str:
    """One line about the scenes held back: error of the opening near the needle and everywhere."""
    distance, off, axis, token = [], [], [], []
    for images, state, pose, keypoints in batches.validation():
        losses = model.losses(images, state, pose, keypoints, task=task)
        distance.append(pose[:, :3].norm(dim=1))
        off.append(losses.position_error_m * 1e3)
        axis.append(losses.axis_error_rad.rad2deg())
        token.append(losses.token)
    off_mm, off_deg = torch.cat(off), torch.cat(axis)
    near = torch.cat(distance) < NEAR_M

    return (
        f'validation (p50 p90 p95): opening near {figures(off_mm[near])} mm, everywhere '
        f'{figures(off_mm)} mm; axis near {figures(off_deg[near])} deg; '
        f'mean token loss {float(torch.stack(token).mean()):.3f}'
    )


def rate(step: int, options: PretrainOptions) -> float:
    """Warm-up, full rate while the vision tower learns by itself, then half a cosine (0 to 1)."""
    begin = options.vision_share * options.steps
    fall = max(step - begin, 0.0) / (options.steps - begin)
    warm = min(1.0, (step + 1) / options.warm_up)
    return warm * (_LEAST_RATE + (1.0 - _LEAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * fall)))


def _line(step: int, spent_s: float, left_s: float, kept: list[Losses]) -> str:
    """Losses since the last line; what was not computed is left out."""

    def mean(name: str) -> float:
        return float(np.mean([float(getattr(losses, name).mean()) for losses in kept]))

    found = {name: mean(name) for name in ('position', 'axis', 'image', 'look', 'token')}
    parts = ', '.join(f'{name} {value:.3f}' for name, value in found.items() if value == value)
    error_mm = 1e3 * mean('position_error_m')
    tail = f', opening {error_mm:.2f} mm' if error_mm == error_mm else ''
    return (
        f'step {step}, {spent_s:.0f} s, {left_s / 60:.0f} min left: loss {mean("total"):.3f} '
        f'({parts}){tail}'
    )
