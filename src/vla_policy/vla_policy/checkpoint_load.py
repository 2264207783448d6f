"""Loading the two halves of the policy from a checkpoint, strictly.

Used through `vla_policy.checkpoint` by the nodes, evaluation and training. The expert's process
never imports transformers. Files, keys, shapes, types and hashes must all be as written, else
CheckpointError.
"""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from vla_core.errors import did_you_mean, VlaError
from vla_policy import manifest
from vla_policy.checkpoint_format import (
    BACKBONE,
    EXPERT,
    Manifest,
    NORMALIZATION,
    POOLING,
    read_manifest,
)
from vla_policy.encoder import VisionLanguageEncoder
from vla_policy.errors import CheckpointError
from vla_policy.expert.expert import ActionExpert
from vla_policy.normalization import load_normalization
from vla_policy.pooling import build_pooling
from vla_policy.runner import Mode, MODES

if TYPE_CHECKING:
    from vla_policy.trainable import TrainableEncoder

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


def load_expert(
    folder: str | PathLike[str], device: str | torch.device = 'cpu', verify: bool = True
) -> ActionExpert:
    """Load the action expert in float32. Imports no transformers."""
    info = read_manifest(folder)
    manifest.check_files(info.folder, info.files, (EXPERT, NORMALIZATION), content=verify)
    config = info.policy.expert
    statistics = load_normalization(
        info.folder / NORMALIZATION, ActionExpert.statistics_widths(config)
    )
    expert = ActionExpert(config, statistics)
    _load_weights(expert, info.folder / EXPERT)
    return expert.to(choose_device(device)).eval().requires_grad_(False)


def load_vlm(
    folder: str | PathLike[str],
    device: str | torch.device = 'cpu',
    dtype: str = 'auto',
    verify: bool = True,
    mode: Mode = 'eager',
) -> VisionLanguageEncoder:
    """Load the vision-language encoder; for `dtype` see `choose_dtype`."""
    from vla_policy.backbones.registry import load_backbone

    info = read_manifest(folder)
    manifest.check_files(info.folder, info.files, (BACKBONE + '/', POOLING), content=verify)
    target = choose_device(device)
    check_mode(mode, target)
    source = backbone_source(info, verify)
    backbone = load_backbone(
        info.policy.backbone.kind, source, target, choose_dtype(dtype, target)
    )
    if backbone.width != info.policy.expert.feature_width:
        raise CheckpointError(
            source,
            f'gives features of width {backbone.width}, the expert wants '
            f'{info.policy.expert.feature_width}',
            'use the backbone it was made with',
        )
    pooling = load_pooling(info, backbone.width)
    return VisionLanguageEncoder(backbone, pooling, mode=mode)


def load_trainable(
    folder: str | PathLike[str], device: str | torch.device = 'cpu'
) -> 'TrainableEncoder':
    """Load backbone and pooling in float32, to be trained from end to end."""
    from vla_policy.backbones import qwen2_5_vl_load as qwen
    from vla_policy.trainable import TrainableEncoder

    info = read_manifest(folder)
    manifest.check_files(info.folder, info.files, (BACKBONE + '/', POOLING))
    source = backbone_source(info, verify=True)
    model = qwen.load_model(source, choose_device(device), torch.float32)
    tokenizer, processor = qwen.load_processing(source, model.config)
    pooling = load_pooling(info, model.config.text_config.hidden_size)
    settings = qwen.image_settings(processor)
    return TrainableEncoder(model, tokenizer, settings, pooling.to(model.device))


def load_pooling(info: Manifest, width: int) -> nn.Module:
    """Load the pooling of a checkpoint for hidden states of `width`; only queries have weights."""
    pooling = build_pooling(info.policy.pooling, width)
    if list(pooling.state_dict()):
        if POOLING not in info.files:
            raise CheckpointError(info.folder / POOLING, 'missing', manifest.REMEDY)
        _load_weights(pooling, info.folder / POOLING)
    return pooling


def choose_device(name: str | torch.device) -> torch.device:
    """Resolve a device's name and check that it is there; VlaError says what to use instead."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ('cpu', 'cuda'):
        raise VlaError(f'device {name}: expected cpu, cuda or cuda:N')
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise VlaError(
            f'device {name}: this machine has no usable CUDA device of that name; use cpu'
        )
    return device


def check_mode(mode: str, device: torch.device) -> None:
    """Raise VlaError unless stages can be run in `mode` on `device`."""
    if mode not in MODES:
        raise VlaError(f'mode {mode!r}: expected {", ".join(MODES)}{did_you_mean(mode, MODES)}')
    if 'cuda-graph' in mode and device.type != 'cuda':
        raise VlaError(f'mode {mode} needs a CUDA device, not {device}; use eager or compile')


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Resolve a dtype's name; auto is bfloat16 where the device has it, else float32."""
    if name != 'auto':
        if name not in DTYPES:
            raise VlaError(f'dtype {name!r}: expected auto, {", ".join(DTYPES)}')
        return DTYPES[name]
    native = (
        torch.cuda.is_bf16_supported()
        if device.type == 'cuda'
        else device.type == 'cpu' and torch.cpu._is_avx512_bf16_supported()
    )
    return torch.bfloat16 if native else torch.float32


def backbone_source(info: Manifest, verify: bool) -> str | Path:
    """Folder or hub name of the backbone; with `verify` a referenced folder's files are hashed."""
    config = info.policy.backbone
    if config.source is None:
        return info.folder / BACKBONE
    if verify:
        for name, digest in config.files.items():
            path = Path(config.source) / name
            if not path.is_file():
                raise CheckpointError(
                    path, 'missing; the checkpoint refers to it', 'restore the backbone folder'
                )
            if manifest.hash_file(path).sha256 != digest:
                raise CheckpointError(
                    path,
                    'is not the file the checkpoint was made with',
                    'restore the backbone folder, or make a new checkpoint',
                )
    return config.source


def _load_weights(module: nn.Module, path: Path) -> None:
    """Load a safetensors file whose keys, shapes and types are exactly the module's."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(path, f'cannot be read ({error})', manifest.REMEDY) from error
    wanted = module.state_dict()
    missing, unexpected = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or unexpected:
        texts = [
            f'{len(keys)} weights are {what}, such as {keys[0]}'
            for what, keys in (('missing', missing), ('unexpected', unexpected))
            if keys
        ]
        raise CheckpointError(path, ' and '.join(texts), manifest.REMEDY)
    for key, value in wanted.items():
        if found[key].shape != value.shape or found[key].dtype != value.dtype:
            raise CheckpointError(
                path,
                f'{key} is {found[key].dtype} {tuple(found[key].shape)}, the architecture wants '
                f'{value.dtype} {tuple(value.shape)}',
                manifest.REMEDY,
            )
    module.load_state_dict(found)
