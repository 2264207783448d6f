"""What is trained: the expert, and the encoder too where its stage trains it.

Used by the loop through `forward` (the loss, which DDP must see) and by validation through
`examine`. Deliberately knows no optimiser.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vla_policy.expert.batch import ExpertBatch
from vla_policy.expert.expert import ActionExpert
from vla_training.data.batch import TRUTH
from vla_training.pretrain.teller import Teller, truth_loss
from vla_training.train.config import OptimizerConfig
from vla_training.train.seam import TrainingBatch

_SENSOR, _TRUNK = 'expert.trunk.sensor.', 'expert.trunk.'


class PolicyModel(nn.Module):
    """Expert on cached features, or behind an encoder that makes them of pictures."""

    def __init__(
        self, expert: ActionExpert, encoder: nn.Module | None = None, truth_weight: float = 0.0
    ) -> None:
        """`encoder`: images (B, V, H, W, 3) uint8 and a task to features (B, T, D), and more.

        `truth_weight`: of the loss of a head that tells what the trunk is to understand, where
        samples hold the truth.
        """
        super().__init__()
        self.expert = expert.requires_grad_(True)
        self.encoder = encoder
        self._truth_weight = truth_weight
        self.teller = Teller(expert.config.width, TRUTH) if truth_weight else None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.expert.parameters()).device

    def forward(self, batch: TrainingBatch, seed: int) -> torch.Tensor:
        """Loss (B,) of each sample; the noise of the head follows from `seed`."""
        condition = self.expert.condition(self.inputs(batch))
        told = None if self.teller is None else self.teller(condition)
        return self._loss(condition, told, batch, seed)

    @torch.no_grad()
    def examine(
        self, batch: TrainingBatch, seed: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Loss (B,), actions (B, steps, dims) in SI units as the policy would act, and pose and
        eye's motion (B, TRUTH) as the trunk understands them, if a head tells.
        """
        condition = self.expert.condition(self.inputs(batch))
        told = None if self.teller is None else self.teller(condition)
        actions = self.expert.sample_given(condition, self._generator(seed))
        return self._loss(condition, told, batch, seed), actions, told

    def _loss(
        self, condition: torch.Tensor, told: torch.Tensor | None, batch: TrainingBatch, seed: int
    ) -> torch.Tensor:
        generator = self._generator(seed)
        loss = self.expert.loss_given(condition, batch.actions, generator, batch.mask)
        if told is None:
            return loss
        known: Any = batch
        return loss + self._truth_weight * truth_loss(told, known.truth)

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(seed)

    def inputs(self, batch: TrainingBatch) -> ExpertBatch:
        """Return the expert's input, with features of the pictures where there is an encoder."""
        if self.encoder is None:
            return batch.inputs
        pictures: Any = batch
        features: list[torch.Tensor] = [batch.actions] * len(batch.actions)
        for task in dict.fromkeys(pictures.tasks):  # a prompt at a time
            rows = [row for row, other in enumerate(pictures.tasks) if other == task]
            images = pictures.images[rows]  # (rows, passes, V, H, W, 3)
            encoded, *_ = self.encoder(images.flatten(0, 1), task)
            for row, tokens in zip(rows, encoded.unflatten(0, images.shape[:2]).flatten(1, 2)):
                features[row] = tokens
        return replace(batch.inputs, features=torch.stack(features).float())


def trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and weights that learn."""
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)


def parameter_groups(model: PolicyModel, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Groups for AdamW: by part (rate in 'peak'), and by whether weights decay.

    Biases, norms and learned tokens do not decay.
    """
    rates = {
        'sensor': config.sensor_learning_rate,
        'trunk': config.trunk_learning_rate or config.learning_rate,
        'expert': config.learning_rate,
        'vl': config.vl_learning_rate,
    }
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, weight in trained(model):
        key = (_part(name), weight.ndim > 1 and name.endswith('weight'))
        groups.setdefault(key, []).append(weight)
    return [
        {'params': weights, 'name': part, 'peak': rates[part], 'lr': rates[part],
         'weight_decay': config.weight_decay if decays else 0.0}
        for (part, decays), weights in groups.items()
    ]  # fmt: skip


def _part(name: str) -> str:
    if name.startswith(_SENSOR):
        return 'sensor'
    if name.startswith(_TRUNK):
        return 'trunk'
    return 'vl' if name.startswith('encoder.') else 'expert'
