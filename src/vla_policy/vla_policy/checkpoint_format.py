"""What a checkpoint is made of, and reading what it says of itself.

Layout of the folder: policy.json, contract.yaml, normalization.json, expert.safetensors,
pooling.safetensors (learned pooling only), vlm/ (a from_pretrained folder; absent where the
backbone is kept by reference), manifest.json. safetensors and JSON only, nothing is ever
unpickled. Whatever does not fit exactly is a CheckpointError. Used through
`vla_policy.checkpoint`; deliberately never loads weights.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
import json
from os import PathLike
from pathlib import Path
from typing import Any

from vla_core.config import from_dict
from vla_core.contract import Contract, load_contract
from vla_core.errors import VlaError
from vla_policy import manifest
from vla_policy.errors import CheckpointError
from vla_policy.expert.config import ExpertConfig
from vla_policy.pooling import PoolingConfig
from vla_policy.version import POLICY_FORMAT

POLICY, CONTRACT, NORMALIZATION = 'policy.json', 'contract.yaml', 'normalization.json'
EXPERT, POOLING, BACKBONE = 'expert.safetensors', 'pooling.safetensors', 'vlm'
FORMAT = POLICY_FORMAT


@dataclass(frozen=True)
class BackboneConfig:
    """Which backbone; `source` is None for the vlm/ folder inside, else a folder or hub name."""

    kind: str = 'qwen2_5_vl'
    source: str | None = None
    files: dict[str, str] = field(
        default_factory=dict
    )  # sha256 of a referenced local folder's files


@dataclass(frozen=True)
class PolicyConfig:
    """Content of policy.json."""

    format: int
    preset: str
    code_version: str
    contract_hash: str
    seed: int
    trained: bool
    backbone: BackboneConfig
    pooling: PoolingConfig
    expert: ExpertConfig


@dataclass(frozen=True)
class Manifest:
    """A checkpoint without its weights."""

    folder: Path
    checkpoint_hash: str
    files: Mapping[str, manifest.FileEntry]
    contract: Contract
    policy: PolicyConfig


def read_manifest(folder: str | PathLike[str], *, verify: bool = False) -> Manifest:
    """Read what a checkpoint says of itself; with `verify` hash every file."""
    path = Path(folder)
    digest, files = manifest.read(path)
    manifest.check_files(path, files, ('',) if verify else (POLICY, CONTRACT))
    policy = _read_policy(path / POLICY)
    contract = _read_contract(path / CONTRACT)
    if contract.hash != policy.contract_hash:
        raise CheckpointError(
            path / CONTRACT,
            f'has hash {contract.hash}, the policy was made for {policy.contract_hash}',
            manifest.REMEDY,
        )
    check_contract_fits(path / POLICY, policy, contract)
    return Manifest(path, digest, files, contract, policy)


def describe(folder: str | PathLike[str]) -> dict[str, Any]:
    """Plain data about a checkpoint for people and JSON; every file's hash is verified."""
    info = read_manifest(folder, verify=True)
    return {
        'folder': str(info.folder),
        'checkpoint_hash': info.checkpoint_hash,
        'contract': {
            'name': info.contract.name,
            'version': info.contract.version,
            'hash': info.contract.hash,
            'views': list(info.contract.view_names),
        },
        **{key: value for key, value in asdict(info.policy).items() if key != 'contract_hash'},
        'files': {name: entry.size for name, entry in info.files.items()},
    }


def check_contract_fits(path: Path, policy: PolicyConfig, contract: Contract) -> None:
    """Raise CheckpointError where the expert's shapes are not those of the contract."""
    expert = policy.expert
    for name, found, wanted in (
        ('views', expert.views, len(contract.views)),
        ('samples', expert.samples, contract.sensor.samples),
        ('channels', expert.channels, contract.sensor.channels),
        ('state_width', expert.state_width, contract.state.width),
        ('steps', expert.steps, contract.action.steps),
        ('dims', expert.dims, contract.action.dims),
        ('tokens_per_view', expert.tokens_per_view, policy.pooling.tokens_per_view),
    ):
        if found != wanted:
            raise CheckpointError(
                path,
                f'expert.{name} is {found}, its contract and pooling say {wanted}',
                manifest.REMEDY,
            )


def _read_policy(path: Path) -> PolicyConfig:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(path, f'cannot be read ({error})', manifest.REMEDY) from error
    version = data.get('format') if isinstance(data, dict) else None
    if version != FORMAT:
        raise CheckpointError(
            path,
            f'has format {version}, this code reads {FORMAT}',
            'use the version of the code that made it',
        )
    try:
        return from_dict(PolicyConfig, data, str(path))
    except VlaError as error:
        text = str(error).removeprefix(f'{path}: ')
        raise CheckpointError(path, text, 'use the version of the code that made it') from error


def _read_contract(path: Path) -> Contract:
    try:
        return load_contract(path)
    except VlaError as error:
        text = str(error).removeprefix(f'{path}: ')
        raise CheckpointError(path, text, manifest.REMEDY) from error
