"""Making checkpoints: untrained ones from a preset, or a preset around an existing backbone.

Called by `vla checkpoint create`, the demo and training. The same preset, seed, contract and
library versions give the same files, bit for bit. A checkpoint appears whole or not at all.
Deliberately does not train.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
import os
from os import PathLike
from pathlib import Path
import shutil
import tempfile
from typing import Any

import numpy as np
import torch
from torch import nn
import yaml

from vla_core.contract import Contract, load_contract
from vla_core.disk import why_not_written
from vla_core.errors import did_you_mean, VlaError
from vla_policy import __version__, manifest
from vla_policy import checkpoint_format as layout
from vla_policy.checkpoint_format import BackboneConfig, PolicyConfig
from vla_policy.errors import CheckpointError
from vla_policy.expert.config import ExpertConfig, HeadKind, HEADS, LARGEST_SEED
from vla_policy.expert.expert import ActionExpert
from vla_policy.normalization import save_normalization, Statistics
from vla_policy.pooling import build_pooling, PoolingConfig
from vla_policy.presets import Preset, PRESETS

# Of an untrained policy, so that its numbers have the size of real ones until training measures
# them: force about 1, A-scan about 50 (legacy documents), metres and radians of a small arm.
FORCE, PROFILE = (1.0, 1.0), (50.0, 50.0)
JOINT_STD, POSITION_STD, ROTATION_STD = 1.0, 0.2, 1.0
STEP_POSITION_STD_M, STEP_ROTATION_STD_RAD = 0.0005, 0.002


def create_checkpoint(
    preset: str,
    folder: str | PathLike[str],
    seed: int,
    contract_path: str | PathLike[str],
    head: HeadKind = 'flow',
    backbone: str | None = None,
    *,
    copy_backbone: bool = False,
    pooling: PoolingConfig | None = None,
) -> str:
    """Make an untrained checkpoint in a new `folder` and return its hash.

    `backbone` is a local folder or hub name; without one the preset's own is used (nano builds it,
    3B means the hub name). It is referred to, or copied with `copy_backbone` (local folders only).
    Raises CheckpointError, ConfigError, or VlaError on a seed that is none.
    """
    chosen = _choose(preset, head)
    if not 0 <= seed <= LARGEST_SEED:
        raise VlaError(f'seed {seed}: expected a whole number from 0 to {LARGEST_SEED}')
    target, contract = Path(folder), load_contract(contract_path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CheckpointError(target, 'already exists', 'choose another folder or remove it first')
    with _beside(target) as work:
        reference, width = _place_backbone(
            work / layout.BACKBONE, chosen, seed, backbone, copy_backbone
        )
        policy = _policy(chosen, contract, seed, head, reference, pooling or chosen.pooling, width)
        digest = write_checkpoint(
            work,
            policy,
            contract,
            untrained_statistics(policy.expert),
            *_random_modules(policy, width, seed),
        )
        if target.exists():
            target.rmdir()
        os.replace(work, target)
    return digest


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, for a while. CheckpointError where the disk refuses."""
    from safetensors import SafetensorError

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f'.{target.name}.') as scratch:
            work = Path(scratch) / 'checkpoint'
            work.mkdir()
            yield work
    except (OSError, SafetensorError) as error:
        reason, remedy = why_not_written(error)
        raise CheckpointError(target, f'cannot be written ({reason})', remedy) from error


def write_checkpoint(
    folder: Path,
    policy: PolicyConfig,
    contract: Contract,
    statistics: Mapping[str, Statistics],
    expert_weights: Mapping[str, torch.Tensor],
    pooling_weights: Mapping[str, torch.Tensor],
) -> str:
    """Write everything but vlm/ (there already if used), then the manifest; return the hash."""
    from safetensors.torch import save_file

    layout.check_contract_fits(folder / layout.POLICY, policy, contract)
    (folder / layout.POLICY).write_text(manifest.as_json(asdict(policy)))
    (folder / layout.CONTRACT).write_text(yaml.safe_dump(contract.to_dict(), sort_keys=False))
    save_normalization(folder / layout.NORMALIZATION, statistics)
    save_file(_plain(expert_weights), folder / layout.EXPERT)
    if pooling_weights:
        save_file(_plain(pooling_weights), folder / layout.POOLING)
    return manifest.write(folder)


