"""A head that says in numbers what the trunk has understood, and what its errors cost.

It exists for training only: pretraining and `vla train` ask it where the trocar is, which only a
simulator can answer, so that the trunk learns geometry from more than actions. Deliberately knows
no batch.
"""

from dataclasses import dataclass

import torch
from torch import nn
import torch.nn.functional as F

from vla_policy.expert.layers import perceptron

# An error as large as this costs as much as one of another kind. Position: a millimetre at the
# opening, more the further away.
_POSITION_M, _POSITION_SHARE = 0.0003, 0.04
_AXIS, _AXIS_SHARE = 0.01, 0.1
_SPEED_M_S, _SPEED_RAD_S = 0.0005, 0.01
UNITS = (0.01,) * 3 + (0.1,) * 3 + (0.001,) * 3 + (0.02,) * 3  # of the head's numbers, in SI


class Teller(nn.Module):
    """Condition tokens (B, N, width) to the first `numbers` of pose (6) and eye's motion (6)."""

    def __init__(self, width: int, numbers: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, width) * 0.02)
        self.head = perceptron(width, 2 * width, numbers)
        self.register_buffer('units', torch.tensor(UNITS[:numbers]), persistent=False)

    def forward(self, condition: torch.Tensor) -> torch.Tensor:
        """Tell (B, numbers) in SI units."""
        query = self.query.expand(len(condition), 1, -1)
        seen = F.scaled_dot_product_attention(query, condition, condition)[:, 0]
        return self.head(seen) * self.units


@dataclass(frozen=True)
class PoseLosses:
    """Losses (B,) of the trocar's pose, and each sample's errors (B,) in m and as axis vectors."""

    position: torch.Tensor
    axis: torch.Tensor
    off_m: torch.Tensor
    off_rad: torch.Tensor


def pose_losses(guess: torch.Tensor, pose: torch.Tensor) -> PoseLosses:
    """Compare poses (B, 6), see labels.POSE."""
    off_m = (guess[:, :3] - pose[:, :3]).norm(dim=1)
    off_axis = (guess[:, 3:6] - pose[:, 3:6]).norm(dim=1)
    position = _robust(off_m / (_POSITION_M + _POSITION_SHARE * pose[:, :3].norm(dim=1)))
    axis = _robust(off_axis / (_AXIS + _AXIS_SHARE * pose[:, 3:6].norm(dim=1)))
    return PoseLosses(position, axis, off_m, off_axis)


def truth_loss(guess: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Loss (B,) of pose and eye's motion (B, 12) together; 0 where the truth is not known."""
    known = truth.isfinite().all(1)
    truth = torch.where(known[:, None], truth, 0.0)
    pose, off = pose_losses(guess, truth), guess[:, 6:] - truth[:, 6:]
    speed = _robust(off[:, :3].norm(dim=1) / _SPEED_M_S)
    spin = _robust(off[:, 3:].norm(dim=1) / _SPEED_RAD_S)
    return torch.where(known, pose.position + pose.axis + speed + spin, 0.0)


def _robust(off: torch.Tensor) -> torch.Tensor:
    return F.smooth_l1_loss(off, torch.zeros_like(off), beta=1.0, reduction='none')
