"""Training batches from corrections, as data set beside recordings.

Used by `vla train`. Nothing is drawn anew: a sample is the expert's whole input as it was live.
Windows and features, by far the most, are memory-mapped. What is damaged is named before training.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from vla_core.errors import VlaError
from vla_policy.expert.batch import ExpertBatch
from vla_training.cache.files import DAMAGED
from vla_training.data.batch import Batch, TRUTH
from vla_training.data.corrections import INPUTS, LARGE, ROWS

_ARRAYS = (*(name for name in INPUTS if name not in LARGE), 'actions', 'truth')
_AXES = {
    'window': 3, 'window_mask': 2, 'features': 3, 'state': 2, 'state_age_s': 1, 'image_age_s': 2,
    'view_motion': 3, 'feature_age_s': 1, 'actions': 3, 'truth': 2,
}  # fmt: skip


class CorrectionDataset:
    """All ticks of the episodes. One thread."""

    def __init__(
        self, paths: Sequence[Path], views: int, passes: int, *, sensor: bool = True
    ) -> None:
        """`passes` of `views` are used of those that were kept; VlaError where that is too many,
        or there is no tick. `sensor` False: as if it were absent.
        """
        opened = [_open(path, views, passes) for path in paths]
        self.paths = tuple(path for path, rows in zip(paths, opened) if rows)
        self._episodes = [rows for rows in opened if rows]
        if not self._episodes:
            raise VlaError('the corrections hold no tick to learn from')
        self._check_alike()
        counts = [len(rows['actions']) for rows in self._episodes]
        self.episode_of = np.repeat(np.arange(len(counts)), counts)
        self._row_of = np.concatenate([np.arange(count) for count in counts])
        self._sensor = sensor

    def __len__(self) -> int:
        return len(self._row_of)

    def _check_alike(self) -> None:
        """VlaError where a tick of one episode is not as large as those of the others."""
        for path, rows in zip(self.paths, self._episodes):
            for name, first in self._episodes[0].items():
                if rows[name].shape[1:] != first.shape[1:] or rows[name].dtype != first.dtype:
                    raise VlaError(
                        f'{path}: {name} is {rows[name].dtype} {rows[name].shape[1:]} a tick, in '
                        f'{self.paths[0]} {first.dtype} {first.shape[1:]}: remove the wrong one '
                        'and run vla dagger again'
                    )

    @property
    def names(self) -> list[set[str]]:
        """What priorities may call each episode: its folder."""
        return [{path.parent.name} for path in self.paths]

    def batch(self, indices: np.ndarray, rng: np.random.Generator) -> Batch:
        """Make a batch of samples `indices` (B,); there is nothing to draw."""
        places = [(self._episodes[self.episode_of[i]], self._row_of[i]) for i in indices]

        def rows(name: str) -> torch.Tensor:
            return torch.from_numpy(np.stack([episode[name][row] for episode, row in places]))

        given = {name: rows(name) for name in INPUTS}
        given['features'], given['window'] = given['features'].float(), given['window'].float()
        if not self._sensor:
            given['window_mask'] = torch.zeros_like(given['window_mask'])
        given['window'].masked_fill_(~given['window_mask'][..., None], 0.0)
        actions = rows('actions')
        mask = torch.ones(actions.shape[:2]).bool()
        return Batch(ExpertBatch(**given), actions, mask, rows('truth'))


def _check_rows(values: Mapping[str, np.ndarray], views: int) -> None:
    """ValueError where the arrays are not those of the same ticks, or of no ticks."""
    ticks = {array.shape[:1] for array in values.values()}
    if len(ticks) > 1:
        raise ValueError(f'its arrays are of {sorted(ticks)} ticks')
    if ticks == {(0,)}:
        return
    for name, axes in _AXES.items():
        if values[name].ndim != axes:
            raise ValueError(f'{name} is {values[name].shape}')
    kept = values['image_age_s'].shape[1]
    for name, right in (
        ('window_mask', values['window_mask'].shape == values['window'].shape[:2]),
        ('image_age_s', kept % views == 0),
        ('view_motion', values['view_motion'].shape[1] == kept),
        ('truth', values['truth'].shape[1] == TRUTH),
    ):
        if not right:
            raise ValueError(f'{name} is {values[name].shape}')


def _open(path: Path, views: int, passes: int) -> Mapping[str, np.ndarray]:
    """Arrays of an episode by name with so many passes, {} without a tick."""
    try:
        with np.load(path, allow_pickle=False) as file:
            values = {name: file[name] for name in _ARRAYS}
        stem = path.name[: -len(ROWS)]
        for key in LARGE:
            values[key] = np.load(path.with_name(f'{stem}.{key}.npy'), mmap_mode='r')
        _check_rows(values, views)
    except DAMAGED as error:
        advice = 'remove it and run vla dagger again'
        raise VlaError(f'{path} cannot be read ({error}): {advice}') from None
    if not len(values['actions']):
        return {}
    kept = values['image_age_s'].shape[1] // views
    if kept < passes:
        raise VlaError(
            f'{path} holds {kept} passes, {passes} are wanted: make others with vla dagger, or '
            'train with a smaller expert.passes'
        )
    for name in ('features', 'image_age_s', 'view_motion'):
        values[name] = values[name][:, : values[name].shape[1] * passes // kept]
    _check_finite(path, values)
    return values


def _check_finite(path: Path, values: Mapping[str, np.ndarray]) -> None:
    """Raise VlaError where a number is none that the expert takes; ages and motion may be."""
    real = {name: values[name] for name in ('features', 'state', 'actions')}
    real['window'] = values['window'][values['window_mask']]
    for name, numbers in real.items():
        if not np.isfinite(numbers).all():
            raise VlaError(
                f'{path}: {name} holds a number that is not finite: remove it and run vla dagger '
                'again'
            )
