"""The pretraining loop: steps until the end, averaged weights, validation on scenes held back.

Called by `pipeline`. Deliberately one process on one device and no files: it is for backbones
that a CPU can train; larger ones come pretrained.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import math
import time

import numpy as np
import torch

from vla_core.errors import VlaError
from vla_training.pretrain.batches import SceneBatches
from vla_training.pretrain.objective import Losses, SeeingModel

Report = Callable[[str], None]
_AVERAGING = 0.998  # a step's share in the averaged weights is one in five hundred
_CLIP = 1.0
_REPORT_EVERY, _VALIDATE_EVERY = 50, 500
_NEAR_M = 0.02
_LEAST_RATE = 0.01


@dataclass(frozen=True)
class PretrainOptions:
    """How long and how fast; it ends at the first of `steps` and `limit_s` (wall time)."""

    steps: int = 3000
    batch: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.03
    warm_up: int = 150
    held_back_shards: int = 2
    seed: int = 0
    limit_s: float = math.inf
    vision_share: float = 0.4  # of the run: first the vision tower by itself


def train(
    model: SeeingModel,
    batches: SceneBatches,
    options: PretrainOptions,
    task: str,
    report: Report,
    save: Callable[[], None] = lambda: None,
) -> None:
    """Train `model` in place; `save` is called with averaged weights in it, last at the end."""
    rng = np.random.default_rng(options.seed)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(
        weights, options.learning_rate, (0.9, 0.98), weight_decay=options.weight_decay
    )
    average = [weight.detach().clone() for weight in weights]
    started_s, done, step = time.monotonic(), 0.0, 0
    kept: list[Losses] = []
    while done < 1.0:
        for group in optimizer.param_groups:
            group['lr'] = options.learning_rate * _schedule(step, done, options)
        batch, alone = batches.draw(options.batch, rng), done < options.vision_share
        kept.append(_step(model, batch, task, optimizer, weights, alone))
        step += 1
        share = 1.0 - min(_AVERAGING, step / (step + 20))
        for mean, weight in zip(average, weights):
            mean.lerp_(weight.detach(), share)
        spent_s = time.monotonic() - started_s
        done = max(step / options.steps, spent_s / options.limit_s)
        if step % _REPORT_EVERY == 0:
            report(_line(step, spent_s, done, kept))
            kept.clear()
            batches.refresh()
        if step % _VALIDATE_EVERY == 0 or done >= 1.0:
            with _averaged(weights, average):
                report(validate(model, batches, task))
                save()


def _step(
    model: SeeingModel,
    batch: tuple[torch.Tensor, ...],
    task: str,
    optimizer: torch.optim.Optimizer,
    weights: list[torch.nn.Parameter],
    tokens_only: bool,
) -> Losses:
    losses = model.losses(*batch, task, tokens_only=tokens_only)
    if not torch.isfinite(losses.total):
        raise VlaError('the loss is not finite any more: use a smaller --learning-rate')
    optimizer.zero_grad(set_to_none=True)
    losses.total.backward()
    torch.nn.utils.clip_grad_norm_(weights, _CLIP)
    optimizer.step()
    return losses.detach()


@contextmanager
def _averaged(weights: list[torch.nn.Parameter], average: list[torch.Tensor]) -> Iterator[None]:
    """Put the averaged weights in place of the present ones for a while."""
    present = [weight.detach().clone() for weight in weights]
    try:
        for weight, mean in zip(weights, average):
            weight.data.copy_(mean)
        yield
    finally:
        for weight, value in zip(weights, present):
            weight.data.copy_(value)


@torch.no_grad()
def validate(model: SeeingModel, batches: SceneBatches, task: str) -> str:
    """One line about the scenes held back: error of the opening near the needle and everywhere."""
    distance, off, axis, token = [], [], [], []
    for images, state, pose, keypoints in batches.validation():
        losses = model.losses(images, state, pose, keypoints, task)
        distance.append(pose[:, :3].norm(dim=1))
        off.append(losses.position_error_m * 1e3)
        axis.append(losses.axis_error_rad.rad2deg())
        token.append(losses.token)
    off_mm, off_deg = torch.cat(off), torch.cat(axis)
    near = torch.cat(distance) < _NEAR_M

    def figures(values: torch.Tensor) -> str:
        return ' '.join(f'{float(values.quantile(q)):.2f}' for q in (0.5, 0.9, 0.95))

    return (
        f'validation (p50 p90 p95): opening near {figures(off_mm[near])} mm, everywhere '
        f'{figures(off_mm)} mm; axis near {figures(off_deg[near])} deg; '
        f'mean token loss {float(torch.stack(token).mean()):.3f}'
    )


def _schedule(step: int, done: float, options: PretrainOptions) -> float:
    """Warm-up, full rate for the vision tower by itself, then half a cosine to the end."""
    share = options.vision_share
    fall = max(min(done, 1.0) - share, 0.0) / (1.0 - share)
    cosine = 0.5 * (1.0 + math.cos(math.pi * fall))
    warm = min(1.0, (step + 1) / options.warm_up)
    return warm * (_LEAST_RATE + (1.0 - _LEAST_RATE) * cosine)


def _line(step: int, spent_s: float, done: float, kept: list[Losses]) -> str:
    def mean(name: str) -> float:
        return float(np.mean([float(getattr(losses, name).mean()) for losses in kept]))

    return (
        f'step {step}, {100 * done:.1f} %, {spent_s:.0f} s: loss {mean("total"):.3f} '
        f'(position {mean("position"):.3f}, axis {mean("axis"):.3f}, image {mean("image"):.3f}, '
        f'look {mean("look"):.3f}, token {mean("token"):.3f}), '
        f'opening {1e3 * mean("position_error_m"):.2f} mm'
    )
