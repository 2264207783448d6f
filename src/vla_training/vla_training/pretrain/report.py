"""How pretraining words what it measures. Used by its stages; deliberately text only."""

import torch

_NEAR_M = 0.02  # needle and opening are near


def figures(values: torch.Tensor) -> str:
    """Median, 90th and 95th percentile."""
    return ' '.join(f'{float(values.quantile(q)):.2f}' for q in (0.5, 0.9, 0.95))


def pose_errors(pose: torch.Tensor, off_m: torch.Tensor, off_rad: torch.Tensor) -> str:
    """How far the opening's place and the axis are off (B,), by the truth `pose` (B, 6)."""
    near = pose[:, :3].norm(dim=1) < _NEAR_M
    off_mm, off_deg = off_m * 1e3, off_rad.rad2deg()
    return (
        f'validation (p50 p90 p95): opening near {figures(off_mm[near])} mm, everywhere '
        f'{figures(off_mm)} mm; axis near {figures(off_deg[near])} deg'
    )
