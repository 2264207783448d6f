"""Convolutions over the whole picture in the place of a vision tower's patch embedding.

Used by small Qwen2.5-VL towers that are trained from nothing (`stem` in their `vision_config`): a
transformer over flat patches needs several times the pictures to find a point within a patch.
Called by the fast forward and, through `qwen2_5_vl_stemmed`, by that of `transformers`.
Deliberately no batch statistics: a picture's tokens depend on that picture alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
import torch.nn.functional as F


class PictureStem(nn.Module):
    """Halves the picture once a stage, down to one position a patch."""

    def __init__(self, channels: Sequence[int], blocks: Sequence[int], merge: int) -> None:
        """`channels` after each stage, `blocks` residual ones in it; `merge` as the tower's."""
        super().__init__()
        self.merge, self.patch = merge, 2 ** len(channels)
        stages: list[nn.Module] = []
        for stage, (before, after) in enumerate(zip((3, *channels), channels)):
            side = 3 if stage else 5
            stages.append(nn.Conv2d(before, after, side, stride=2, padding=side // 2))
            stages += [ResidualBlock(after) for _ in range(blocks[stage])] or [nn.ReLU()]
        self.stages = nn.Sequential(*stages)
        self.norm = ChannelNorm(channels[-1])

    def forward(self, patches: torch.Tensor, pictures: int, rows: int) -> torch.Tensor:
        """Patches (N, 3 * patch^2) of equal pictures to embeddings (N, channels).

        In the tower's own order: picture by picture, row by row of merged tokens, the patches of
        a token together; `rows` counts patches.
        """
        merge, size = self.merge, self.patch
        shape = (pictures, rows // merge, -1, merge, merge, 3, size, size)
        planes = patches.reshape(shape).permute(0, 5, 1, 3, 6, 2, 4, 7)
        planes = planes.reshape(pictures, 3, rows * size, -1)
        seen = self.norm(self.stages(planes.contiguous(memory_format=torch.channels_last)))
        cells = seen.unflatten(2, (-1, merge)).unflatten(4, (-1, merge))
        return cells.permute(0, 2, 4, 3, 5, 1).reshape(len(patches), -1)


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity; at the start they add a constant only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to the same shape."""
        return planes + self.second(F.relu(self.first(self.norm(planes))))


class ChannelNorm(nn.Module):
    """Layer norm over the channels of (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        """Same shape."""
        last = planes.permute(0, 2, 3, 1)
        return F.layer_norm(last, last.shape[-1:], self.weight, self.bias).permute(0, 3, 1, 2)


def build_stem(stem: Mapping[str, Any], merge: int) -> PictureStem:
    """Make a stem of the `stem` entry of a `vision_config`: channels and blocks a stage."""
    return PictureStem(stem['channels'], stem['blocks'], merge)
