"""The record of a run: JSON lines for programs, TensorBoard for people.

Used by the loop, in the first process only. A resumed run drops the lines after the step where it
goes on.
"""

import json
from pathlib import Path
import time
from typing import Any

import numpy as np

from vla_core.disk import replace_whole
from vla_training.train.state import writing

LOG = 'log.jsonl'


class RunLog:
    """`log.jsonl` and `tensorboard/` in a run's folder. One thread."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        """Go on after `step`."""
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder / LOG
        with writing(self._path):
            folder.mkdir(parents=True, exist_ok=True)
            kept = [entry for entry in read_log(folder) if entry['step'] <= step]
            text = ''.join(json.dumps(entry) + '\n' for entry in kept)
            replace_whole(self._path, lambda partial: partial.write_text(text))
            self._file = self._path.open('a')
            self._board = SummaryWriter(folder / 'tensorboard', purge_step=step + 1)

    def write(self, step: int, kind: str, numbers: dict[str, Any]) -> None:
        """Note `numbers` of a step under `kind` ('train', 'validation')."""
        with writing(self._path):
            self._file.write(json.dumps({'step': step, 'kind': kind, **numbers}) + '\n')
            self._file.flush()
            for name, value in numbers.items():
                self._board.add_scalar(f'{kind}/{name}', value, step)

    def close(self) -> None:
        """Write what is left."""
        with writing(self._path):
            self._file.close()
            self._board.close()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Entries of a run's log in order; a line cut off by a crash is left out."""
    path = folder / LOG
    if not path.exists():
        return []
    entries = []
    for line in path.read_text().splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


class Meter:
    """Means of what was learned since they were last taken."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._since_s = time.monotonic()

    def add(self, loss: float, norm: float) -> None:
        """Note the loss of a step and the length of its gradient."""
        self._losses.append(loss)
        self._norms.append(norm)

    def take(self, samples_a_step: int) -> dict[str, float]:
        """Return loss, gradient and samples a second since then, and begin anew."""
        now_s = time.monotonic()
        spent_s = max(now_s - self._since_s, 1e-9)
        numbers = {
            'loss': float(np.mean(self._losses)),
            'gradient': float(np.mean(self._norms)),
            'samples_s': len(self._losses) * samples_a_step / spent_s,
        }
        self._losses, self._norms, self._since_s = [], [], now_s
        return numbers
