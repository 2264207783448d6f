"""Qwen2.5-VL as a backbone: plans and the three stages.

Made by `qwen2_5_vl_load` (a local folder or a hub name) and by the benchmark (random weights).
Keeps no language-model head and no hidden states but the last. Deliberately loads nothing itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from vla_policy import geometry
from vla_policy.backbones.base import group_equal, Plan, TokenLayout, ViewSpan
from vla_policy.backbones.qwen2_5_vl_forward import (
    language_model,
    TextPlan,
    vision_tower,
    VisionPlan,
)
from vla_policy.backbones.qwen2_5_vl_weights import take_text, take_vision
from vla_policy.errors import PolicyInputError
from vla_policy.geometry import Grid, ImageRules, Size
from vla_policy.preprocess import Normalise, preprocess

SYSTEM_PROMPT = 'You are a helpful assistant.'  # the one the published model was tuned with
VISION_THETA = 10000.0  # base of the vision tower's rotary embedding, fixed in the published code


@dataclass(frozen=True)
class ImageSettings:
    """What preprocessor_config.json says, less its resizing rules."""

    rules: ImageRules
    mean: list[float]
    std: list[float]
    rescale: float


@dataclass(frozen=True)
class _Group:
    """Plan of one group of equal images."""

    grid: Grid
    order: torch.Tensor  # merged tokens, raster -> window order
    vision: VisionPlan


@dataclass(frozen=True)
class _Extra:
    groups: tuple[_Group, ...]
    to_views: (
        torch.Tensor | None
    )  # image tokens group by group -> view by view; None where they agree
    text: TextPlan


class Qwen25VLBackbone:
    """Implements `Backbone`. Not thread-safe: one thread (the VLM worker) calls everything.

    Takes the weights out of `model` (a Qwen2_5_VLModel); with `keep_model=False` the originals are
    freed layer by layer, so that the weights exist once, and `model` is of no use afterwards.
    """

    def __init__(
        self, model: Any, tokenizer: Any, settings: ImageSettings, *, keep_model: bool = False
    ) -> None:
        self.config = model.config
        self.width = model.config.text_config.hidden_size
        self.device = model.device
        self.dtype = model.dtype
        self.rules = settings.rules
        self._tokenizer = tokenizer
        self._normalise = Normalise.from_processor(
            settings.mean, settings.std, settings.rescale, self.device
        )
        with torch.no_grad():
            self._embedding = model.language_model.embed_tokens.weight.detach()
            self.vision_weights = take_vision(model.visual, free=not keep_model)
            self.text_weights = take_text(model.language_model, free=not keep_model)

    def make_plan(self, sizes: tuple[Size, ...], task: str) -> Plan:
        """See `Backbone`."""
        if any(token in task for token in self._tokenizer.all_special_tokens):
            raise PolicyInputError(
                f'the task {task!r} contains a special token of the model; use plain text'
            )
        groups = group_equal(sizes)
        grids = [geometry.image_grid(size, self.rules) for size in sizes]
        text, layout = self._text_plan(grids, task)
        plans = tuple(self._group_plan(grids[group[0]], len(group)) for group in groups)
        extra = _Extra(plans, self._view_order(groups, grids), text)
        return Plan(sizes, task, groups, layout, extra)

    def make_batch_plan(self, plan: Plan, batch: int) -> Plan:
        """Return the plan of `batch` image sets like those of `plan` at once, for training.

        PolicyInputError where the images of a set differ in size.
        """
        if len(plan.groups) != 1:
            raise PolicyInputError('images of several sizes cannot be trained on in one batch')
        group = self._group_plan(plan.extra.groups[0].grid, batch * len(plan.sizes))
        return replace(plan, extra=replace(plan.extra, groups=(group,)))

    def preprocess(self, images: Sequence[torch.Tensor], plan: Plan) -> list[torch.Tensor]:
        """See `Backbone`; patches (V * patches, 3 * patch * patch) a group."""
        return [
            preprocess(
                batch, group.grid, self.rules.merge, group.order, self._normalise, self.dtype
            )
            for batch, group in zip(images, plan.extra.groups)
        ]

    def vision(self, patches: Sequence[torch.Tensor], plan: Plan) -> torch.Tensor:
        """See `Backbone`."""
        parts = [
            vision_tower(self.vision_weights, batch, group.vision)
            for batch, group in zip(patches, plan.extra.groups)
        ]
        tokens = parts[0] if len(parts) == 1 else torch.cat(parts)
        return (
            tokens if plan.extra.to_views is None else tokens.index_select(0, plan.extra.to_views)
        )

    def language(self, image_tokens: torch.Tensor, plan: Plan) -> torch.Tensor:
        """See `Backbone`."""
        return language_model(self.text_weights, image_tokens, plan.extra.text)

    def prompt_ids(self, grids: Sequence[Grid], task: str) -> list[int]:
        """Token ids of the prompt: the task first, so that image tokens have read it."""
        views = ''.join(
            f'<|vision_start|>{"<|image_pad|>" * grid.tokens}<|vision_end|>' for grid in grids
        )
        return list(self._tokenizer(prompt_text(task, views))['input_ids'])

    def _text_plan(self, grids: list[Grid], task: str) -> tuple[TextPlan, TokenLayout]:
        ids = self.prompt_ids(grids, task)
        is_image = [token == self.config.image_token_id for token in ids]
        spans, index = [], 0
        for grid in grids:
            start = is_image.index(True, index)
            spans.append(ViewSpan(start, grid))
            index = start + grid.tokens
        text = self.config.text_config
        rope = text.rope_parameters
        cos, sin = geometry.text_rotary(
            geometry.text_positions(is_image, grids),
            self.text_weights.head_dim,
            rope['rope_theta'],
            list(rope['mrope_section']),
        )
        with torch.no_grad():
            embeddings = self._embedding[torch.tensor(ids, device=self.device)]
        place = torch.tensor(is_image).nonzero()[:, 0]
        plan = TextPlan(embeddings, place.to(self.device), self._angles(cos), self._angles(sin))
        return plan, TokenLayout(tuple(spans), len(ids) - 1, len(ids))

    def _angles(self, values: torch.Tensor) -> torch.Tensor:
        return values[:, None].to(self.device, self.dtype)

    def _group_plan(self, grid: Grid, images: int) -> _Group:
        vision, merge = self.config.vision_config, self.rules.merge
        window = vision.window_size // self.rules.unit
        order, groups = geometry.window_order(grid, images, window, merge)
        patch_order = (order[:, None] * merge**2 + torch.arange(merge**2)).flatten()
        one_image = geometry.patch_coordinates(grid, merge)
        head_dim = vision.hidden_size // vision.num_heads
        cos, sin = geometry.vision_rotary(
            one_image.repeat(images, 1)[patch_order], head_dim, VISION_THETA
        )
        place = [
            index.to(self.device)
            for index in (order, patch_order.argsort(), patch_order, order.argsort())
        ]
        plan = VisionPlan(
            images,
            grid.rows * merge,
            groups,
            cos[:, None, None].to(self.device),
            sin[:, None, None].to(self.device),
            *place[1:],
        )
        return _Group(grid, place[0], plan)

    def _view_order(
        self, groups: tuple[tuple[int, ...], ...], grids: list[Grid]
    ) -> torch.Tensor | None:
        views = [view for group in groups for view in group]
        if views == sorted(views):
            return None
        starts, at = {}, 0
        for view in views:
            starts[view], at = at, at + grids[view].tokens
        rows = [torch.arange(grids[view].tokens) + starts[view] for view in range(len(grids))]
        return torch.cat(rows).to(self.device)


def prompt_text(task: str, views: str) -> str:
    """Return the chat prompt of the published model with the task before the views."""
    return (
        f'<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n'
        f'<|im_start|>user\n{task}{views}<|im_end|>\n<|im_start|>assistant\n'
    )
