"""What a run needs to go on exactly where it was: weights, their average, optimiser, step.

safetensors and JSON, nothing is unpickled. A state appears whole or not at all, and the one before
goes only then. Random numbers need no state: they follow from seed and step (`sampling`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
import json
import os
from pathlib import Path
import shutil
from typing import Any

import torch
from torch import nn

from vla_core.disk import sync, why_not_written
from vla_core.errors import VlaError
from vla_training.train.average import Average
from vla_training.train.model import trained
from vla_training.train.sharing import gathered, held_as

_TENSORS, _NUMBERS, _PARTIAL = 'state.safetensors', 'state.json', '.partial-state'
_ADAM = ('step', 'exp_avg', 'exp_avg_sq')
FORMAT = 1


@dataclass(frozen=True)
class Progress:
    """Steps done, and the best validation loss so far (None: none yet)."""

    step: int = 0
    best: float | None = None


class RunState:
    """The states in a run's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Where the states are."""
        return self._folder

    @property
    def newest(self) -> Path | None:
        """The newest whole state."""
        found = sorted(self._folder.glob('state-*'))
        return found[-1] if found else None

    def save(
        self, progress: Progress, model: nn.Module, average: Average,
        optimizer: torch.optim.Optimizer, run: Mapping[str, Any], *, write: bool = True,
    ) -> None:  # fmt: skip
        """Write a state; `run` is what must be the same when it is resumed.

        All processes call it, for each may hold a part of the weights; one of them writes.
        """
        tensors = _tensors(model, average, optimizer)
        if not write:
            return
        target = self._folder / f'state-{progress.step:09d}'
        partial = self._folder / _PARTIAL
        with writing(target):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            write_tensors(partial / _TENSORS, tensors)
            numbers = {'format': FORMAT, 'step': progress.step, 'best': progress.best,
                       'torch': torch.__version__, 'run': dict(run)}  # fmt: skip
            (partial / _NUMBERS).write_text(json.dumps(numbers, indent=1, sort_keys=True))
            sync(partial / _NUMBERS)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(partial, target)
        for other in self._folder.glob('state-*'):
            if other != target:
                shutil.rmtree(other, ignore_errors=True)

    def load(
        self, model: nn.Module, average: Average, optimizer: torch.optim.Optimizer,
        run: Mapping[str, Any],
    ) -> Progress:  # fmt: skip
        """Take up the newest state. VlaError where there is none or it is of another run."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.newest
        if path is None:
            raise VlaError(f'{self._folder}: there is no run to resume; leave --resume out')
        try:
            numbers = _read_numbers(path / _NUMBERS)
            tensors = load_file(path / _TENSORS)
        except (OSError, ValueError, SafetensorError) as error:
            raise VlaError(
                f'{path}: cannot be read ({error}); train again: remove {self._folder}, or choose '
                'another folder'
            ) from error
        _check_run(path, numbers, run)
        _take(path, tensors, model, average, optimizer)
        return Progress(int(numbers['step']), numbers['best'])


class writing:  # noqa: N801 - reads as a statement
    """Turn what goes wrong while writing `target` into one line that says what to do."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from safetensors import SafetensorError

        if isinstance(error, OSError | SafetensorError):
            reason, remedy = why_not_written(error)
            raise VlaError(
                f'{self._target}: cannot be written ({reason}); {remedy}, then go on with '
                '--resume: what was saved before is whole'
            ) from error


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors and wait until they are on the disk."""
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)
    sync(path)


def _tensors(
    model: nn.Module, average: Average, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    tensors = {f'average/{name}': value for name, value in average.values.items()}
    for name, weight in trained(model):
        tensors[f'weights/{name}'] = weight
        for key in _ADAM:
            if key in optimizer.state.get(weight, {}):
                tensors[f'{key}/{name}'] = optimizer.state[weight][key]
    # A tensor that shares memory with another is not accepted.
    return {key: gathered(value.detach()).cpu().clone() for key, value in tensors.items()}


def _take(
    path: Path, tensors: Mapping[str, torch.Tensor], model: nn.Module, average: Average,
    optimizer: torch.optim.Optimizer,
) -> None:  # fmt: skip
    named = dict(trained(model))
    wanted = {f'{part}/{name}' for part in ('average', 'weights') for name in named}
    if missing := sorted(wanted - set(tensors)):
        raise VlaError(f'{path}: {len(missing)} weights are missing, such as {missing[0]}')
    with torch.no_grad():
        for name, weight in named.items():
            if tensors[f'weights/{name}'].shape != weight.shape:
                raise VlaError(f'{path}: {name} has another shape than the model')
            weight.copy_(held_as(weight, tensors[f'weights/{name}']))
    average.load(
        {name: held_as(weight, tensors[f'average/{name}']) for name, weight in named.items()}
    )
    for name, weight in named.items():
        held = {key: tensors[f'{key}/{name}'] for key in _ADAM if f'{key}/{name}' in tensors}
        if held:  # the count of steps stays on the CPU, as AdamW has it
            optimizer.state[weight] = {
                key: value.clone() if key == 'step' else held_as(weight, value).clone()
                for key, value in held.items()
            }


def _read_numbers(path: Path) -> dict[str, Any]:
    """Return what `save` wrote, or what has another format. ValueError where it is neither."""
    numbers = json.loads(path.read_text())
    if not isinstance(numbers, dict):
        raise ValueError(f'{path.name} is not what a run saves')
    kinds = {'step': int, 'best': int | float | None, 'run': dict}
    if numbers.get('format') == FORMAT:
        for key, kind in kinds.items():
            if key not in numbers or not isinstance(numbers[key], kind):
                raise ValueError(f'{path.name} holds no {key}')
    return numbers


def _check_run(path: Path, numbers: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    if numbers.get('format') != FORMAT:
        raise VlaError(f'{path}: of another version; train again')
    before, now = _flat(numbers['run']), _flat(json.loads(json.dumps(run)))
    differing = sorted(key for key in before | now if before.get(key) != now.get(key))
    if differing:
        texts = [_change(key, before, now) for key in differing[:3]]
        more = f' and {len(differing) - 3} more' if len(differing) > 3 else ''
        raise VlaError(
            f'{path}: this run cannot be resumed, it was another: {"; ".join(texts)}{more}'
        )


def _change(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if key in before and key in now:
        return f'{key} was {before[key]}, is {now[key]}'
    return f'{key} is {"gone" if key in before else "new"}'


def _flat(data: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            result |= _flat(value, f'{prefix}{key}.')
        else:
            result[f'{prefix}{key}'] = value
    return result
