"""From an untrained checkpoint to one whose backbone sees: render, train, write.

Called by `vla pretrain`. Rendering runs in processes of its own and is done before training
begins: what a step sees must not depend on how fast they are. Deliberately leaves the action head
untrained: demonstrations teach it.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
import shutil

import numpy as np
import torch

from vla_core.errors import VlaError
from vla_policy.checkpoint import (
    derive_checkpoint,
    load_expert,
    load_trainable,
    Manifest,
    read_manifest,
)
from vla_policy.checkpoint_format import NORMALIZATION
from vla_policy.checkpoint_load import choose_dtype
from vla_policy.expert.expert import ActionExpert
from vla_policy.normalization import load_normalization, Statistics
from vla_policy.trainable import TrainableEncoder
from vla_training.pretrain.batches import SceneBatches
from vla_training.pretrain.objective import SeeingModel
from vla_training.pretrain.rendering import claim, grid_for, render_all, render_size, RenderOptions
from vla_training.pretrain.run import Pretraining, PretrainOptions, Report
from vla_training.pretrain.sensing import SensingOptions, train_sensing, window_statistics
from vla_training.pretrain.trunk import train_trunk, TrunkOptions
from vla_training.train.state import RunState, writing

_LEAST_STD = 1e-3


def pretrain(
    source: Path,
    scene_folder: Path,
    target: Path,
    render: RenderOptions,
    options: PretrainOptions,
    trunk: TrunkOptions,
    sensing: SensingOptions,
    task: str,
    report: Report,
    *,
    resume: bool = False,
) -> str:
    """Train the backbone of checkpoint `source` on scenes; write `target`, return its hash.

    Scenes that are in `scene_folder` already are used, missing ones rendered. `resume` goes on
    at the last state beside `target`. Raises CheckpointError, and VlaError where the folder holds
    scenes of another size, `target` is there already, or a run that was not asked for.
    """
    state = RunState(target.with_name(f'{target.name}.state'))
    _check_target(target, state, resume)
    # A run is resumed on a machine that multiplies alike: what is kept is what auto came to.
    dtype = choose_dtype(options.dtype, torch.device('cpu'))
    options = replace(options, dtype=str(dtype).removeprefix('torch.'))
    info = read_manifest(source)
    encoder = load_trainable(source)
    batches = _scenes(scene_folder, info, encoder, render, options.held_back_shards, report)
    statistics = _statistics(info, batches, sensing.seed)
    expert = ActionExpert(info.policy.expert, statistics)
    expert.load_state_dict(load_expert(source).state_dict())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = SeeingModel(encoder, expert, dtype)
    written = ['']

    def save() -> None:
        with writing(target):
            written[0] = derive_checkpoint(
                source, target, expert, statistics, backbone=encoder.model,
                pooling=encoder.pooling.state_dict(), trained=False, overwrite=True,
            )  # fmt: skip

    run = {'checkpoint': info.checkpoint_hash, 'trunk': asdict(trunk), 'sensing': asdict(sensing)}
    training = Pretraining(model, batches, options, task, report, state)
    if resume:
        training.resume(run)
        report(f'{target}: goes on at step {training.step}')
    training.train(save, run)
    if trunk.steps:
        train_trunk(model, batches, trunk, task, report)
    if sensing.steps:
        train_sensing(expert, sensing, report)
    save()
    shutil.rmtree(state.folder, ignore_errors=True)
    return written[0]


def _check_target(target: Path, state: RunState, resume: bool) -> None:
    """VlaError where the run would overwrite another, or there is none to go on with."""
    if resume:
        if state.newest is None:
            raise VlaError(f'{target}: there is no run to resume; leave --resume out')
    elif state.newest is not None:
        raise VlaError(f'{target}: a run was ended here; go on with --resume, or choose another')
    elif target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise VlaError(f'{target}: already exists; choose another --out or remove it')


def _scenes(
    folder: Path, info: Manifest, encoder: TrainableEncoder, render: RenderOptions, held_back: int,
    report: Report,
) -> SceneBatches:  # fmt: skip
    """Return what is learned from, rendered where it is missing."""
    size = render_size(grid_for(info, encoder))
    claim(folder, size)
    render_all(folder, size, render, report)
    batches = SceneBatches(folder, held_back)
    if not batches.ready:
        raise VlaError(f'{folder} holds too few scenes to learn from: use a larger --sets')
    return batches


def _statistics(info: Manifest, batches: SceneBatches, seed: int) -> Mapping[str, Statistics]:
    """Those of the checkpoint, with the scenes' states and the simulated sensor's windows."""
    widths = ActionExpert.statistics_widths(info.policy.expert)
    statistics = dict(load_normalization(info.folder / NORMALIZATION, widths))
    states = batches.states()
    spread = np.maximum(states.std(0), _LEAST_STD)
    statistics['state'] = Statistics('mean_std', states.mean(0), spread)
    statistics['sensor'] = window_statistics(info.policy.expert.samples, seed)
    return statistics
