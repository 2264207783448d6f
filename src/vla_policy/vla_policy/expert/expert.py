"""The action expert: the fast half of the policy, once a tick.

`act` is called by the action loop; `condition`, `loss` and `sample` by training and evaluation.
Holds the checkpoint's normalisation, so that callers deal in SI units only. Deliberately knows no
time stamps, no freshness rules and no robot: the action loop decides whether an action is used.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from vla_core.model_input import ModelInput
from vla_policy.errors import PolicyInputError
from vla_policy.expert.batch import ExpertBatch
from vla_policy.expert.config import ExpertConfig
from vla_policy.expert.heads import build_head
from vla_policy.expert.trunk import Trunk
from vla_policy.normalization import Normalizer, Statistics


class ActionExpert(nn.Module):
    """Trunk and head with normalisation around them. Inference changes nothing: thread-safe."""

    def __init__(self, config: ExpertConfig, statistics: Mapping[str, Statistics]) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config)
        self.head = build_head(config)
        self.normalize_sensor = Normalizer(statistics['sensor'])
        self.normalize_state = Normalizer(statistics['state'])
        self.normalize_action = Normalizer(statistics['action'])

    @staticmethod
    def statistics_widths(config: ExpertConfig) -> dict[str, int]:
        """Keys of the normalisation and the numbers of each; an action's serve all steps."""
        return {'sensor': config.channels, 'state': config.state_width, 'action': config.dims}

    def condition(self, batch: ExpertBatch) -> torch.Tensor:
        """Condition tokens (B, N, width) of a raw batch."""
        # What a masked slot holds is no data, whatever it is: it must not reach the arithmetic.
        window = self.normalize_sensor(batch.window).masked_fill(
            ~batch.window_mask[..., None], 0.0
        )
        return self.trunk(replace(batch, window=window, state=self.normalize_state(batch.state)))

    def loss(
        self, batch: ExpertBatch, actions: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Loss (B,) of raw actions (B, steps, dims) in m and rad."""
        return self.head.loss(self.condition(batch), self.normalize_action(actions), generator)

    def sample(self, batch: ExpertBatch, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw raw actions (B, steps, dims)."""
        return self.normalize_action.invert(self.head.sample(self.condition(batch), generator))

    @torch.inference_mode()
    def act(self, features: np.ndarray, inputs: ModelInput, seed: int) -> np.ndarray:
        """Return a chunk (steps, 6) float64: displacement (m), rotation vector (rad), base frame.

        `features` (T, D) as encoded. The same arguments give the same chunk. PolicyInputError
        where a shape does not fit the checkpoint or a number that counts is not finite.
        """
        self._check(features, inputs)
        device = self.normalize_action.scale.device
        generator = torch.Generator(device).manual_seed(seed)
        chunk = self.sample(ExpertBatch.from_input(features, inputs).to(device), generator)[0]
        return chunk.double().cpu().numpy()

    def _check(self, features: np.ndarray, inputs: ModelInput) -> None:
        config = self.config
        expected = {
            'features': (features, (config.feature_tokens, config.feature_width)),
            'window': (inputs.window, (config.samples, config.channels)),
            'window_mask': (inputs.window_mask, (config.samples,)),
            'state': (inputs.state, (config.state_width,)),
            'image_age_s': (inputs.image_age_s, (config.views,)),
        }
        for name, (value, shape) in expected.items():
            if np.shape(value) != shape:
                raise PolicyInputError(
                    f'{name} has the shape {np.shape(value)}, the checkpoint wants {shape}'
                )
        real = inputs.window[np.asarray(inputs.window_mask, bool)]
        for name, value in (('features', features), ('window', real), ('state', inputs.state)):
            if not np.isfinite(value).all():
                raise PolicyInputError(f'{name} holds a number that is not finite')
