"""A trained checkpoint from another one: what has been learned is replaced, the rest is kept.

Called by pretraining and training. The new checkpoint appears whole or not at all. Deliberately
knows no optimiser state: what a resumed run needs lies elsewhere.
"""

from collections.abc import Mapping
from dataclasses import replace
import os
from os import PathLike
from pathlib import Path
import shutil
import tempfile
from typing import Any

import torch

from vla_policy import checkpoint_format as layout
from vla_policy import manifest
from vla_policy.checkpoint_create import write_checkpoint
from vla_policy.checkpoint_format import BackboneConfig, read_manifest
from vla_policy.errors import CheckpointError
from vla_policy.expert.expert import ActionExpert
from vla_policy.normalization import load_normalization, Statistics
from vla_policy.pooling import PoolingConfig

Weights = Mapping[str, torch.Tensor]


def derive_checkpoint(
    source: str | PathLike[str],
    target: str | PathLike[str],
    expert: ActionExpert,
    statistics: Mapping[str, Statistics] | None = None,
    *,
    pooling: Weights | None = None,
    pooling_config: PoolingConfig | None = None,
    backbone: Any = None,
    trained: bool = True,
    overwrite: bool = False,
) -> str:
    """Write checkpoint `target` like `source` with the learned parts in it; return its hash.

    `statistics` and `pooling` (weights) are those of `source` where not given; with another
    `pooling_config` the weights are needed where it has any. `backbone` is a trained
    `transformers` model, saved inside by its `save_pretrained`. `overwrite` replaces an
    older `target` whole. Raises CheckpointError.
    """
    info, folder = read_manifest(source), Path(target)
    if folder.exists() and not overwrite and any(folder.iterdir()):
        raise CheckpointError(folder, 'already exists', 'choose another folder or remove it first')
    statistics = statistics or load_normalization(
        info.folder / layout.NORMALIZATION, ActionExpert.statistics_widths(info.policy.expert)
    )
    kept = _read_pooling(info.folder) if pooling is None else pooling
    policy = replace(info.policy, expert=expert.config, trained=trained)
    if pooling_config is not None:
        kept, policy = pooling or {}, replace(policy, pooling=pooling_config)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f'.{folder.name}.') as scratch:
        work = Path(scratch) / 'checkpoint'
        work.mkdir()
        if (info.folder / layout.BACKBONE).is_dir():
            shutil.copytree(info.folder / layout.BACKBONE, work / layout.BACKBONE)
        if backbone is not None:
            _save_backbone(backbone, work / layout.BACKBONE)
            policy = replace(policy, backbone=BackboneConfig(kind=policy.backbone.kind))
        digest = write_checkpoint(
            work, policy, info.contract, statistics, expert.state_dict(), kept
        )
        if folder.exists():
            os.replace(folder, Path(scratch) / 'replaced')
        os.replace(work, folder)
    return digest


def _read_pooling(folder: Path) -> Weights:
    from safetensors.torch import load_file

    path = folder / layout.POOLING
    return load_file(path) if path.exists() else {}


def _save_backbone(backbone: Any, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for old in folder.glob('*.safetensors*'):
        old.unlink()
    backbone.save_pretrained(folder)
    if not (folder / 'preprocessor_config.json').exists():
        raise CheckpointError(
            folder.parent,
            'refers to a backbone elsewhere',
            f'copy that backbone into the checkpoint first ({manifest.REMEDY})',
        )
