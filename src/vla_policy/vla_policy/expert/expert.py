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
from vla_policy.expert.flow import Guide, soft_weights
from vla_policy.expert.heads import build_head, FlowHead
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
        self,
        batch: ExpertBatch,
        actions: torch.Tensor,
        generator: torch.Generator | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Loss (B,) of raw actions (B, steps, dims) in m and rad; `mask`: see `Head`."""
        return self.loss_given(self.condition(batch), actions, generator, mask)

    def loss_given(
        self,
        condition: torch.Tensor,
        actions: torch.Tensor,
        generator: torch.Generator | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Do the same with condition tokens (B, N, width) that are there already."""
        target = self.normalize_action(actions)
        if mask is not None:  # what a step holds that does not count must not reach the noise
            target = target.masked_fill(~mask[..., None], 0.0)
        return self.head.loss(condition, target, generator, mask)

    def sample(self, batch: ExpertBatch, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw raw actions (B, steps, dims)."""
        return self.sample_given(self.condition(batch), generator)

    def sample_given(
        self, condition: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Do the same with condition tokens (B, N, width) that are there already."""
        return self.normalize_action.invert(self.head.sample(condition, generator))

    @property
    def takes_prefix(self) -> bool:
        """Whether `act` can continue a chunk: only a flow can be guided."""
        return isinstance(self.head, FlowHead)

    def act(
        self,
        features: np.ndarray,
        inputs: ModelInput,
        seed: int,
        prefix: np.ndarray | None = None,
        committed_steps: int = 0,
    ) -> np.ndarray:
        """Return a chunk (steps, 6) float64: displacement (m), rotation vector (rad), base frame.

        `features` (T, D) as encoded, pass after pass, newest first. `prefix` (n, 6), n <= steps,
        in the same units: what the chunk before says for this one's first n steps. The first
        `committed_steps` of them are repeated exactly, the others pull softly (real-time
        chunking). The same arguments give the same chunk. PolicyInputError where a shape does not
        fit the checkpoint, a number that counts is not finite, or the head cannot continue a
        prefix.
        """
        self._check(features, inputs)
        device = self.normalize_action.scale.device
        generator = torch.Generator(device).manual_seed(seed)
        batch = ExpertBatch.from_input(features, inputs).to(device)
        if prefix is None:
            with torch.inference_mode():
                return self.sample(batch, generator)[0].double().cpu().numpy()
        self._check_prefix(prefix, committed_steps)
        with torch.no_grad():  # tensors of inference_mode would be unfit for the derivative
            guide = self._guide(torch.from_numpy(prefix).float().to(device), committed_steps)
            actions = self.head.sample(self.condition(batch), generator, guide)
            chunk = self.normalize_action.invert(actions)[0].double().cpu().numpy()
        chunk[:committed_steps] = prefix[:committed_steps]
        return chunk

    def _guide(self, prefix: torch.Tensor, committed_steps: int) -> Guide:
        """Normalise a raw prefix (n, dims) and weigh its steps."""
        steps, overlap = self.config.steps, len(prefix)
        target = prefix.new_zeros(1, steps, self.config.dims)
        target[0, :overlap] = self.normalize_action(prefix)
        weights = soft_weights(steps, committed_steps, overlap).to(prefix.device)
        return Guide(target, weights)

    def _check_prefix(self, prefix: np.ndarray, committed_steps: int) -> None:
        if not self.takes_prefix:
            raise PolicyInputError(
                f'the {self.config.head} head cannot continue a chunk: real-time chunking needs '
                "a checkpoint with the flow head; set chunk_policy to 'independent'"
            )
        steps, dims = self.config.steps, self.config.dims
        if prefix.ndim != 2 or prefix.shape[1] != dims or not 1 <= len(prefix) <= steps:
            raise PolicyInputError(
                f'prefix has the shape {prefix.shape}, the checkpoint wants 1 to {steps} steps '
                f'of {dims}'
            )
        if not 0 <= committed_steps <= len(prefix):
            raise PolicyInputError(
                f'{committed_steps} steps cannot be committed, the prefix has {len(prefix)}'
            )
        if not np.isfinite(prefix).all():
            raise PolicyInputError('prefix holds a number that is not finite')

    def _check(self, features: np.ndarray, inputs: ModelInput) -> None:
        config = self.config
        expected = {
            'features': (features, (config.feature_tokens, config.feature_width)),
            'window': (inputs.window, (config.samples, config.channels)),
            'window_mask': (inputs.window_mask, (config.samples,)),
            'state': (inputs.state, (config.state_width,)),
            'image_age_s': (inputs.image_age_s, (config.sources,)),
            'view_motion': (inputs.view_motion, (config.sources, 6)),
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
