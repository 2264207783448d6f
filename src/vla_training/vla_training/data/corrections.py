"""Corrections on disk: what a policy met in closed loop, and what the demonstrator says to it.

`dagger` writes them, an episode at a time; `vla train` reads them beside recordings. A sample is
the expert's whole input as it was live, so nothing is drawn anew when it is used. Windows, by far
the most, are memory-mapped. Features belong to one encoder: a folder notes which, and serves no
other. Deliberately runs no policy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
import json
import os
from pathlib import Path

import numpy as np
import torch

from vla_core.errors import VlaError
from vla_policy.expert.batch import ExpertBatch
from vla_training.cache.identity import identity_of
from vla_training.data.dataset import Batch

FORMAT = 1
_NOTE, _WINDOW, _ROWS = 'corrections.json', '.window.npy', '.npz'
_FLOAT16_MAX = 65504.0
INPUTS = tuple(item.name for item in fields(ExpertBatch))
_ARRAYS = (*(name for name in INPUTS if name != 'window'), 'actions', 'truth')


@dataclass(frozen=True, eq=False)
class Correction:
    """One tick."""

    inputs: ExpertBatch  # of one sample
    actions: np.ndarray  # (H, 6) m and rad a step: what the demonstrator would have done
    truth: np.ndarray  # (TRUTH,) see Batch


def claim(folder: Path, checkpoint: Path) -> None:
    """Note whose features the folder holds; VlaError where it holds another encoder's."""
    folder.mkdir(parents=True, exist_ok=True)
    note, path = _note_of(checkpoint), folder / _NOTE
    if not path.exists():
        path.write_text(json.dumps(note, indent=1) + '\n')
    _check(folder, note)


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
    values['features'] = values['features'].astype(np.float16)
    window = values.pop('window').clip(-_FLOAT16_MAX, _FLOAT16_MAX).astype(np.float16)
    for suffix, save in (
        (_WINDOW, lambda file: np.save(file, window)),
        (_ROWS, lambda file: np.savez(file, **values)),
    ):
        partial = folder / f'.{name}{suffix}'
        with partial.open('wb') as file:
            save(file)
        os.replace(partial, folder / f'{name}{suffix}')


def correction_files(folders: Sequence[Path], checkpoint: Path) -> list[Path]:
    """All episodes of the folders, by name. VlaError where the features are another encoder's."""
    note, found = _note_of(checkpoint), []
    for folder in folders:
        if not (folder / _NOTE).is_file():
            raise VlaError(f'{folder} holds no corrections; vla dagger makes them')
        _check(folder, note)
        found += sorted(path for path in folder.glob(f'*{_ROWS}') if path.name[0] != '.')
    return found


class CorrectionDataset:
    """All ticks of the episodes. One thread."""

    def __init__(self, paths: Sequence[Path], *, sensor: bool = True) -> None:
        """`sensor` False: as if the sensor were absent. VlaError where there is no tick."""
        opened = [_open(path) for path in paths]
        self.paths = tuple(path for path, rows in zip(paths, opened) if rows)
        self._episodes = [rows for rows in opened if rows]
        if not self._episodes:
            raise VlaError('the corrections hold no tick to learn from')
        counts = [len(rows['actions']) for rows in self._episodes]
        self._episode_of = np.repeat(np.arange(len(counts)), counts)
        self._row_of = np.concatenate([np.arange(count) for count in counts])
        self._sensor = sensor

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def episode_of(self) -> np.ndarray:
        """Number (N,) of each sample's episode, as in `paths`."""
        return self._episode_of

    @property
    def names(self) -> list[set[str]]:
        """What priorities may call each episode: its folder."""
        return [{path.parent.name} for path in self.paths]

    def batch(self, indices: np.ndarray, rng: np.random.Generator) -> Batch:
        """Make a batch of samples `indices` (B,); there is nothing to draw."""
        places = [(self._episodes[self._episode_of[i]], self._row_of[i]) for i in indices]

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


def _open(path: Path) -> Mapping[str, np.ndarray]:
    """Arrays of an episode by name, {} without a tick."""
    try:
        with np.load(path, allow_pickle=False) as file:
            values = {name: file[name] for name in _ARRAYS}
        window = np.load(path.with_name(path.name[: -len(_ROWS)] + _WINDOW), mmap_mode='r')
    except (OSError, ValueError, KeyError) as error:
        advice = 'remove it and run vla dagger again'
        raise VlaError(f'{path} cannot be read ({error}): {advice}') from None
    return values | {'window': window} if len(values['actions']) else {}


def _note_of(checkpoint: Path) -> dict[str, object]:
    return {'format': FORMAT, 'encoder': identity_of(checkpoint, 'live').digest}


def _check(folder: Path, note: dict[str, object]) -> None:
    if json.loads((folder / _NOTE).read_text()) != note:
        raise VlaError(
            f'{folder} holds features of another encoder: make corrections with this checkpoint '
            '(vla dagger), into another folder'
        )
