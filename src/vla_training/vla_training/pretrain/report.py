"""How pretraining words what it measures. Used by its stages; deliberately text only."""

import torch

NEAR_M = 0.02  # needle and opening are near


def figures(values: torch.Tensor) -> str:
    """Median, 90th and 95th percentile."""
    return ' '.join(f'{float(values.quantile(q)):.2f}' for q in (0.5, 0.9, 0.95))
