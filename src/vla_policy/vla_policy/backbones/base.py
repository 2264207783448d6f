"""The seam between the suite and an image-text model.

`VisionLanguageEncoder` drives a `Backbone` and knows nothing of the model behind it; another model
is one more file beside `qwen2_5_vl.py` and one more name in `backbones.registry`. Deliberately
holds no pooling, no timing and no device copies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from vla_policy.geometry import Grid, Size


@dataclass(frozen=True)
class ViewSpan:
    """Where one view's tokens stand in the hidden states, row by row of its grid."""

    start: int
    grid: Grid

    @property
    def stop(self) -> int:
        """One past the last token."""
        return self.start + self.grid.tokens


@dataclass(frozen=True)
class TokenLayout:
    """What the pooling needs to know about the hidden states (T, D)."""

    views: tuple[ViewSpan, ...]
    text_index: int  # the token that has seen all views and the task
    tokens: int  # T


@dataclass(frozen=True)
class Plan:
    """Everything that depends on image sizes and prompt only, kept on the device.

    `groups` lists for each set of equal images their indices in the caller's order; images enter
    stacked group by group. `extra` belongs to the backbone.
    """

    sizes: tuple[Size, ...]
    task: str
    groups: tuple[tuple[int, ...], ...]
    layout: TokenLayout
    extra: Any


class Backbone(Protocol):
    """An image-text model without its language-model head, for inference on one device.

    Every stage is a pure function of its tensor argument for a given plan, with fixed shapes and
    no copy to the host, so that it can be compiled or captured in a CUDA graph.
    """

    width: int  # D, size of a hidden state
    device: torch.device
    dtype: torch.dtype

    def make_plan(self, sizes: tuple[Size, ...], task: str) -> Plan:
        """Lay out images of `sizes` (height, width) and the instruction `task`."""
        ...

    def preprocess(self, images: Sequence[torch.Tensor], plan: Plan) -> list[torch.Tensor]:
        """Turn each group's images (V, H, W, 3) uint8 on the device into the tower's input."""
        ...

    def vision(self, patches: Sequence[torch.Tensor], plan: Plan) -> torch.Tensor:
        """Return the image tokens (sum of the grids' tokens, D), view after view."""
        ...

    def language(self, image_tokens: torch.Tensor, plan: Plan) -> torch.Tensor:
        """Return the last hidden states (T, D) of the whole prompt."""
        ...


def group_equal(sizes: Sequence[Size]) -> tuple[tuple[int, ...], ...]:
    """Group the indices of equal sizes, in order of first appearance."""
    groups: dict[Size, list[int]] = {}
    for index, size in enumerate(sizes):
        groups.setdefault(size, []).append(index)
    return tuple(tuple(group) for group in groups.values())
