"""A trained checkpoint from another one: what has been learned is replaced, the rest is kept.

Called by pretraining and training. The new checkpoint appears whole or not at all; a kill in the
moment of the exchange leaves the one before in a hidden folder beside, which `recover_checkpoint`
puts back. Deliberately knows no optimiser state: what a resumed run needs lies elsewhere.
"""

from collections.abc import Mapping
from dataclasses import replace
import os
from os import PathLike
from pathlib import Path
import shutil
from typing import Any

import torch

from vla_core.disk import sync
from vla_policy import checkpoint_format as layout
from vla_policy import manifest
from vla_policy.checkpoint_create import write_checkpoint
from vla_policy.checkpoint_format import BackboneConfig, Manifest, read_manifest
from vla_policy.errors import CheckpointError
from vla_policy.expert.expert import ActionExpert
from vla_policy.normalization import load_normalization, Statistics
from vla_policy.pooling import PoolingConfig

Weights = Mapping[str, torch.Tensor]
_NEW, _OLD = 'new', 'old'  # in the folder of an exchange


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
    verify: bool = True,
) -> str:
    """Write checkpoint `target` like `source` with the learned parts in it; return its hash.

    `statistics` and `pooling` (weights) are those of `source` where not given; with another
    `pooling_config` the weights are needed where it has any. `backbone` is a trained
    `transformers` model, saved inside by its `save_pretrained`. `overwrite` replaces an
    older `target` whole. `verify` False: only the sizes of files that are taken over are checked,
    for a caller that has hashed them. Raises CheckpointError.
    """
    info, folder = read_manifest(source), Path(target)
    recover_checkpoint(folder)
    if folder.exists() and not overwrite and any(folder.iterdir()):
        raise CheckpointError(folder, 'already exists', 'choose another folder or remove it first')
    _check_taken(info, not statistics, pooling is None, verify)
    statistics = statistics or load_normalization(
        info.folder / layout.NORMALIZATION, ActionExpert.statistics_widths(info.policy.expert)
    )
    kept = _read_pooling(info.folder) if pooling is None else pooling
    policy = replace(info.policy, expert=expert.config, trained=trained)
    if pooling_config is not None:
        kept, policy = pooling or {}, replace(policy, pooling=pooling_config)
    work = _exchange(folder) / _NEW
    work.mkdir(parents=True)
    try:
        if (info.folder / layout.BACKBONE).is_dir():
            shutil.copytree(info.folder / layout.BACKBONE, work / layout.BACKBONE)
        if backbone is not None:
            _save_backbone(backbone, work / layout.BACKBONE)
            policy = replace(policy, backbone=BackboneConfig(kind=policy.backbone.kind))
        digest = write_checkpoint(
            work, policy, info.contract, statistics, expert.state_dict(), kept
        )
        _put(work, folder)
    finally:
        recover_checkpoint(folder)
    return digest


def recover_checkpoint(folder: str | PathLike[str]) -> None:
    """Put `folder` back where a killed `derive_checkpoint` took it away, and remove its rests."""
    target = Path(folder)
    old = _exchange(target) / _OLD
    if old.exists() and not target.exists():
        os.replace(old, target)
    shutil.rmtree(_exchange(target), ignore_errors=True)


def _exchange(folder: Path) -> Path:
    """Where a checkpoint is while another takes its place."""
    return folder.with_name(f'.{folder.name}.exchange')


def _put(work: Path, folder: Path) -> None:
    """Put `work` in the place of `folder`, all of it being on the disk."""
    for path in (work, *work.rglob('*')):
        sync(path)
    if folder.exists():
        os.replace(folder, _exchange(folder) / _OLD)
    os.replace(work, folder)
    sync(folder.parent)


def _check_taken(info: Manifest, statistics: bool, pooling: bool, content: bool) -> None:
    """Raise CheckpointError where a file that is taken over is not what the manifest says."""
    taken = [f'{layout.BACKBONE}/']
    taken += [layout.NORMALIZATION] * statistics + [layout.POOLING] * pooling
    manifest.check_files(info.folder, info.files, taken, content=content)


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
