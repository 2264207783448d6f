"""The encoder under autograd: many image sets at once, weights that learn.

Used by training of small backbones from end to end. It computes what `VisionLanguageEncoder` does
for each set, from the same `transformers` model (a test compares them). Deliberately for image
sets of one size and one task at a time, and without any saving of memory.
"""

from typing import Any

import torch
from torch import nn

from vla_policy.backbones.base import Plan
from vla_policy.backbones.qwen2_5_vl import ImageSettings, Qwen25VLBackbone
from vla_policy.backbones.qwen2_5_vl_forward import language_model, vision_tower
from vla_policy.backbones.qwen2_5_vl_weights import take_text, take_vision
from vla_policy.geometry import ImageRules, Size
from vla_policy.pooling import QueryPooling


class TrainableEncoder(nn.Module):
    """Backbone and pooling as a module: its parameters are those of `model` and `pooling`.

    The embedding of the prompt's text stays as it is.
    """

    def __init__(
        self, model: nn.Module, tokenizer: Any, settings: ImageSettings, pooling: nn.Module
    ) -> None:
        """`model` is a Qwen2_5_VLModel; it is trained in place and can be saved at any time."""
        super().__init__()
        self.model, self.pooling = model, pooling
        model.requires_grad_(True)
        model.language_model.embed_tokens.requires_grad_(False)
        self._backbone = Qwen25VLBackbone(model, tokenizer, settings, keep_model=True)
        self._plans: dict[tuple[int, int, Size, str], tuple[Plan, Any]] = {}

    @property
    def width(self) -> int:
        """Numbers in a feature token (D)."""
        return self._backbone.width

    @property
    def rules(self) -> ImageRules:
        """How images are sized."""
        return self._backbone.rules

    def forward(
        self, images: torch.Tensor, task: str
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Encode images (B, V, H, W, 3) uint8 to features (B, T, D).

        Also where the pooling's queries look, as logits (B, V, queries, tokens); None of poolings
        that have none.
        """
        return self.read(self.see(images, task), images, task)

    def see(self, images: torch.Tensor, task: str) -> torch.Tensor:
        """Return the vision tower's tokens (B, V * tokens of a view, D), row by row of a view."""
        plan, _ = self._plan(images, task)
        patches = self._backbone.preprocess([images.flatten(0, 1)], plan)[0]
        vision = take_vision(self.model.visual, free=False)
        tokens = vision_tower(vision, patches, plan.extra.groups[0].vision)
        return tokens.unflatten(0, (len(images), -1))

    def read(
        self, tokens: torch.Tensor, images: torch.Tensor, task: str
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return what `forward` does from the tokens that `see` made of `images`."""
        plan, prepared = self._plan(images, task)
        text = take_text(self.model.language_model, free=False)
        hidden = language_model(text, tokens, plan.extra.text)
        attention = None
        if isinstance(self.pooling, QueryPooling):
            attention = torch.stack(self.pooling.logits(hidden, prepared), dim=1)
        return self.pooling(hidden, prepared), attention

    def _plan(self, images: torch.Tensor, task: str) -> tuple[Plan, Any]:
        batch, views, height, width = images.shape[:4]
        key = (batch, views, (height, width), task)
        if key not in self._plans:
            plan = self._backbone.make_plan(((height, width),) * views, task)
            prepared = self.pooling.prepare(plan.layout, self._backbone.device)
            self._plans[key] = self._backbone.make_batch_plan(plan, batch), prepared
        return self._plans[key]
