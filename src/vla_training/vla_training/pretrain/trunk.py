"""The expert's trunk by itself: what the backbone sees is computed once, geometry learned from it.

Called by `pipeline` when the backbone has learned. A sample costs a twentieth of what it costs
with its pictures, so the trunk meets many more of them, each with another motion of the tool
since. Deliberately changes no weight of the backbone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import time

import numpy as np
from numpy.typing import NDArray
import torch

from vla_training.pretrain.batches import SceneBatches
from vla_training.pretrain.moved import move_each
from vla_training.pretrain.objective import SeeingModel
from vla_training.pretrain.report import pose_errors
from vla_training.pretrain.stage import learn, StageOptions

_AVERAGING = 0.998


@dataclass(frozen=True)
class TrunkOptions(StageOptions):
    """How much, how long and how fast."""

    steps: int = 2000
    batch: int = 64
    learning_rate: float = 7e-4
    warm_up: int = 100
    sets: int = 12_000


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
        parts.append((model.features(images, task).half(), state, pose))
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
        mine = name.startswith(('expert.trunk', 'pose_')) and 'trunk.sensor' not in name
        weight.requires_grad_(mine)
    report(f'trunk: before, {_validate(model, held_back)}')
    _learn(model, seen, options, lambda text: report(f'trunk: {text}'))
    report(f'trunk: after, {_validate(model, held_back)}')


def _learn(
    model: SeeingModel, seen: Seen, options: TrunkOptions, report: Callable[[str], None]
) -> None:
    kept: list[float] = []
    began_s = time.monotonic()

    def loss(batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        losses = model.pose_losses(*batch)
        kept.append(float(losses.off_m.detach().mean()))
        return losses.position.mean() + losses.axis.mean()

    def tell(done: int, _: float) -> None:
        spent_s = time.monotonic() - began_s
        report(f'step {done}, {spent_s:.0f} s: opening {1e3 * np.mean(kept):.2f} mm')
        kept.clear()

    learn(model, options, _AVERAGING, lambda step: _draw(seen, options, step), loss, tell)


def _draw(seen: Seen, options: TrunkOptions, step: int) -> tuple[torch.Tensor, ...]:
    """Features, state, pose, motion and age of a step's batch, whose tool has moved on since."""
    rng = np.random.default_rng([options.seed, 0x7214, step])
    rows = rng.integers(len(seen.state), size=options.batch)
    moved = move_each(seen.state[rows], seen.pose[rows], rng)
    state, pose, motion, age_s = map(torch.from_numpy, moved)
    return seen.features[torch.from_numpy(rows)].float(), state, pose, motion, age_s


@torch.no_grad()
def _validate(model: SeeingModel, seen: Seen) -> str:
    """One line about sets held back, whose tool has not moved."""
    state, pose = torch.from_numpy(seen.state), torch.from_numpy(seen.pose)
    losses = model.pose_losses(seen.features.float(), state, pose)
    return pose_errors(pose, losses.off_m, losses.off_rad)
