"""What the loop needs of data and of a model: the seam between it and the stages.

The data set of `vla_training.data` fits, and so do small made-up ones of tests.
"""

from typing import Protocol

import numpy as np
import torch

from vla_policy.expert.batch import ExpertBatch


class TrainingBatch(Protocol):
    """B samples; stages that look at pictures want `images` (B, V, H, W, 3) and `tasks`."""

    inputs: ExpertBatch
    actions: torch.Tensor  # (B, H, 6) m and rad a step, base frame
    mask: torch.Tensor  # (B, H) bool: steps that are labels

    def to(self, device: torch.device | str) -> 'TrainingBatch':
        """Move all tensors."""
        ...


class TrainingData(Protocol):
    """Samples by number."""

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray, rng: np.random.Generator) -> TrainingBatch:
        """Make a batch of samples `indices` (B,); the same arguments give the same batch."""
        ...
