"""From parameters to a loaded half of the policy, with errors that say what to do.

Called by the nodes when they are configured. torch is imported here, late: a wrong parameter must
not cost its start-up time. Deliberately decides nothing about the model; vla_policy does.
"""

from dataclasses import dataclass
import os

from vla_core.contract import check_same, Contract, load_contract
from vla_core.errors import ConfigError
from vla_inference.engine.records import Encoder, Expert
from vla_inference.nodes.parameters import ExpertParameters, ModelParameters, VlmParameters


@dataclass(frozen=True)
class LoadedVlm:
    """The vision-language half."""

    encoder: Encoder
    contract: Contract
    checkpoint_hash: str
    device: str


@dataclass(frozen=True)
class LoadedExpert:
    """The action half."""

    expert: Expert
    contract: Contract
    checkpoint_hash: str
    device: str
    feature_shape: tuple[int, int]  # (T, D) of the features it takes, of all passes
    passes: int = 1  # of the encoder, whose features it takes


def load_vlm(parameters: VlmParameters) -> LoadedVlm:
    """Load the vision-language half. VlaError says what is wrong with parameters, checkpoint or
    contract.
    """
    contract, checkpoint_hash = _open(parameters)
    device = _device(parameters)
    from vla_policy.checkpoint import load_vlm as load

    verify, mode = parameters.verify_checkpoint, parameters.mode
    encoder = load(_folder(parameters), device, parameters.dtype, verify=verify, mode=mode)
    return LoadedVlm(encoder, contract, checkpoint_hash, device)


def load_expert(parameters: ExpertParameters) -> LoadedExpert:
    """Load the action half. VlaError as above; also when window or chunk length are not the
    contract's, or the head cannot do the chunk policy.
    """
    contract, checkpoint_hash = _open(parameters)
    for name, wanted in (
        ('sensor_window', contract.sensor.samples),
        ('chunk_steps', contract.action.steps),
    ):
        value = getattr(parameters, name)
        if value != wanted:
            source = f'contract {contract.name} ({contract.hash}) of the checkpoint'
            text = f'the {source} says {wanted}; set it to {wanted}'
            raise ConfigError('parameters of action_expert_node', name, value, text)
    device = _device(parameters)
    from vla_policy.checkpoint import load_expert as load

    expert = load(_folder(parameters), device)
    if parameters.chunk_policy == 'rtc' and not expert.takes_prefix:
        text = (
            f'the checkpoint has the {expert.config.head} head, real-time chunking needs the flow '
            "head; set it to 'independent' or use another checkpoint"
        )
        raise ConfigError('parameters of action_expert_node', 'chunk_policy', 'rtc', text)
    shape = (expert.config.feature_tokens, expert.config.feature_width)
    passes = expert.config.passes
    return LoadedExpert(expert, contract, checkpoint_hash, device, shape, passes)


def _open(parameters: ModelParameters) -> tuple[Contract, str]:
    if not parameters.checkpoint:
        raise ConfigError(
            'parameters',
            'checkpoint',
            '',
            'no checkpoint given; make one with `vla checkpoint create --preset nano --out DIR` '
            'and pass `--ros-args -p checkpoint:=DIR` (or `vla up --checkpoint DIR`)',
        )
    from vla_policy.checkpoint import read_manifest

    manifest = read_manifest(_folder(parameters))
    if parameters.contract:
        check_same(
            load_contract(parameters.contract),
            manifest.contract,
            parameters.contract,
            'of the checkpoint',
        )
    return manifest.contract, manifest.checkpoint_hash


def _folder(parameters: ModelParameters) -> str:
    return os.path.expanduser(parameters.checkpoint)


def _device(parameters: ModelParameters) -> str:
    """Set torch's threads and return the device's name."""
    import torch

    torch.set_num_threads(parameters.num_threads)
    name = parameters.device
    if name == 'auto':
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise ConfigError(
            'parameters', 'device', name, "expected 'auto', 'cpu', 'cuda' or 'cuda:N'"
        ) from error
    if kind == 'cuda' and not torch.cuda.is_available():
        raise ConfigError(
            'parameters', 'device', name, "torch sees no CUDA device; use 'cpu' or 'auto'"
        )
    return name
