"""The forward pass of Qwen2.5-VL for one fixed geometry: the published function, less work.

Called by the backbone beside this file with weights taken from the `transformers` model. What is
saved: one linear layer instead of a 3-D convolution with two equal frames, one attention call for
all windows of a size instead of one for each window, projections of the same input in one product,
positions and masks from the plan. Nothing is approximated (tests hold it against the plain
forward). Functions are differentiable; deliberately no dropout, no key-value cache, no padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from vla_policy.backbones.picture_stem import PictureStem
from vla_policy.geometry import WindowGroup


@dataclass(frozen=True)
class Layer:
    """Weights of one transformer block; linear weights (out, in)."""

    norm_1: torch.Tensor
    qkv: torch.Tensor
    qkv_bias: torch.Tensor | None
    out: torch.Tensor
    out_bias: torch.Tensor | None
    norm_2: torch.Tensor
    gate_up: torch.Tensor
    gate_up_bias: torch.Tensor | None
    down: torch.Tensor
    down_bias: torch.Tensor | None


@dataclass(frozen=True)
class VisionWeights:
    """The vision tower and its merger; `full` are the blocks that attend over the whole image."""

    patch: torch.Tensor | PictureStem  # (E, 3 * patch * patch): both frames' weights added
    layers: Sequence[Layer]
    full: frozenset[int]
    merge_norm: torch.Tensor
    merge_1: torch.Tensor
    merge_1_bias: torch.Tensor
    merge_2: torch.Tensor
    merge_2_bias: torch.Tensor
    heads: int
    merge: int
    eps: float


@dataclass(frozen=True)
class TextWeights:
    """The language model without embedding and head."""

    layers: Sequence[Layer]
    norm: torch.Tensor
    heads: int
    kv_heads: int
    head_dim: int
    eps: float


@dataclass(frozen=True)
class VisionPlan:
    """Geometry of `images` equal images in window order; N patches in all."""

    images: int
    rows: int  # of patches in an image
    groups: tuple[WindowGroup, ...]
    cos: torch.Tensor  # (N, 1, 1, head_dim) float32
    sin: torch.Tensor
    to_raster: torch.Tensor  # (N,) window order -> image by image
    to_window: torch.Tensor  # (N,) and back
    tokens_to_raster: torch.Tensor  # (N / merge^2,) the same for merged tokens


@dataclass(frozen=True)
class TextPlan:
    """Prompt of T tokens."""

    embeddings: torch.Tensor  # (T, D), image places hold anything
    image_index: torch.Tensor  # (image tokens,) int64 places of the image tokens
    cos: torch.Tensor  # (T, 1, head_dim)
    sin: torch.Tensor


def vision_tower(weights: VisionWeights, patches: torch.Tensor, plan: VisionPlan) -> torch.Tensor:
    """Patches (N, 3 * patch^2) in window order to tokens (N / merge^2, D) in raster order."""
    hidden = _embed(weights.patch, patches, plan)
    for index, layer in enumerate(weights.layers):
        normed = _norm(hidden, layer.norm_1, weights.eps)
        qkv = F.linear(normed, layer.qkv, layer.qkv_bias).view(len(hidden), 3, weights.heads, -1)
        rotated = rotate(qkv[:, :2].float(), plan.cos, plan.sin).to(hidden.dtype)
        q, k, v = rotated[:, 0], rotated[:, 1], qkv[:, 2]
        attend = _whole_images if index in weights.full else _windows
        hidden = hidden + F.linear(attend(q, k, v, plan).flatten(1), layer.out, layer.out_bias)
        hidden = hidden + _mlp(_norm(hidden, layer.norm_2, weights.eps), layer)
    merged = _norm(hidden, weights.merge_norm, weights.eps).view(
        len(hidden) // weights.merge**2, -1
    )
    merged = F.gelu(F.linear(merged, weights.merge_1, weights.merge_1_bias))
    tokens = F.linear(merged, weights.merge_2, weights.merge_2_bias)
    return tokens.index_select(0, plan.tokens_to_raster)


def language_model(
    weights: TextWeights, image_tokens: torch.Tensor, plan: TextPlan
) -> torch.Tensor:
    """Run the prompt with `image_tokens` (..., tokens, D) in their places to hidden states.

    The hidden states are (..., T, D): leading axes are a batch of equal prompts, as in training.
    """
    batch = image_tokens.shape[:-2]
    hidden = plan.embeddings.expand(*batch, *plan.embeddings.shape).index_copy(
        -2, plan.image_index, image_tokens.to(plan.embeddings.dtype)
    )
    split = (weights.heads, weights.kv_heads, weights.kv_heads)
    for layer in weights.layers:
        normed = _norm(hidden, layer.norm_1, weights.eps)
        qkv = F.linear(normed, layer.qkv, layer.qkv_bias).unflatten(-1, (-1, weights.head_dim))
        q, k, v = qkv.split(split, dim=-2)
        attended = _causal(rotate(q, plan.cos, plan.sin), rotate(k, plan.cos, plan.sin), v)
        hidden = hidden + F.linear(attended.flatten(-2), layer.out, layer.out_bias)
        hidden = hidden + _mlp(_norm(hidden, layer.norm_2, weights.eps), layer)
    return _norm(hidden, weights.norm, weights.eps)


def _embed(
    patch: torch.Tensor | PictureStem, patches: torch.Tensor, plan: VisionPlan
) -> torch.Tensor:
    if isinstance(patch, torch.Tensor):
        return F.linear(patches, patch)
    raster = patches.index_select(0, plan.to_raster)
    return patch(raster, plan.images, plan.rows).index_select(0, plan.to_window)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding over the last axis; cos and sin broadcast over the axes between."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + turned * sin


def _norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    # Under autocast a narrow x meets float32 weights, for which torch has only a slow way.
    return F.rms_norm(x.to(weight.dtype), (x.shape[-1],), weight, eps)


def _mlp(x: torch.Tensor, layer: Layer) -> torch.Tensor:
    gate, up = F.linear(x, layer.gate_up, layer.gate_up_bias).chunk(2, dim=-1)
    return F.linear(F.silu(gate) * up, layer.down, layer.down_bias)


def _attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attend within each of B sequences; all (B, L, heads, head_dim), the result too."""
    out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    return out.transpose(1, 2)


