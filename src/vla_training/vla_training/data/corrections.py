"""Corrections on disk: what a policy met in closed loop, and what the demonstrator says to it.

`dagger` writes them, an episode at a time; corrected.py reads them. A sample is the expert's whole
input as it was live. Features belong to one encoder: a folder notes which, and serves no other.
Deliberately runs no policy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
import functools
import json
from pathlib import Path

import numpy as np

from vla_core.errors import VlaError
from vla_policy.expert.batch import ExpertBatch
from vla_training.cache.files import replace_file
from vla_training.cache.identity import identity_of
from vla_training.data.extraction import to_half

FORMAT = 1
_NOTE, ROWS = 'corrections.json', '.npz'
_WHO, _HOW = 'demonstrator', 'collected'  # in the note
INPUTS = tuple(item.name for item in fields(ExpertBatch))
LARGE = ('window', 'features')  # files of their own, beside the rows


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
    return (folder / f'{name}{ROWS}').exists()


def write(folder: Path, name: str, rows: Sequence[Correction]) -> None:
    """Write an episode, whole or not at all; without a tick it is empty."""
    values: dict[str, np.ndarray] = {}
    for key in INPUTS:
        parts = [getattr(row.inputs, key).numpy() for row in rows]
        values[key] = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    values['actions'] = np.array([row.actions for row in rows], np.float32)
    values['truth'] = np.array([row.truth for row in rows], np.float32)
    for key in LARGE:
        save = functools.partial(np.save, arr=to_half(values.pop(key)))
        replace_file(folder / f'{name}.{key}.npy', save)
    replace_file(folder / f'{name}{ROWS}', lambda path: np.savez(path, **values))


def correction_files(folders: Sequence[Path], checkpoint: Path) -> list[Path]:
    """All episodes of the folders, by name. VlaError where the features are another encoder's."""
    note, found = _note_of(checkpoint), []
    for folder in folders:
        if not (folder / _NOTE).is_file():
            raise VlaError(f'{folder} holds no corrections; vla dagger makes them')
        _check(folder, note)
        found += _episodes(folder)
    return found


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
    return sorted(path for path in folder.glob(f'*{ROWS}') if path.name[0] != '.')


def _write_note(path: Path, note: Mapping[str, object]) -> None:
    replace_file(path, lambda partial: partial.write_text(json.dumps(note, indent=1) + '\n'))
