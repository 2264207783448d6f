"""How good a policy is on episodes it has not seen, without moving anything.

Open loop: its chunks against the demonstrator's. It says whether training works, not whether
insertions succeed: that is for `vla eval`.
"""

from collections.abc import Callable
import contextlib
from dataclasses import asdict, dataclass, replace
import math
from typing import Any

import numpy as np
import torch

from vla_training.pretrain.teller import pose_losses
from vla_training.train.model import PolicyModel
from vla_training.train.sampling import draw_rng, noise_seed
from vla_training.train.seam import TrainingBatch, TrainingData

NEAR_M = 0.020

Autocast = Callable[[], Any]


@dataclass(frozen=True)
class Score:
    """Means over samples and steps. `skill`: 1 is perfect, 0 no better than the mean action."""

    loss: float
    action_mm: float  # distance of a step's displacement from the demonstrator's
    action_deg: float
    skill: float
    # How far off the trunk takes the trocar to be, where the needle is within 20 mm; None where
    # nothing tells it (`truth_weight` 0) or no sample knows.
    seen_mm: float | None = None
    seen_deg: float | None = None

    @property
    def is_finite(self) -> bool:
        """Whether all numbers are."""
        return all(math.isfinite(value) for value in self.to_dict().values())

    def to_dict(self) -> dict[str, float]:
        """Numbers by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        text = (
            f'validation loss {self.loss:.4f}, error of a step {self.action_mm:.3f} mm '
            f'{self.action_deg:.3f} deg, skill {self.skill:.3f}'
        )
        if self.seen_mm is None:
            return text
        return f'{text}; trocar seen {self.seen_mm:.2f} mm {self.seen_deg:.2f} deg off'


class Validation:
    """A fixed set of samples with fixed ages and noise, so that scores can be compared."""

    def __init__(self, data: TrainingData, samples: int, batch: int, seed: int) -> None:
        """Take at most `samples` of `data`, spread evenly."""
        count = min(samples, len(data))
        self._data, self._batch, self._seed = data, batch, seed
        self._indices = np.unique(np.linspace(0, len(data) - 1, count).round().astype(np.int64))

    def score(
        self, model: PolicyModel, autocast: Autocast | None = None, *, shuffled: bool = False
    ) -> Score:
        """Score a model. `shuffled`: each sample is given what another one saw.

        A policy that does not use its observations, or whose inputs hold its targets, scores the
        same.
        """
        training = model.training
        model.eval()
        try:
            sums = sum(
                self._sums(model, part, autocast, shuffled)
                for part in range(math.ceil(len(self._indices) / self._batch))
            )
        finally:
            model.train(training)
        samples, loss, steps, distance, angle, squares, variance, near, off_m, off_rad = (
            np.asarray(sums).tolist()
        )
        return Score(
            loss / samples,
            1e3 * distance / steps,
            math.degrees(angle / steps),
            1.0 - squares / max(variance, 1e-12),
            1e3 * off_m / near if near else None,
            math.degrees(off_rad / near) if near else None,
        )

    @torch.no_grad()
    def _sums(
        self, model: PolicyModel, part: int, autocast: Autocast | None, shuffled: bool
    ) -> np.ndarray:
        """Sums of a batch (10,): samples, loss, steps, errors m and rad, squares, variance; what
        `_seen` gives.
        """
        batch = self._make(part, shuffled).to(model.device)
        seed = noise_seed(self._seed, 0, part)
        with autocast() if autocast else contextlib.nullcontext():
            losses, actions, told = model.examine(batch, seed)
        normalize, mask = model.expert.normalize_action, batch.mask
        error = (actions.float() - batch.actions)[mask]
        half = error.shape[-1] // 2
        wanted = normalize(batch.actions)[mask]
        parts = [
            float(len(losses)),
            float(losses.sum()),
            float(mask.sum()),
            float(error[:, :half].norm(dim=-1).sum()),
            float(error[:, half:].norm(dim=-1).sum()),
            float((normalize(actions.float())[mask] - wanted).square().sum()),
            float(wanted.square().sum()),
            *_seen(told, batch),
        ]
        return np.array(parts)

    def _make(self, part: int, shuffled: bool) -> TrainingBatch:
        chosen = slice(part * self._batch, (part + 1) * self._batch)
        batch = self._data.batch(self._indices[chosen], draw_rng(self._seed, 0, part))
        if not shuffled:
            return batch
        others = np.random.default_rng(self._seed).permutation(self._indices)[chosen]
        seen = self._data.batch(others, draw_rng(self._seed, 0, part))
        return replace(seen, actions=batch.actions, mask=batch.mask)  # type: ignore[type-var]


def _seen(told: torch.Tensor | None, batch: TrainingBatch) -> tuple[float, float, float]:
    """Samples near the trocar, and sums of how far off it is told to be, m and rad."""
    if told is None:
        return 0.0, 0.0, 0.0
    known: Any = batch
    near = known.truth.isfinite().all(1) & (known.truth[:, :3].norm(dim=1) < NEAR_M)
    off = pose_losses(told.float()[near], known.truth[near])
    return float(near.sum()), float(off.off_m.sum()), float(off.off_rad.sum())
