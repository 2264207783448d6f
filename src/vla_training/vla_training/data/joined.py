"""Recordings and corrections as one data set.

Made by `vla train` where both are given. Samples of the recordings come first. Deliberately
computes nothing of its own.
"""

from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from vla_core.errors import VlaError
from vla_policy.expert.batch import ExpertBatch
from vla_policy.normalization import Statistics
from vla_training.data.batch import Batch
from vla_training.data.corrected import CorrectionDataset
from vla_training.data.dataset import EpisodeDataset


class JoinedDataset:
    """Samples of both. One thread."""

    def __init__(self, recordings: EpisodeDataset, corrections: CorrectionDataset) -> None:
        """VlaError where their samples are not of the same size."""
        self._recordings, self._corrections = recordings, corrections
        one, other = (
            data.batch(np.zeros(1, np.int64), np.random.default_rng(0))
            for data in (recordings, corrections)
        )
        _check_alike(one, other)

    def __len__(self) -> int:
        return len(self._recordings) + len(self._corrections)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of all episodes."""
        return (*self._recordings.paths, *self._corrections.paths)

    @property
    def names(self) -> list[set[str]]:
        """See `EpisodeDataset.names`."""
        return [*self._recordings.names, *self._corrections.names]

    @property
    def episode_of(self) -> np.ndarray:
        """Number (N,) of each sample's episode, as in `paths`."""
        before = len(self._recordings.paths)
        return np.concatenate([self._recordings.episode_of, before + self._corrections.episode_of])

    def statistics(self) -> dict[str, Statistics]:
        """Those of the recordings: corrections hold what is rare on purpose."""
        return self._recordings.statistics()

    def batch(self, indices: np.ndarray, rng: np.random.Generator) -> Batch:
        """Make a batch of samples `indices` (B,), in their order; see `EpisodeDataset.batch`."""
        indices, before = np.asarray(indices, np.int64), len(self._recordings)
        recorded = indices < before
        parts = []
        if recorded.any():
            parts.append(self._recordings.batch(indices[recorded], rng))
        if not recorded.all():
            parts.append(self._corrections.batch(indices[~recorded] - before, rng))
        if len(parts) == 1:
            return parts[0]
        order = np.argsort(np.argsort(~recorded, kind='stable'))
        return _in_order(parts, torch.from_numpy(order))


def _check_alike(one: Batch, other: Batch) -> None:
    pairs = {'actions': (one.actions, other.actions)} | {
        item.name: (getattr(one.inputs, item.name), getattr(other.inputs, item.name))
        for item in fields(ExpertBatch)
    }
    for name, (mine, theirs) in pairs.items():
        if mine.shape != theirs.shape:
            raise VlaError(
                f'corrections do not fit the recordings: {name} is {tuple(theirs.shape[1:])} a '
                f'tick, there {tuple(mine.shape[1:])}; make others with vla dagger and this '
                'checkpoint'
            )


def _in_order(parts: list[Batch], order: torch.Tensor) -> Batch:
    whole = ExpertBatch.stack([part.inputs for part in parts])
    names = (item.name for item in fields(ExpertBatch))
    inputs = ExpertBatch(**{name: getattr(whole, name)[order] for name in names})
    actions, mask, truth = (
        torch.cat([getattr(part, name) for part in parts])[order]
        for name in ('actions', 'mask', 'truth')
    )
    return Batch(inputs, actions, mask, truth)
