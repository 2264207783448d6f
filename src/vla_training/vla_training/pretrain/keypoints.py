"""Losses of finding keypoints in pictures: which image token holds one, and where in it.

Used by `objective`. Positions are in half heights of the picture from its centre, x right, y
down; NaN or outside the picture does not count. Deliberately knows no model.
"""

import torch
import torch.nn.functional as F

ASPECT = 16 / 9  # of the cameras' pictures; the model may see them stretched
_UNIT = 0.015  # half heights, about a pixel: an error as large costs as much as others' unit
Grid = tuple[int, int]  # rows and columns of tokens in a picture


def token_loss(
    found: torch.Tensor, wanted: torch.Tensor, grid: Grid, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Loss of what each image token says of each keypoint.

    `found` (B, V, tokens, 3 * K): K logits that the keypoint is in it, then K times x and y from
    the token's centre in half tokens. `wanted` (B, V, K, 2). `weight` here and below: how much
    each of (B, V, K) counts, by default all the same.
    """
    count = wanted.shape[2]
    logits = found[..., :count].transpose(-1, -2)
    offsets = found[..., count:].unflatten(-1, (count, 2)).transpose(2, 3)
    token = token_of(wanted, grid)
    rows = token[..., None, None].expand(*token.shape, 1, 2)
    half = found.new_tensor([ASPECT / grid[1], 1.0 / grid[0]])
    guess = centres(grid).to(found)[token] + offsets.gather(3, rows)[..., 0, :] * half
    return look_loss(logits, wanted, grid, weight) + image_loss(guess, wanted, weight)


def image_loss(
    guess: torch.Tensor, wanted: torch.Tensor, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean loss of image positions (B, V, K, 2) over those inside the picture."""
    counts = inside(wanted)
    if not counts.any():
        return guess.sum() * 0.0
    off = (guess - wanted.nan_to_num()).norm(dim=-1)[counts] / _UNIT
    losses = F.smooth_l1_loss(off, torch.zeros_like(off), beta=1.0, reduction='none')
    return _mean(losses, counts, weight)


def look_loss(
    logits: torch.Tensor, wanted: torch.Tensor, grid: Grid, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean loss of logits (B, V, K, tokens) that should choose the token under each keypoint."""
    counts = inside(wanted)
    if not counts.any():
        return logits.sum() * 0.0
    losses = F.cross_entropy(logits[counts], token_of(wanted, grid)[counts], reduction='none')
    return _mean(losses, counts, weight)


def _mean(
    losses: torch.Tensor, counts: torch.Tensor, weight: torch.Tensor | None
) -> torch.Tensor:
    """Weighted mean of the losses (N,) of those of (B, V, K) that count."""
    if weight is None:
        return losses.mean()
    share = weight.expand_as(counts)[counts].to(losses)
    return (losses * share).sum() / share.sum()


def token_of(wanted: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Token (...) int64, row by row, nearest to positions (..., 2)."""
    rows, columns = grid
    x, y = wanted.nan_to_num().unbind(-1)
    column = ((x / ASPECT + 1) / 2 * columns).long().clamp(0, columns - 1)
    row = ((y + 1) / 2 * rows).long().clamp(0, rows - 1)
    return row * columns + column


def centres(grid: Grid) -> torch.Tensor:
    """Positions (tokens, 2) of the tokens' centres, row by row."""
    rows, columns = grid
    x = ((torch.arange(columns) + 0.5) / columns * 2 - 1) * ASPECT
    y = (torch.arange(rows) + 0.5) / rows * 2 - 1
    return torch.stack([x.repeat(rows), y.repeat_interleave(columns)], -1)


def inside(wanted: torch.Tensor) -> torch.Tensor:
    """Which positions (..., 2) are in the picture; False for NaN."""
    return (wanted[..., 0].abs() < ASPECT) & (wanted[..., 1].abs() < 1.0)
