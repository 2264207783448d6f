"""From an untrained checkpoint to one whose backbone sees: render, train, write.

Called by `vla pretrain`. Rendering runs in processes of its own and is done before training
begins: what a step sees must not depend on how fast they are. Deliberately leaves the action head
untrained: demonstrations teach it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
import json
import multiprocessing
from pathlib import Path
import shutil
from typing import Any

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
from vla_policy.geometry import Grid, image_grid
from vla_policy.normalization import load_normalization, Statistics
from vla_policy.trainable import TrainableEncoder
from vla_training.cache.files import replace_file
from vla_training.pretrain import scenes
from vla_training.pretrain.batches import SceneBatches
from vla_training.pretrain.objective import SeeingModel
from vla_training.pretrain.run import Pretraining, PretrainOptions, Report
from vla_training.pretrain.sensing import SensingOptions, train_sensing, window_statistics
from vla_training.pretrain.trunk import train_trunk, TrunkOptions
from vla_training.train.state import RunState, writing

_LOOK_S = 20.0
_LEAST_STD = 1e-3
# Rendered at twice the pixels of the model, at least: live pictures are brought down as well.
_OVERSAMPLING = 2


@dataclass(frozen=True)
class RenderOptions:
    """How many picture sets, by how many processes (0: only what is there)."""

    sets: int = 30_000
    jobs: int = 1


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
    size = render_size(_grid(info, encoder))
    claim(scene_folder, size)
    render_all(scene_folder, size, render, report)
    batches = SceneBatches(scene_folder, options.held_back_shards)
    if not batches.ready:
        raise VlaError(f'{scene_folder} holds too few scenes to learn from: use a larger --sets')
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


def grid_of(source: Path) -> Grid:
    """Return what the model of checkpoint `source` makes of the contract's pictures."""
    return _grid(read_manifest(source), load_trainable(source))


def _grid(info: Manifest, encoder: TrainableEncoder) -> Grid:
    images = info.contract.images
    return image_grid((images.height, images.width), encoder.rules)


def render_size(grid: Grid) -> scenes.RenderSize:
    """Return how scenes are rendered for a model that sees `grid`."""
    return scenes.RenderSize(
        grid.width * _OVERSAMPLING, grid.width * _OVERSAMPLING * 9 // 16, grid
    )


def claim(folder: Path, size: scenes.RenderSize) -> None:
    """Note in the folder what its scenes are like; VlaError where it holds others."""
    note = json.dumps(scenes.kind(size))
    path = folder / 'scenes.json'
    if not path.exists():
        replace_file(path, lambda partial: partial.write_text(note + '\n'))
    try:
        there = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise VlaError(
            f'{path}: cannot be read ({error}); choose another --scenes folder or remove {folder}'
        ) from error
    if there != json.loads(note):
        raise VlaError(
            f'{folder} holds scenes of another kind ({json.dumps(there)}): '
            'choose another --scenes folder or remove it'
        )


def render_all(
    folder: Path, size: scenes.RenderSize, render: RenderOptions, report: Report
) -> None:
    """Render the shards that are missing. VlaError when that ends before they are there."""
    shards = -(-render.sets // scenes.SHARD)
    missing = [index for index in range(shards) if not scenes.shard_ready(folder, index)]
    if not missing or not render.jobs:
        return
    context = multiprocessing.get_context('spawn')
    problems = context.SimpleQueue()
    workers = [
        context.Process(
            target=_render, args=(folder, size, missing[job :: render.jobs], problems), daemon=True
        )
        for job in range(render.jobs)
    ]
    try:
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            workers[0].join(_LOOK_S)
            left = sum(not scenes.shard_ready(folder, index) for index in missing)
            report(f'scenes: {shards - left} of {shards} shards rendered')
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    if not problems.empty():
        raise problems.get()
    if any(not scenes.shard_ready(folder, index) for index in missing):
        raise VlaError(f'{folder}: rendering ended early; the same command goes on with it')


def _render(
    folder: Path, size: scenes.RenderSize, shards: list[int], problems: Any
) -> None:  # fmt: skip
    """Render shards; `problems`, a queue, takes what ends it."""
    torch.set_num_threads(1)
    try:
        source = scenes.SceneSource(size)
        for index in shards:
            scenes.write_shard(folder, index, source)
        source.close()
    except VlaError as error:
        problems.put(error)


def _statistics(info: Manifest, batches: SceneBatches, seed: int) -> Mapping[str, Statistics]:
    """Those of the checkpoint, with the scenes' states and the simulated sensor's windows."""
    widths = ActionExpert.statistics_widths(info.policy.expert)
    statistics = dict(load_normalization(info.folder / NORMALIZATION, widths))
    states = batches.states()
    spread = np.maximum(states.std(0), _LEAST_STD)
    statistics['state'] = Statistics('mean_std', states.mean(0), spread)
    statistics['sensor'] = window_statistics(info.policy.expert.samples, seed)
    return statistics
