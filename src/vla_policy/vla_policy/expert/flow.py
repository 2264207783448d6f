"""Sampling along a flow from noise (time 0) to action (time 1), freely or around a prefix.

Called by the flow head and by the benchmark of splices with a flow that is known exactly. The
guidance is real-time chunking's (arXiv 2506.07339): what the chunk before has committed to is
inpainted, the rest of it pulls softly, so that a new chunk continues the one in motion.
Deliberately knows no units, no network and no time outside the flow.
"""

from collections.abc import Callable
from dataclasses import dataclass
import math

import torch

Velocity = Callable[[torch.Tensor, float], torch.Tensor]  # actions (B, H, dims), time -> velocity
MOST_GUIDANCE = 5.0  # beta of the paper, which found more of it to give jerky actions


@dataclass(frozen=True, eq=False)
class Guide:
    """Actions to continue; `weights` say how strongly each step holds."""

    target: torch.Tensor  # (B, H, dims), anything where the weight is 0
    weights: torch.Tensor  # (H,) in 0..1
    most: float = MOST_GUIDANCE


def soft_weights(steps: int, committed: int, overlap: int) -> torch.Tensor:
    """Weights (steps,): 1 on the committed steps, decaying up to `overlap`, then 0.

    Equation 5 of the paper, with overlap = H - s. ValueError unless committed <= overlap <= steps.
    """
    if not 0 <= committed <= overlap <= steps:
        raise ValueError(f'expected 0 <= {committed} committed <= {overlap} overlap <= {steps}')
    index = torch.arange(steps, dtype=torch.float32)
    left = ((overlap - index) / (overlap - committed + 1)).clamp(0, 1)
    weights = left * torch.expm1(left) / (math.e - 1)
    weights[:committed] = 1.0
    return weights


def integrate(
    velocity: Velocity, noise: torch.Tensor, steps: int, guide: Guide | None = None
) -> torch.Tensor:
    """Follow the flow from `noise` (B, H, dims) in `steps` Euler steps; deterministic."""
    actions = noise
    for step in range(steps):
        time = step / steps
        if guide is None:
            slope = velocity(actions, time)
        else:
            slope = guided_velocity(velocity, actions, time, guide)
        actions = actions + slope / steps
    return actions


def guided_velocity(
    velocity: Velocity, actions: torch.Tensor, time: float, guide: Guide
) -> torch.Tensor:
    """Velocity (B, H, dims) that also leads to the guide's actions; equations 2 to 4.

    v + min(most, (1 - t) / (t r^2)) J^T W (Y - A1), with A1 = A + (1 - t) v the actions that v
    leads to, J its derivative by A, r^2 = (1 - t)^2 / (t^2 + (1 - t)^2). Must not be called in
    torch.inference_mode: it needs the derivative.
    """
    with torch.enable_grad():
        given = actions.detach().requires_grad_(True)
        slope = velocity(given, time)
        reached = given + (1 - time) * slope
        error = (guide.target - reached.detach()) * guide.weights[:, None]
        (pull,) = torch.autograd.grad(reached, given, error)
    return slope.detach() + _strength(time, guide.most) * pull


def _strength(time: float, most: float) -> float:
    if time <= 0.0:
        return most
    # (1 - t) / (t r^2), written so that nothing is divided by (1 - t) twice.
    return min(most, (time**2 + (1 - time) ** 2) / (time * max(1 - time, 1e-6)))
