"""The pretraining loop: averaged weights, validation on scenes held back, a state to resume from.

Called by `pipeline`. Deliberately one process on one device: it is for backbones that a CPU can
train; larger ones come pretrained.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
import time

import numpy as np
import torch

from vla_training.pretrain.batches import SceneBatches
from vla_training.pretrain.objective import Losses, SeeingModel
from vla_training.pretrain.report import pose_errors
from vla_training.pretrain.stage import Descent, StageOptions
from vla_training.train.average import Average
from vla_training.train.state import Progress, RunState

Report = Callable[[str], None]
_AVERAGING = 0.998  # a step's share in the averaged weights is one in five hundred
_PICTURE_PAIRS = 2.5  # as many pictures as in a set, half of them the tool camera's
_REPORT_EVERY, SAVE_EVERY = 50, 500


@dataclass(frozen=True)
class PretrainOptions(StageOptions):
    """How long and how fast."""

    steps: int = 4000
    batch: int = 8
    warm_up: int = 150
    vision_share: float = 0.35  # of the steps: first the vision tower by itself, at half the cost
    held_back_shards: int = 2
    dtype: str = 'auto'  # the encoder's products; auto: bfloat16 where the CPU has it

    @property
    def full_rate_steps(self) -> float:
        """Those of the vision tower by itself."""
        return self.vision_share * self.steps


class Pretraining:
    """One run. What a step sees follows from seed and step, so a resumed run needs no memory."""

    def __init__(
        self, model: SeeingModel, batches: SceneBatches, options: PretrainOptions, task: str,
        report: Report, state: RunState | None = None,
    ) -> None:  # fmt: skip
        """`model` is trained in place; `state` None: nothing is kept to resume from."""
        self._model, self._batches, self._options = model, batches, options
        self._task, self._report, self._state = task, report, state
        self._descent = Descent(model.parameters(), options)
        self._average = Average(model, _AVERAGING)
        self._kept: list[Losses] = []
        self._coming: Future[tuple[torch.Tensor, ...]]
        self.step = 0

    def resume(self, run: dict[str, object]) -> None:
        """Go on at the newest state of the same run. VlaError where there is none."""
        assert self._state is not None
        given = (self._model, self._average, self._descent.optimizer, self._identity(run))
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
                self._save_state(run)  # first: a checkpoint without a state beside it is finished
                with self._average.applied():
                    self._report(validate(self._model, self._batches, self._task))
                    save()

    def _one_step(self) -> Losses:
        options = self._options
        batch = self._coming.result()
        if self.step + 1 < options.steps:
            self._coming = self._pool.submit(self._draw, self.step + 1)
        model = self._model
        compare = model.vision_losses if self._alone(self.step) else model.losses
        losses = compare(*batch, task=self._task)
        self._descent.step(self.step, losses.total, 'use a smaller --learning-rate')
        return losses.detach()

    def _draw(self, step: int) -> tuple[torch.Tensor, ...]:
        """Batch of a step; read from disk while the one before is learned from."""
        batch, rng = self._options.batch, np.random.default_rng([self._options.seed, step])
        if self._alone(step):
            return self._batches.draw_pictures(round(_PICTURE_PAIRS * batch), rng)
        return self._batches.draw(batch, rng)

    def _alone(self, step: int) -> bool:
        """Whether the vision tower learns by itself."""
        return step < self._options.full_rate_steps

    def _save_state(self, run: dict[str, object]) -> None:
        if self._state is not None:
            self._state.save(
                Progress(self.step), self._model, self._average, self._descent.optimizer,
                self._identity(run),
            )  # fmt: skip

    def _identity(self, run: dict[str, object]) -> dict[str, object]:
        return asdict(self._options) | {'shards': self._batches.shards, 'task': self._task} | run


@torch.no_grad()
def validate(model: SeeingModel, batches: SceneBatches, task: str) -> str:
    """One line about the scenes held back: error of the opening near the needle and everywhere."""
    poses, off_m, off_rad, token = [], [], [], []
    for images, state, pose, keypoints in batches.validation():
        losses = model.losses(images, state, pose, keypoints, task=task)
        poses.append(pose)
        off_m.append(losses.position_error_m)
        off_rad.append(losses.axis_error_rad)
        token.append(losses.token)
    errors = pose_errors(torch.cat(poses), torch.cat(off_m), torch.cat(off_rad))
    return f'{errors}; mean token loss {float(torch.stack(token).mean()):.3f}'


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
