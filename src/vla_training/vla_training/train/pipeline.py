"""From a configuration to a run: checkpoint, cache, data, model, loop.

Called by `vla train`, in each process of a distributed run. The first process fills the cache and
prepares episodes, the others wait for it. Deliberately does no learning itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
import json
from pathlib import Path

from accelerate import Accelerator
import torch

from vla_core.errors import VlaError
from vla_policy.checkpoint import (
    derive_checkpoint,
    load_expert,
    Manifest,
    read_manifest,
    recover_checkpoint,
)
from vla_policy.checkpoint_format import NORMALIZATION
from vla_policy.expert.expert import ActionExpert
from vla_policy.normalization import load_normalization, Statistics
from vla_training.data.weights import sample_weights
from vla_training.train.config import to_dict, TrainConfig
from vla_training.train.datasets import Datasets
from vla_training.train.identity import run_identity
from vla_training.train.launch import beside_others
from vla_training.train.log import RunLog
from vla_training.train.loop import Report, Run, Trainer
from vla_training.train.model import PolicyModel
from vla_training.train.sources import BASE, base_checkpoint, open_data
from vla_training.train.stages import build_encoder, saved_parts
from vla_training.train.state import RunState, writing
from vla_training.train.validation import Validation

CONFIG = 'config.json'
_AWAY = 'remove the folder, or choose another `out`'


@dataclass(frozen=True)
class Outcome:
    """Where the run ended."""

    finished: bool
    step: int
    best: float | None  # validation loss
    first: bool  # of the processes: the one that tells


@beside_others()
def train(
    config: TrainConfig, report: Report, *, resume: bool = False,
    accelerator: Accelerator | None = None,
) -> Outcome:  # fmt: skip
    """Train and write `best` and `last` checkpoints. VlaError for what a person can put right."""
    torch.set_num_threads(config.threads)
    accelerator = accelerator or make_accelerator(config)
    first = accelerator.is_main_process
    tell: Report = report if first else lambda text: None
    out = Path(config.out)
    if first:
        for name in ('best', 'last', BASE):
            recover_checkpoint(out / name)
    _check_folder(out, resume)
    with accelerator.main_process_first():
        base = base_checkpoint(config, out, write=first, resume=resume)
        info = read_manifest(base)
        config.expert.over(info.policy.expert)  # told before the cache is filled
        data = open_data(config, base, tell, fill=first)
    statistics = _statistics(config, info, data)
    model = build_model(config, info, statistics, accelerator.device)
    trainer = Trainer(_run(config, info, statistics, model, data, tell), accelerator)
    if resume:
        trainer.resume()
        tell(f'{out}: goes on at step {trainer.progress.step}')
    elif first:
        with writing(out / CONFIG):
            out.mkdir(parents=True, exist_ok=True)
            (out / CONFIG).write_text(json.dumps(to_dict(config), indent=1) + '\n')
    finished = trainer.train()
    return Outcome(finished, trainer.progress.step, trainer.progress.best, first)


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Return the processes and device of this run, from the environment of torchrun and others."""
    precision = 'bf16' if config.precision == 'bfloat16' else 'no'
    cpu = config.device == 'cpu' or not torch.cuda.is_available()
    return Accelerator(cpu=cpu, mixed_precision=precision)


def build_model(
    config: TrainConfig, info: Manifest, statistics: dict[str, Statistics], device: torch.device
) -> PolicyModel:
    """Make what is trained, its new weights drawn from the seed."""
    wanted = config.expert.over(info.policy.expert)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        expert = ActionExpert(wanted, statistics)
        if config.expert_weights:
            _take_weights(expert, info)
        encoder = build_encoder(config, info, device)
        return PolicyModel(expert, encoder, config.truth_weight)


# What may differ from the expert whose weights are taken: the trunk is the same without them.
_OF_HEADS = {'head', 'decoder_layers', 'flow_steps', 'diffusion_steps', 'ddim_steps'}
_OF_OTHERS = {'passes', 'use_age', 'use_view_motion', 'temperature'}  # the head is the same too


def _take_weights(expert: ActionExpert, info: Manifest) -> None:
    """Take the trunk of `info`, and its head if it is one of the same kind that has learned."""
    found = load_expert(info.folder)
    given = vars(found.config)
    differing = {key for key, value in vars(expert.config).items() if given[key] != value}
    if differing - _OF_HEADS - _OF_OTHERS:
        raise VlaError(
            f'{info.folder}: its expert differs in {", ".join(sorted(differing))}; leave '
            'expert_weights out, or these overrides'
        )
    trunk = found.trunk.state_dict()
    shared = min(len(found.trunk.turn), len(expert.trunk.turn))
    turn = expert.trunk.turn.detach().clone()
    turn[:shared] = found.trunk.turn[:shared]
    expert.trunk.load_state_dict(trunk | {'turn': turn})
    if info.policy.trained and not differing & _OF_HEADS:
        expert.head.load_state_dict(found.head.state_dict())


def _statistics(config: TrainConfig, info: Manifest, data: Datasets) -> dict[str, Statistics]:
    """Those of the training episodes; weights that are kept keep the ones they learned with.

    What pretraining taught knows states and the sensor, and no actions.
    """
    if not config.expert_weights:
        return data.train.statistics()
    widths = ActionExpert.statistics_widths(info.policy.expert)
    known = load_normalization(info.folder / NORMALIZATION, widths)
    return known if info.policy.trained else known | {'action': data.train.statistics()['action']}


def _run(
    config: TrainConfig, info: Manifest, statistics: dict[str, Statistics], model: PolicyModel,
    data: Datasets, report: Report,
) -> Run:  # fmt: skip
    out = Path(config.out)
    weights = sample_weights(data.train, config.data.priorities)
    validation = None
    if data.validation is not None:
        size = max(config.batch, 32) if config.stage == 'frozen' else config.batch
        validation = Validation(data.validation, config.validation_samples, size, config.seed)
    return Run(
        config, model, data.train, weights, validation, RunState(out),
        run_identity(config, info, data, weights),
        _saver(config, info.folder, statistics, model),
        lambda step: RunLog(out, step), report,
    )  # fmt: skip


def _saver(
    config: TrainConfig, base: Path, statistics: dict[str, Statistics], model: PolicyModel
) -> Callable[[str], None]:
    def save(name: str) -> None:
        target = Path(config.out) / name
        with writing(target):
            derive_checkpoint(  # the base was verified when the run began
                base, target, model.expert, statistics, overwrite=True, verify=False,
                **saved_parts(model),
            )  # fmt: skip

    return save


def _check_folder(out: Path, resume: bool) -> None:
    state, last = RunState(out).newest is not None, (out / 'last').exists()
    if resume and not state:
        advice = _AWAY if last else 'leave --resume out'
        raise VlaError(f'{out}: there is no run to resume; {advice}')
    if state and not resume:
        raise VlaError(
            f'{out}: holds a run; go on with --resume, choose another `out`, or remove it'
        )
    if last and not resume:
        raise VlaError(f'{out}: holds a run without a state to go on from; {_AWAY}')
