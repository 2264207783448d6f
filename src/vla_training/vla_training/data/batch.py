"""What one step of training is given: inputs of the policy, labels, and the truth behind them.

Made by every data set; used by the training loop. Deliberately knows no episode.
"""

from dataclasses import dataclass

import torch

from vla_policy.expert.batch import ExpertBatch

# At the tick, base frame: opening from the needle's tip (m), trocar's axis minus the needle's, and
# how the eye moves (m/s, rad/s).
TRUTH = 12


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples."""

    inputs: ExpertBatch
    actions: torch.Tensor  # (B, H, 6) float32 m and rad a step, base frame
    mask: torch.Tensor  # (B, H) bool: steps that are labels
    truth: torch.Tensor  # (B, TRUTH) what the policy is not shown, NaN where nobody knows it

    def to(self, device: torch.device | str) -> 'Batch':
        """Move all tensors."""
        own = (self.inputs, self.actions, self.mask, self.truth)
        return Batch(*(item.to(device) for item in own))  # type: ignore[arg-type]
