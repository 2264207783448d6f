"""Names of the backbones in a checkpoint, and how each is loaded.

A new image-text model is one module with `load(source, device, dtype) -> Backbone` and one line
here.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from vla_core.errors import did_you_mean
from vla_policy.backbones import qwen2_5_vl_load
from vla_policy.backbones.base import Backbone
from vla_policy.errors import CheckpointError

LOADERS: dict[str, Callable[[str | Path, torch.device, torch.dtype], Backbone]] = {
    'qwen2_5_vl': qwen2_5_vl_load.load,
}


def load_backbone(
    kind: str, source: str | Path, device: torch.device, dtype: torch.dtype
) -> Backbone:
    """Load the backbone called `kind` from a local folder or hub name."""
    if kind not in LOADERS:
        raise CheckpointError(
            source,
            f'the backbone {kind!r} is not known here '
            f'(known: {", ".join(LOADERS)}{did_you_mean(kind, LOADERS)})',
            'use the version of the code that made it',
        )
    return LOADERS[kind](source, device, dtype)
