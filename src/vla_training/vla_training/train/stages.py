"""What each stage trains besides the expert: nothing, adapters, or the whole backbone."""

from typing import Any

from torch import nn

from vla_core.errors import VlaError
from vla_policy.checkpoint import Manifest
from vla_training.train.config import TrainConfig
from vla_training.train.model import PolicyModel


def build_encoder(config: TrainConfig, info: Manifest) -> nn.Module | None:
    """Return the encoder that is trained; None where features come from the cache."""
    if config.stage == 'frozen':
        return None
    raise VlaError(f'stage {config.stage} is not there yet; use frozen')


def saved_parts(model: PolicyModel) -> dict[str, Any]:
    """What a checkpoint of this model holds besides the expert."""
    return {}
