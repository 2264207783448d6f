"""The named sizes of the policy.

Read when a checkpoint is created and by the benchmark; a checkpoint carries its own configuration,
so loading never looks here. Deliberately numbers only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vla_policy.backbones import qwen2_5_vl_build as qwen
from vla_policy.pooling import PoolingConfig


@dataclass(frozen=True)
class Preset:
    """`build` makes the backbone from nothing (untrained) where `source` is None."""

    name: str
    architecture: Mapping[str, Any]
    pixels: tuple[int, int]  # least and most pixels of an image given to the backbone
    source: str | None  # hub name of the weights
    expert: Mapping[str, Any] = field(
        default_factory=dict
    )  # differences from ExpertConfig's defaults
    pooling: PoolingConfig = PoolingConfig()


PRESETS = {
    # Six DDIM steps instead of ten keep that head under 10 ms on one CPU core.
    'nano': Preset(
        'nano',
        qwen.NANO,
        qwen.NANO_PIXELS,
        None,
        {'ddim_steps': 6},
        PoolingConfig('queries', queries=8),
    ),
    'qwen2.5-vl-3b': Preset(
        'qwen2.5-vl-3b',
        qwen.QWEN_3B,
        qwen.QWEN_3B_PIXELS,
        'Qwen/Qwen2.5-VL-3B-Instruct',
        {
            'width': 512,
            'attention_heads': 8,
            'trunk_layers': 4,
            'decoder_layers': 4,
            'mlp_ratio': 4,
        },
    ),
}
