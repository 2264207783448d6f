"""The three action heads on one decoder: flow matching, diffusion, regression.

`loss` is for training, `sample` for control and evaluation; both work on normalised actions (B,
steps, dims) and a condition (B, N, width) from the trunk. A head's random numbers come from the
given generator only. Deliberately knows no units.
"""

from typing import Protocol

import torch
from torch import nn
import torch.nn.functional as F

from vla_policy.expert.config import ExpertConfig
from vla_policy.expert.flow import Guide, integrate
from vla_policy.expert.layers import DecoderBlock, perceptron, sinusoids

TIME_WAVES = 8
# Where the smooth L1 of regression becomes linear, in standard deviations of an action: errors at
# the opening are a tenth as large as on the way there, squares would hardly see them.
NEARLY_L1 = 0.1


class Head(Protocol):
    """What training, control and evaluation need of a head; every head is an nn.Module too."""

    def loss(
        self,
        cond: torch.Tensor,
        target: torch.Tensor,
        generator: torch.Generator | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the loss (B,) of each sample against actions `target` (B, steps, dims).

        Only steps where `mask` (B, steps) is True count, all of them without one.
        """
        ...

    def sample(self, cond: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw actions (B, steps, dims)."""
        ...


class Decoder(nn.Module):
    """Tokens of the chunk's steps, told a time in 0..1, ask the condition."""

    def __init__(self, config: ExpertConfig) -> None:
        super().__init__()
        self.shape = (config.steps, config.dims)
        self.action = nn.Linear(config.dims, config.width)
        self.step = nn.Parameter(torch.randn(config.steps, config.width) * 0.02)
        self.time = perceptron(2 * TIME_WAVES, config.width, config.width)
        self.blocks = nn.ModuleList(
            DecoderBlock(config.width, config.attention_heads, config.mlp_ratio)
            for _ in range(config.decoder_layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, config.dims)

    def remember(self, cond: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of the condition for each block: once for a whole sampling loop."""
        return [block.cross_attention.remember(cond) for block in self.blocks]

    def forward(
        self,
        actions: torch.Tensor,
        time: torch.Tensor,
        memory: list[tuple[torch.Tensor, torch.Tensor]],
    ) -> torch.Tensor:
        """Decode actions (B, steps, dims) at time (B,)."""
        tokens = (
            self.action(actions) + self.step + self.time(sinusoids(time, TIME_WAVES, 2.0))[:, None]
        )
        for block, remembered in zip(self.blocks, memory):
            tokens = block(tokens, remembered)
        return self.out(self.norm(tokens))


class FlowHead(nn.Module):
    """Flow matching on straight lines from noise (time 0) to action (time 1); arXiv 2210.02747."""

    def __init__(self, config: ExpertConfig) -> None:
        super().__init__()
        self.decoder = Decoder(config)
        self.steps, self.temperature = config.flow_steps, config.temperature

    def loss(
        self,
        cond: torch.Tensor,
        target: torch.Tensor,
        generator: torch.Generator | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `Head`: mean square error of the velocity at a random time."""
        noise = _noise(target.shape, cond, generator)
        time = torch.rand(len(target), generator=generator, device=cond.device)
        mixed = torch.lerp(noise, target, time[:, None, None])
        velocity = self.decoder(mixed, time, self.decoder.remember(cond))
        return masked_mean((velocity - (target - noise)).square(), mask)

    def sample(
        self,
        cond: torch.Tensor,
        generator: torch.Generator | None = None,
        guide: Guide | None = None,
    ) -> torch.Tensor:
        """See `Head`: Euler steps from noise, around the guide's actions where there is one."""
        noise = _noise((len(cond), *self.decoder.shape), cond, generator) * self.temperature
        memory = self.decoder.remember(cond)

        def velocity(actions: torch.Tensor, time: float) -> torch.Tensor:
            return self.decoder(actions, actions.new_full((len(cond),), time), memory)

        return integrate(velocity, noise, self.steps, guide)


class DiffusionHead(nn.Module):
    """Denoising diffusion, cosine schedule (arXiv 2102.09672), sampled by DDIM (2010.02502).

    The decoder tells the velocity (2202.00512): where hardly any signal is left, an action that
    is told by its noise is that noise's error a hundred times over.
    """

    def __init__(self, config: ExpertConfig) -> None:
        super().__init__()
        self.velocity = Decoder(config)
        self.train_steps, self.steps = config.diffusion_steps, config.ddim_steps
        self.temperature = config.temperature
        at = torch.arange(config.diffusion_steps + 1, dtype=torch.float64) / config.diffusion_steps
        curve = torch.cos((at + 0.008) / 1.008 * torch.pi / 2).square()
        kept = (curve[1:] / curve[0]).clamp(min=1e-4)  # share of the signal after step 1..T
        self.register_buffer('signal', kept.sqrt().float(), persistent=False)
        self.register_buffer('noise', (1.0 - kept).sqrt().float(), persistent=False)

    def loss(
        self,
        cond: torch.Tensor,
        target: torch.Tensor,
        generator: torch.Generator | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `Head`: mean square error of the velocity at a random step."""
        drawn = _noise(target.shape, cond, generator)
        step = torch.randint(
            self.train_steps, (len(target),), generator=generator, device=cond.device
        )
        signal, noise = self.signal[step][:, None, None], self.noise[step][:, None, None]
        mixed = signal * target + noise * drawn
        found = self.velocity(mixed, self._time(step), self.velocity.remember(cond))
        return masked_mean((found - (signal * drawn - noise * target)).square(), mask)

    def sample(self, cond: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """See `Head`: deterministic DDIM steps from noise."""
        actions = _noise((len(cond), *self.velocity.shape), cond, generator) * self.temperature
        memory = self.velocity.remember(cond)
        steps = torch.linspace(self.train_steps - 1, 0, self.steps).round().long().tolist()
        for step, following in zip(steps, [*steps[1:], None]):
            time = self._time(torch.full((len(cond),), step, device=cond.device))
            velocity = self.velocity(actions, time, memory)
            signal, noise = self.signal[step], self.noise[step]
            clean, drawn = signal * actions - noise * velocity, noise * actions + signal * velocity
            if following is None:
                return clean
            actions = self.signal[following] * clean + self.noise[following] * drawn
        return actions

    def _time(self, step: torch.Tensor) -> torch.Tensor:
        return (step + 1) / self.train_steps


class RegressionHead(nn.Module):
    """One pass of the decoder on empty actions; smooth L1, nearly L1."""

    def __init__(self, config: ExpertConfig) -> None:
        super().__init__()
        self.decoder = Decoder(config)

    def loss(
        self,
        cond: torch.Tensor,
        target: torch.Tensor,
        generator: torch.Generator | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `Head`; uses no random numbers."""
        found = self.sample(cond)
        error = F.smooth_l1_loss(found, target, reduction='none', beta=NEARLY_L1)
        return masked_mean(error, mask)

    def sample(self, cond: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """See `Head`; the same condition always gives the same actions."""
        empty = cond.new_zeros((len(cond), *self.decoder.shape))
        return self.decoder(empty, cond.new_zeros(len(cond)), self.decoder.remember(cond))


def build_head(config: ExpertConfig) -> FlowHead | DiffusionHead | RegressionHead:
    """Make the head that the configuration names."""
    return {'flow': FlowHead, 'diffusion': DiffusionHead, 'regression': RegressionHead}[
        config.head
    ](config)


def masked_mean(error: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean (B,) of errors (B, steps, dims) over the steps that count; 0 where none does."""
    if mask is None:
        return error.mean((1, 2))
    steps = error.mean(2) * mask
    return steps.sum(1) / mask.sum(1).clamp(min=1)


def _noise(
    shape: tuple[int, ...], like: torch.Tensor, generator: torch.Generator | None
) -> torch.Tensor:
    return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)
