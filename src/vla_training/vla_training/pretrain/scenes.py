"""Rendered random scenes with labels, in shards on disk: what nano's backbone learns to see from.

`vla pretrain` makes them, in several processes. A shard appears whole or not at all, so a killed
run goes on where it was. Pictures are rendered larger than the model sees them and brought down
by the model's own resizing, as live pictures are. Deliberately trains nothing.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from vla_core.contract import STATE_KEYS
from vla_core.errors import VlaError
from vla_policy.geometry import Grid
from vla_policy.preprocess import resize
from vla_sim import mjcf_lab
from vla_sim import scene as sc
from vla_sim.engine import mujoco
from vla_sim.renderer import LabRenderer
from vla_training.cache.files import DAMAGED, replace_file
from vla_training.pretrain.labels import KEYPOINTS, Labels, make_labels, POSE
from vla_training.pretrain.poses import draw_joints

SHARD = 200  # picture sets
POSES_A_SCENE = 2
# Times the cameras' usual jitter, scene by scene: who has seen cameras well off their places looks
# for needle and trocar in the same picture instead of trusting where a camera should be.
CAMERA_JITTER = (1.0, sc.WIDE_JITTER)
_VIEWS = len(mjcf_lab.VIEWS)
Shard = tuple[NDArray[np.uint8], dict[str, NDArray[np.float32]]]  # pictures and labels
_FIRST_SEED = 50_000_000  # far from those of demonstrations and evaluation


@dataclass(frozen=True)
class RenderSize:
    """Pixels that are rendered, and what they are brought down to."""

    width: int
    height: int
    grid: Grid


def kind(size: RenderSize) -> dict[str, Any]:
    """Return what scenes are like besides their number: scenes of another kind are not mixed."""
    lab = mjcf_lab.model_xml(size.width, size.height)
    return {
        'width': size.grid.width, 'height': size.grid.height, 'rendered_width': size.width,
        'rendered_height': size.height, 'sets_a_shard': SHARD,
        'lab': hashlib.sha256(lab.encode()).hexdigest()[:16],
        'ranges': asdict(sc.DEFAULT_RANGES), 'camera_jitter': CAMERA_JITTER,
    }  # fmt: skip


class SceneSource:
    """Renders picture sets one after another; single-threaded, GL stays in its thread."""

    def __init__(self, size: RenderSize) -> None:
        self._grid = size.grid
        self._model = mjcf_lab.compile_model(size.width, size.height)
        self._data = mujoco.MjData(self._model)
        self._applier = mjcf_lab.SceneApplier(self._model)
        self._renderer = LabRenderer(self._model, size.width, size.height)

    def sets(self, first: int, count: int) -> Iterator[tuple[NDArray[np.uint8], Labels]]:
        """Yield pictures (5, h, w, 3) uint8 and labels of sets `first` to `first + count`."""
        for number in range(first, first + count):
            seed = _FIRST_SEED + number // POSES_A_SCENE
            rng = np.random.default_rng([number, 0x9E7])
            jitter = CAMERA_JITTER[seed % len(CAMERA_JITTER)]
            scene = sc.draw_scene(seed, sc.DEFAULT_RANGES.jittered(jitter))
            self._applier.apply(self._data, scene)
            self._data.qpos[:] = draw_joints(scene, rng)
            mujoco.mj_kinematics(self._model, self._data)
            mujoco.mj_camlight(self._model, self._data)
            labels = make_labels(self._model, self._data, scene)
            yield self._pictures(int(rng.integers(1 << 30))), labels

    def _pictures(self, noise: int) -> NDArray[np.uint8]:
        views = [
            self._renderer.render(self._data, view, noise + index).copy()
            for index, view in enumerate(mjcf_lab.VIEWS)
        ]
        small = resize(torch.from_numpy(np.stack(views)), self._grid)
        return np.ascontiguousarray(small.permute(0, 2, 3, 1).numpy())

    def close(self) -> None:
        """Free the GL context."""
        self._renderer.close()


def write_shard(folder: Path, index: int, source: SceneSource) -> None:
    """Render shard `index` into `folder` unless it is there already."""
    if shard_ready(folder, index):
        return
    rows = list(source.sets(index * SHARD, SHARD))
    _write(folder / f'labels_{index:05d}.npz', [labels for _, labels in rows])
    pictures = np.stack([pictures for pictures, _ in rows])
    replace_file(image_path(folder, index), functools.partial(np.save, arr=pictures))


def shard_ready(folder: Path, index: int) -> bool:
    """Whether a shard is complete: its pictures are written last."""
    return image_path(folder, index).exists()


def image_path(folder: Path, index: int) -> Path:
    """File of a shard's pictures (SHARD, 5, h, w, 3) uint8."""
    return folder / f'images_{index:05d}.npy'


def read_shard(folder: Path, index: int) -> Shard:
    """Return a shard's pictures, memory-mapped, and labels; VlaError where it is damaged."""
    path = image_path(folder, index)
    try:
        images, labels = np.load(path, mmap_mode='r'), read_labels(folder, index)
        if images.dtype != np.uint8 or images.shape[:2] != (SHARD, _VIEWS):
            raise ValueError(f'pictures are {images.dtype} {images.shape}')
    except DAMAGED as error:
        raise VlaError(
            f'{path}: is damaged, or its labels are ({error}); remove it, and vla pretrain '
            'renders it again'
        ) from error
    return images, labels


def read_labels(folder: Path, index: int) -> dict[str, NDArray[np.float32]]:
    """Return state (SHARD, 12), pose (SHARD, 6), keypoints (SHARD, 5, KEYPOINTS, 2)."""
    wanted = {'state': (len(STATE_KEYS),), 'pose': (POSE,), 'keypoints': (_VIEWS, KEYPOINTS, 2)}
    with np.load(folder / f'labels_{index:05d}.npz', allow_pickle=False) as file:
        arrays = {name: file[name] for name in wanted}
    for name, shape in wanted.items():
        if arrays[name].shape != (SHARD, *shape):
            raise ValueError(f'{name} is {arrays[name].shape}')
    return arrays


def _write(path: Path, labels: list[Labels]) -> None:
    arrays = {
        name: np.stack([getattr(row, name) for row in labels])
        for name in ('state', 'pose', 'keypoints')
    }
    replace_file(path, lambda partial: np.savez(partial, **arrays))
