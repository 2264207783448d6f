"""The expert's input as tensors, with a batch axis.

Made by `ActionExpert.act` from one `ModelInput` and by training from many. Values are raw (SI
units, not normalised): the expert normalises with the checkpoint's statistics. Deliberately does
no arithmetic.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch

from vla_core.model_input import ModelInput


@dataclass(frozen=True)
class ExpertBatch:
    """B inputs; all float32 except the mask."""

    features: torch.Tensor  # (B, T, D) of all passes, newest first
    window: torch.Tensor  # (B, samples, channels) oldest first
    window_mask: torch.Tensor  # (B, samples) bool, True where the sample is real
    state: torch.Tensor  # (B, state_width)
    state_age_s: torch.Tensor  # (B,)
    image_age_s: torch.Tensor  # (B, sources): each view of each pass
    view_motion: torch.Tensor  # (B, sources, 6) see ModelInput; NaN where unknown
    feature_age_s: torch.Tensor  # (B,)

    def to(self, device: torch.device | str) -> 'ExpertBatch':
        """Move all tensors."""
        return ExpertBatch(
            **{field.name: getattr(self, field.name).to(device) for field in fields(self)}
        )

    @staticmethod
    def from_input(features: np.ndarray, inputs: ModelInput) -> 'ExpertBatch':
        """Make a batch of one from features (T, D) and one tick's inputs."""

        def row(value: object) -> torch.Tensor:
            return torch.from_numpy(np.asarray(value, np.float32))[None]

        mask = torch.from_numpy(np.asarray(inputs.window_mask, bool))[None]
        return ExpertBatch(
            row(features),
            row(inputs.window),
            mask,
            row(inputs.state),
            row(inputs.state_age_s),
            row(inputs.image_age_s),
            row(inputs.view_motion),
            row(inputs.feature_age_s),
        )

    @staticmethod
    def stack(batches: 'list[ExpertBatch]') -> 'ExpertBatch':
        """Join batches along their first axis."""
        return ExpertBatch(
            **{
                field.name: torch.cat([getattr(batch, field.name) for batch in batches])
                for field in fields(ExpertBatch)
            }
        )
