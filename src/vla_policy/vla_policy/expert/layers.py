"""Small building blocks of the expert: attention, blocks, sinusoids.

Used by the trunk and the decoder. Pre-norm transformer blocks with fused projections; deliberately
without dropout (data of the robot is noisy enough) and without masks (all tokens are always
there).
"""

import math

import torch
from torch import nn
import torch.nn.functional as F


class SelfAttention(nn.Module):
    """Attention of a set of tokens (B, N, width) over itself."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, N, width)."""
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, -1))
        return self.out(join_heads(F.scaled_dot_product_attention(q, k, v)))


class CrossAttention(nn.Module):
    """Attention over a condition whose keys and values are computed once per sampling."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def remember(self, condition: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (B, heads, N, head_dim) of a condition (B, N, width)."""
        key, value = self.key_value(condition).chunk(2, -1)
        return split_heads(key, self.heads), split_heads(value, self.heads)

    def forward(self, x: torch.Tensor, memory: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Tokens (B, M, width) ask the remembered condition."""
        attended = F.scaled_dot_product_attention(split_heads(self.query(x), self.heads), *memory)
        return self.out(join_heads(attended))


class TrunkBlock(nn.Module):
    """Self-attention and a two-layer perceptron, both pre-norm with residuals."""

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.mlp = perceptron(width, mlp_ratio * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, N, width)."""
        x = x + self.attention(self.norm_attention(x))
        return x + self.mlp(self.norm_mlp(x))


class DecoderBlock(nn.Module):
    """Self-attention among the chunk's steps, attention to the condition, perceptron."""

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm_self, self.norm_cross = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm_mlp = nn.LayerNorm(width)
        self.self_attention = SelfAttention(width, heads)
        self.cross_attention = CrossAttention(width, heads)
        self.mlp = perceptron(width, mlp_ratio * width, width)

    def forward(self, x: torch.Tensor, memory: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Return (B, steps, width)."""
        x = x + self.self_attention(self.norm_self(x))
        x = x + self.cross_attention(self.norm_cross(x), memory)
        return x + self.mlp(self.norm_mlp(x))


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two linear layers with a GELU between."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.GELU(approximate='tanh'), nn.Linear(hidden, outputs)
    )


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, N, width) to (B, heads, N, head_dim)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: torch.Tensor) -> torch.Tensor:
    """(B, heads, N, head_dim) to (B, N, width)."""
    return x.transpose(1, 2).flatten(2)


def sinusoids(x: torch.Tensor, waves: int, longest: float) -> torch.Tensor:
    """Sines and cosines (..., 2 * waves) of x (...), periods halving from `longest`."""
    angle = x[..., None] * (2.0 ** torch.arange(waves, device=x.device)) * (2 * math.pi / longest)
    return torch.cat([angle.sin(), angle.cos()], -1)