def untrained_statistics(config: ExpertConfig) -> dict[str, Statistics]:
    """Plausible sizes for a policy that has seen no data yet."""

    def repeat(*parts: tuple[float, int]) -> np.ndarray:
        return np.concatenate([np.full(count, value) for value, count in parts])

    bins, half = config.channels - 1, config.dims // 2
    state = repeat((JOINT_STD, 6), (POSITION_STD, 3), (ROTATION_STD, config.state_width - 9))
    action = repeat((STEP_POSITION_STD_M, half), (STEP_ROTATION_STD_RAD, config.dims - half))
    return {
        'sensor': Statistics(
            'mean_std',
            repeat((FORCE[0], 1), (PROFILE[0], bins)),
            repeat((FORCE[1], 1), (PROFILE[1], bins)),
        ),
        'state': Statistics('mean_std', np.zeros_like(state), state),
        'action': Statistics('mean_std', np.zeros_like(action), action),
    }


def _choose(preset: str, head: str) -> Preset:
    for what, word, known in (('preset', preset, PRESETS), ('head', head, HEADS)):
        if word not in known:
            raise VlaError(
                f'{what} {word!r} is not known; expected {", ".join(known)}'
                f'{did_you_mean(word, known)}'
            )
    return PRESETS[preset]


def _policy(
    preset: Preset,
    contract: Contract,
    seed: int,
    head: HeadKind,
    backbone: BackboneConfig,
    pooling: PoolingConfig,
    width: int,
) -> PolicyConfig:
    expert = ExpertConfig(
        views=len(contract.views),
        tokens_per_view=pooling.tokens_per_view,
        feature_width=width,
        samples=contract.sensor.samples,
        channels=contract.sensor.channels,
        state_width=contract.state.width,
        steps=contract.action.steps,
        dims=contract.action.dims,
        head=head,
    )
    return PolicyConfig(
        layout.FORMAT,
        preset.name,
        __version__,
        contract.hash,
        seed,
        False,
        backbone,
        pooling,
        replace(expert, **preset.expert),
    )


def _place_backbone(
    folder: Path, preset: Preset, seed: int, source: str | None, copy: bool
) -> tuple[BackboneConfig, int]:
    """Put the backbone into `folder`, or note where it is; return that and the features' width."""
    source = source or preset.source
    if source is None:
        return BackboneConfig(), _build_backbone(folder, preset, seed)
    from vla_policy.backbones.qwen2_5_vl_load import read_config

    local = Path(source)
    if copy and not local.is_dir():
        raise CheckpointError(
            source,
            'only a local folder can be copied',
            'leave the copy option out, or download the model first',
        )
    width = read_config(source).text_config.hidden_size
    if copy:
        shutil.copytree(
            local, folder, ignore=shutil.ignore_patterns('.*', '*.bin', '*.pt', '*.pth')
        )
        return BackboneConfig(), width
    if not local.is_dir():
        return BackboneConfig(source=source), width
    files = {
        path.name: manifest.hash_file(path).sha256
        for path in sorted(local.iterdir())
        if path.suffix in ('.json', '.safetensors')
    }
    return BackboneConfig(source=str(local.resolve()), files=files), width


def _build_backbone(folder: Path, preset: Preset, seed: int) -> int:
    from vla_policy.backbones import qwen2_5_vl_build as build

    tokenizer = build.build_tokenizer()
    config = build.build_config(dict(preset.architecture), tokenizer)
    build.save(
        folder,
        build.random_model(config, seed),
        tokenizer,
        build.build_image_processor(preset.pixels, dict(preset.architecture)),
    )
    return config.text_config.hidden_size


def _random_modules(
    policy: PolicyConfig, width: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights of the expert and of the pooling, drawn from `seed`."""

    def weights(module: nn.Module) -> dict[str, torch.Tensor]:
        return dict(module.state_dict())

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expert = ActionExpert(policy.expert, untrained_statistics(policy.expert))
        return weights(expert), weights(build_pooling(policy.pooling, width))


def _plain(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in weights.items()}
