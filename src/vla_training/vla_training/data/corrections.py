"""Corrections on disk: what a policy met in closed loop, and what the demonstrator says to it.

`dagger` writes them, an episode at a time; `vla train` reads them beside recordings. A sample is
the expert's whole input as it was live, so nothing is drawn anew when it is used. Windows and
features, by far the most, are memory-mapped. Features belong to one encoder: a folder notes which,
and serves no other. Deliberately runs no policy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
import functools
import json
from pathlib import Path

import numpy as np
import torch

from vla_core.errors import VlaError
from vla_policy.expert.batch import ExpertBatch
from vla_training.cache.files import DAMAGED, replace_file
from vla_training.cache.identity import identity_of
from vla_training.data.batch import Batch, TRUTH
from vla_training.data.extraction import to_half

FORMAT = 1
_NOTE, _ROWS = 'corrections.json', '.npz'
_WHO, _HOW = 'demonstrator', 'collected'  # in the note
INPUTS = tuple(item.name for item in fields(ExpertBatch))
_LARGE = ('window', 'features')  # files of their own
_ARRAYS = (*(name for name in INPUTS if name not in _LARGE), 'actions', 'truth')
_AXES = {
    'window': 3, 'window_mask': 2, 'features': 3, 'state': 2, 'state_age_s': 1, 'image_age_s': 2,
    'view_motion': 3, 'feature_age_s': 1, 'actions': 3, 'truth': 2,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Correction:
    """One tick."""

    inputs: ExpertBatch  # of one sample
    actions: np.ndarray  # (H, 6) m and rad a step: what the demonstrator would have done
    truth: np.ndarray  # (TRUTH,) see Batch


def claim(folder: Path, checkpoint: Path, demonstrator: Mapping[str, object]) -> None:
    """Note whose features and answers the folder holds; VlaError where it holds others', or
    cannot be.

    demonstrator: his settings, as JSON takes them.
    """
    note, path = _note_of(checkpoint), folder / _NOTE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _write_note(path, {**note, _WHO: demonstrator})
    except OSError as error:
        reason = f'{error.strerror}: choose another folder'
        raise VlaError(f'{folder}: corrections cannot be written there ({reason})') from error
    if _check(folder, note).get(_WHO) != demonstrator:
        raise VlaError(
            f'{folder} holds the answers of a demonstrator with other settings: collect into '
            'another folder'
        )


def note_setting(folder: Path, setting: Mapping[str, object]) -> None:
    """Note how the folder's episodes are collected; VlaError where they were otherwise.

    The folder is claimed; one of before, which does not tell, is taken as it is.
    """
    there = json.loads((folder / _NOTE).read_text())
    before, now = there.get(_HOW), json.loads(json.dumps(setting))
    if before is None:
        if not _episodes(folder):
            _write_note(folder / _NOTE, {**there, _HOW: now})
        return
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differing:
        texts = [f'{name} was {before.get(name)}, is {now.get(name)}' for name in differing]
        raise VlaError(
            f'{folder} holds corrections collected otherwise ({"; ".join(texts)}): collect into '
            'another folder'
        )


def is_written(folder: Path, name: str) -> bool:
    """Whether the episode of that name is there: its rows are written last."""
    return (folder / f'{name}{_ROWS}').exists()


def write(folder: Path, name: str, rows: Sequence[Correction]) -> None:
    """Write an episode, whole or not at all; without a tick it is empty."""
    values: dict[str, np.ndarray] = {}
    for key in INPUTS:
        parts = [getattr(row.inputs, key).numpy() for row in rows]
        values[key] = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    values['actions'] = np.array([row.actions for row in rows], np.float32)
    values['truth'] = np.array([row.truth for row in rows], np.float32)
    for key in _LARGE:
        save = functools.partial(np.save, arr=to_half(values.pop(key)))
        replace_file(folder / f'{name}.{key}.npy', save)
    replace_file(folder / f'{name}{_ROWS}', lambda path: np.savez(path, **values))


def correction_files(folders: Sequence[Path], checkpoint: Path) -> list[Path]:
    """All episodes of the folders, by name. VlaError where the features are another encoder's."""
    note, found = _note_of(checkpoint), []
    for folder in folders:
        if not (folder / _NOTE).is_file():
            raise VlaError(f'{folder} holds no corrections; vla dagger makes them')
        _check(folder, note)
        found += _episodes(folder)
    return found


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
        stem = path.name[: -len(_ROWS)]
        for key in _LARGE:
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


def _note_of(checkpoint: Path) -> dict[str, object]:
    return {'format': FORMAT, 'encoder': identity_of(checkpoint, 'live').digest}


def _check(folder: Path, note: dict[str, object]) -> dict[str, object]:
    """What the folder notes; VlaError where it is another encoder's."""
    try:
        there = json.loads((folder / _NOTE).read_text())
    except (OSError, ValueError) as error:
        advice = 'corrections go into another folder'
        raise VlaError(f'{folder / _NOTE} cannot be read ({error}): {advice}') from error
    if not isinstance(there, dict) or {name: there.get(name) for name in note} != note:
        raise VlaError(
            f'{folder} holds features of another encoder: make corrections with this checkpoint '
            '(vla dagger), into another folder'
        )
    return there


def _episodes(folder: Path) -> list[Path]:
    """Rows of all whole episodes, by name."""
    return sorted(path for path in folder.glob(f'*{_ROWS}') if path.name[0] != '.')


def _write_note(path: Path, note: Mapping[str, object]) -> None:
    replace_file(path, lambda partial: partial.write_text(json.dumps(note, indent=1) + '\n'))
