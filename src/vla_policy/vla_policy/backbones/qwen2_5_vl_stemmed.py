"""The `transformers` classes of Qwen2.5-VL, with a convolutional stem where the config has one.

Asked by building and loading for the class that fits a configuration. Everything but the patch
embedding is the published code, so from_pretrained, peft and the plain forward work as ever.
"""

from typing import Any

import torch
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLModel

from vla_policy.backbones.picture_stem import build_stem


def model_class(config: Any) -> Any:
    """Class of the base model for a Qwen2_5_VLConfig."""
    return _StemmedModel if stem_of(config.vision_config) else Qwen2_5_VLModel


def causal_class(config: Any) -> Any:
    """Class of the model with its language-model head."""
    return _StemmedCausal if stem_of(config.vision_config) else Qwen2_5_VLForConditionalGeneration


def stem_of(vision_config: Any) -> Any:
    """Entry `stem` of a vision configuration, None where it has none."""
    return getattr(vision_config, 'stem', None)


def _replace(visual: Any) -> None:
    """Put the stem in the place of the patch embedding; the plain forward tells it the sizes."""
    visual.patch_embed = _PlainStem(visual.config)
    visual.register_forward_pre_hook(_note_sizes, with_kwargs=True)


class _StemmedModel(Qwen2_5_VLModel):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        _replace(self.visual)


class _StemmedCausal(Qwen2_5_VLForConditionalGeneration):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        _replace(self.model.visual)


class _PlainStem(torch.nn.Module):
    """Takes what the published patch embedding does: two equal frames a patch, sizes aside."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.stem = build_stem(stem_of(config), config.spatial_merge_size)
        self.sizes: list[list[int]] = []

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        frame = patches.unflatten(-1, (3, 2, -1))[:, :, 0].flatten(1)
        parts = frame.to(self.stem.norm.weight.dtype).split(
            [rows * columns for _, rows, columns in self.sizes]
        )
        return torch.cat(
            [self.stem(part, 1, rows) for part, (_, rows, _) in zip(parts, self.sizes)]
        )


def _note_sizes(visual: Any, positional: tuple, named: dict[str, Any]) -> None:
    grid = named['grid_thw'] if 'grid_thw' in named else positional[1]
    visual.patch_embed.sizes = grid.tolist()
