"""Rendering the scenes of a folder, in processes of their own.

Called by the pipeline before training begins. A folder holds scenes of one kind, shard by shard;
what is there is never rendered again. Deliberately knows no training.
"""

from dataclasses import dataclass
import json
import multiprocessing
from pathlib import Path
from typing import Any

import torch

from vla_core.errors import VlaError
from vla_policy.checkpoint import Manifest
from vla_policy.geometry import Grid, image_grid
from vla_policy.trainable import TrainableEncoder
from vla_training.cache.files import replace_file
from vla_training.pretrain import scenes
from vla_training.pretrain.run import Report

_LOOK_S = 20.0
# Rendered at twice the pixels of the model, at least: live pictures are brought down as well.
_OVERSAMPLING = 2


@dataclass(frozen=True)
class RenderOptions:
    """How many picture sets, by how many processes (0: only what is there)."""

    sets: int = 30_000
    jobs: int = 1


def grid_for(info: Manifest, encoder: TrainableEncoder) -> Grid:
    """Return what the model of a checkpoint makes of the contract's pictures."""
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