def _windows(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: VisionPlan) -> torch.Tensor:
    """Attend within windows: one call for each window size, all its windows as the batch."""
    parts = []
    for group in plan.groups:
        rows = slice(group.start, group.stop)
        shape = (group.windows, group.patches, *q.shape[1:])
        part = _attention(
            q[rows].view(shape), k[rows].view(shape), v[rows].unflatten(0, shape[:2])
        )
        parts.append(part.reshape(-1, *q.shape[1:]))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _whole_images(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: VisionPlan
) -> torch.Tensor:
    """Attend within images. One image needs no reordering: attention does not see the order."""
    if plan.images == 1:
        return _attention(q[None], k[None], v[None])[0]
    q, k, v = (
        part.index_select(0, plan.to_raster).unflatten(0, (plan.images, -1)) for part in (q, k, v)
    )
    return _attention(q, k, v).flatten(0, 1).index_select(0, plan.to_window)


def _causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Causal attention of a sequence: q (..., T, heads, d); k, v (..., T, kv heads, d)."""
    single = q.dim() == 3
    q, k, v = (
        part.transpose(-3, -2)[None] if single else part.transpose(-3, -2) for part in (q, k, v)
    )
    out = F.scaled_dot_product_attention(
        q, k, v, is_causal=True, enable_gqa=q.shape[-3] != k.shape[-3]
    )
    return (out[0] if single else out).transpose(-3, -2)
