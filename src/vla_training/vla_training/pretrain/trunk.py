"""The expert's trunk by itself: what the backbone sees is computed once, geometry learned from it.

Called by `pipeline` when the backbone has learned. A sample costs a twentieth of what it costs
with its pictures, so the trunk meets many more of them, each with another motion of the tool
since. Deliberately changes no weight of the backbone.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
import math
import time

import numpy as np
from numpy.typing import NDArray
import torch

from vla_training.pretrain.batches import SceneBatches
from vla_training.pretrain.moved import move_on
from vla_training.pretrain.objective import SeeingModel
from vla_training.pretrain.report import figures, NEAR_M
from vla_training.train.average import Average

_AVERAGING, _CLIP, _REPORT_EVERY = 0.998, 1.0, 250
_LEAST_RATE = 0.01


@dataclass(frozen=True)
class TrunkOptions:
    """How much, how long and how fast; no steps: the trunk stays as it is."""

    sets: int = 12_000
    steps: int = 2000
    batch: int = 64
    learning_rate: float = 7e-4
    weight_decay: float = 0.03
    warm_up: int = 100
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Seen:
    """Picture sets as the backbone sees them."""

    features: torch.Tensor  # (N, T, D) float16, as live
    state: NDArray[np.float32]  # (N, 12)
    pose: NDArray[np.float32]  # (N, 6)


@torch.no_grad()
def see(
    model: SeeingModel, sets: Iterator[tuple[torch.Tensor, ...]], task: str,
    report: Callable[[int], None] = lambda count: None,
) -> Seen:  # fmt: skip
    """Encode batches of images, state and pose; `report` is told how many sets so far."""
    parts: list[tuple[torch.Tensor, ...]] = []
    count = 0
    for images, state, pose, *_ in sets:
        parts.append((model.encoder(images, task)[0].half(), state, pose))
        count += len(images)
        report(count)
    features, state, pose = (torch.cat(part) for part in zip(*parts))
    return Seen(features, state.numpy(), pose.numpy())


def train_trunk(
    model: SeeingModel, batches: SceneBatches, options: TrunkOptions, task: str,
    report: Callable[[str], None],
) -> None:  # fmt: skip
    """Train trunk and pose head of `model` in place; ends with their averaged weights."""
    began_s = time.monotonic()

    def tell(count: int) -> None:
        if count % 1000 == 0:
            report(f'trunk: {count} sets seen, {time.monotonic() - began_s:.0f} s')

    seen = see(model, batches.in_order(options.sets, options.seed), task, tell)
    held_back = see(model, batches.validation(), task)
    for name, weight in model.named_parameters():
        weight.requires_grad_(name.startswith(('expert.trunk', 'pose_')))
    report(f'trunk: before, {_validate(model, held_back)}')
    _learn(model, seen, options, lambda text: report(f'trunk: {text}'))
    report(f'trunk: after, {_validate(model, held_back)}')


def _learn(
    model: SeeingModel, seen: Seen, options: TrunkOptions, report: Callable[[str], None]
) -> None:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(
        weights, options.learning_rate, (0.9, 0.98), weight_decay=options.weight_decay
    )
    average, kept, began_s = Average(model, _AVERAGING), [], time.monotonic()
    with ThreadPoolExecutor(1, 'trunk') as pool:
        coming = pool.submit(_draw, seen, options, 0)
        for step in range(options.steps):
            batch = coming.result()
            coming = pool.submit(_draw, seen, options, step + 1)
            for group in optimizer.param_groups:
                group['lr'] = options.learning_rate * _rate(step, options)
            losses = model.pose_losses(*batch)
            total = losses.position + losses.axis
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            torch.nn.utils.clip_grad_norm_(weights, _CLIP)
            optimizer.step()
            average.update(step)
            kept.append(float(losses.off_m.detach().mean()))
            if (step + 1) % _REPORT_EVERY == 0:
                spent_s = time.monotonic() - began_s
                report(f'step {step + 1}, {spent_s:.0f} s: opening {1e3 * np.mean(kept):.2f} mm')
                kept.clear()
    average.settle()


def _draw(seen: Seen, options: TrunkOptions, step: int) -> tuple[torch.Tensor, ...]:
    """Features, state, pose, motion and age of a step's batch, whose tool has moved on since."""
    rng = np.random.default_rng([options.seed, 0x7214, step])
    rows = rng.integers(len(seen.state), size=options.batch)
    after = [move_on(seen.state[row], seen.pose[row], rng) for row in rows]
    state, pose, motion = (
        torch.from_numpy(np.stack([getattr(item, name) for item in after]))
        for name in ('state', 'pose', 'motion')
    )
    age_s = torch.tensor([item.age_s for item in after])
    return seen.features[torch.from_numpy(rows)].float(), state, pose, motion, age_s


@torch.no_grad()
def _validate(model: SeeingModel, seen: Seen) -> str:
    """One line about sets held back, whose tool has not moved."""
    state, pose = torch.from_numpy(seen.state), torch.from_numpy(seen.pose)
    losses = model.pose_losses(seen.features.float(), state, pose)
    near = pose[:, :3].norm(dim=1) < NEAR_M
    off_mm, off_deg = losses.off_m * 1e3, losses.off_rad.rad2deg()
    return (
        f'validation (p50 p90 p95): opening near {figures(off_mm[near])} mm, everywhere '
        f'{figures(off_mm)} mm; axis near {figures(off_deg[near])} deg'
    )


def _rate(step: int, options: TrunkOptions) -> float:
    warm = min(1.0, (step + 1) / options.warm_up)
    fall = 0.5 * (1.0 + math.cos(math.pi * step / options.steps))
    return warm * (_LEAST_RATE + (1.0 - _LEAST_RATE) * fall)
