"""Batches of rendered scenes, with the light changed a little.

Reads the shards that `scenes` writes. Memory-mapped: memory stays flat however many there are.
Deliberately knows no model.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch

from vla_training.pretrain import scenes
from vla_training.pretrain.labels import IMPORTANCE, TOOL_VIEW
from vla_training.pretrain.moved import move_each

LABELS = ('state', 'pose', 'keypoints')
_VALIDATION_BATCH = 40


class SceneBatches:
    """Random batches over all shards but the first few, which validate. One thread."""

    def __init__(self, folder: Path, held_back: int) -> None:
        """`held_back`: shards for validation."""
        self._folder, self._held_back = folder, held_back
        self._opened: dict[int, scenes.Shard] = {}
        self.shards = 0
        while scenes.shard_ready(self._folder, self.shards):
            self.shards += 1

    @property
    def ready(self) -> bool:
        """Whether there is something to learn from beside what validates."""
        return self.shards > self._held_back

    def states(self) -> NDArray[np.float32]:
        """All states (N, 12) there are."""
        return np.concatenate([self._shard(i)[1]['state'] for i in range(self.shards)])

    def draw(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        """Draw `count` random sets, relit, whose tool has moved on since.

        Images, state, pose, keypoints, motion (count, 6), age of the pictures (count,) s.
        """
        rows = [self._row(*self._anywhere(rng)) for _ in range(count)]
        images, states, poses, keypoints = zip(*rows)
        state, pose, motion, age_s = map(torch.from_numpy, move_each(states, poses, rng))
        images, keypoints = (torch.from_numpy(np.stack(part)) for part in (images, keypoints))
        return relight(images, rng), state, pose, keypoints, motion, age_s

    def draw_pictures(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        """Draw `count` random pictures of the tool camera and as many of the outer ones, relit.

        Images (count, 2, H, W, 3), keypoints (count, 2, KEYPOINTS, 2), views (count, 2) int64.
        """
        outer = np.delete(np.arange(len(IMPORTANCE)), TOOL_VIEW)
        views = np.stack([rng.choice(outer, count), np.full(count, TOOL_VIEW)], -1)
        rows = []
        for pair in views:
            number, row = self._anywhere(rng)
            images, labels = self._shard(number)
            rows.append((images[row][pair], labels['keypoints'][row][pair]))
        images, keypoints = (torch.from_numpy(np.stack(part)) for part in zip(*rows))
        return relight(images, rng), keypoints, torch.from_numpy(views)

    def validation(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """Batches of the shards held back, as they are: images, state, pose, keypoints."""
        for number in range(self._held_back):
            images, labels = self._shard(number)
            for start in range(0, scenes.SHARD, _VALIDATION_BATCH):
                part = slice(start, start + _VALIDATION_BATCH)
                arrays = (images, *(labels[name] for name in LABELS))
                yield tuple(torch.from_numpy(np.array(array[part])) for array in arrays)

    def in_order(self, count: int, seed: int) -> Iterator[tuple[torch.Tensor, ...]]:
        """Batches of the first `count` sets that do not validate, relit: images, state, pose."""
        for start in range(0, count, _VALIDATION_BATCH):
            number, row = divmod(start, scenes.SHARD)
            if self._held_back + number >= self.shards:
                return
            images, labels = self._shard(self._held_back + number)
            part = slice(row, row + _VALIDATION_BATCH)
            rng = np.random.default_rng([seed, 0x5EE, start])
            lit = relight(torch.from_numpy(np.array(images[part])), rng)
            yield lit, *(torch.from_numpy(labels[name][part]) for name in ('state', 'pose'))

    def _anywhere(self, rng: np.random.Generator) -> tuple[int, int]:
        """Shard and row of a random set that does not validate."""
        shard = int(rng.integers(self._held_back, self.shards))
        return shard, int(rng.integers(scenes.SHARD))

    def _shard(self, number: int) -> scenes.Shard:
        if number not in self._opened:
            self._opened[number] = scenes.read_shard(self._folder, number)
        return self._opened[number]

    def _row(self, number: int, row: int) -> tuple[NDArray, ...]:
        images, labels = self._shard(number)
        return np.array(images[row]), *(labels[name][row] for name in LABELS)


def relight(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Change gain, tint and offset of each picture of (B, V, H, W, 3) uint8."""
    shape = (*images.shape[:2], 1, 1, 1)

    def draw(low: float, high: float, colours: int = 1) -> torch.Tensor:
        values = rng.uniform(low, high, (*shape[:4], colours))
        return torch.from_numpy(values.astype(np.float32))

    gain = draw(0.85, 1.15) * draw(0.95, 1.05, 3)
    relit = images.float() * gain + draw(-10.0, 10.0)
    return relit.round_().clamp_(0, 255).to(torch.uint8)
