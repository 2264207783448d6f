"""One option of an evaluation over several values, and the table of what came out.

Called by `vla eval --sweep`. Deliberately runs nothing itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vla_core.errors import did_you_mean, VlaError
from vla_training.evaluation.evaluate import Evaluation
from vla_training.evaluation.options import EvaluationOptions, STREAMS

CHECKPOINT = 'checkpoint'  # one line a policy: heads, pooling, what was left out in training
_NUMBERS = ('vlm-delay-ms', 'vlm-hz', 'vl-reuse', 'camera-jitter')
_LOSSES = tuple(f'{stream}-loss' for stream in STREAMS)
_WORDS = ('task', 'images', 'sensor', 'executor')


@dataclass(frozen=True)
class Sweep:
    """`key` is the option's name without dashes in front; values as they were written."""

    key: str
    values: tuple[str, ...]

    @staticmethod
    def parse(text: str) -> 'Sweep':
        """`vlm-delay-ms=0,381,800`; VlaError names what is wrong."""
        key, _, rest = text.partition('=')
        known = (CHECKPOINT, *_NUMBERS, *_LOSSES, *_WORDS)
        if key not in known:
            raise VlaError(
                f'--sweep {key}: expected one of {", ".join(known)}{did_you_mean(key, known)}'
            )
        values = tuple(value for value in rest.split(',') if value)
        if not values:
            raise VlaError(f'--sweep {text}: expected values, such as {key}=A,B,C')
        return Sweep(key, values)

    @property
    def labels(self) -> tuple[str, ...]:
        """Values for a table: the end of a checkpoint's path that tells it from the others."""
        if self.key != CHECKPOINT or len(self.values) < 2:
            return self.values
        parts = [Path(value).parts for value in self.values]
        while len({part[-1:] for part in parts}) == 1 and len(parts[0]) > 1:
            parts = [part[:-1] for part in parts]
        return tuple(part[-1] if part else value for part, value in zip(parts, self.values))

    def options(self, base: EvaluationOptions) -> tuple[EvaluationOptions, ...]:
        """Return the options of each value; VlaError where one cannot be used."""
        try:
            return tuple(_applied(base, self.key, value) for value in self.values)
        except ValueError as error:
            raise VlaError(f'--sweep {self.key}: {error}') from error


def _applied(base: EvaluationOptions, key: str, value: str) -> EvaluationOptions:
    delays: dict[str, Any] = {}
    if key == CHECKPOINT:
        return base
    if key == 'vlm-delay-ms':
        delays['vlm_delay_s'] = float(value) / 1e3
    elif key == 'vlm-hz':
        delays['vlm_hz'] = float(value)
    elif key == 'vl-reuse':
        delays['vl_reuse'] = int(value)
    if delays:
        return replace(base, delays=replace(base.delays, **delays))
    if key in _LOSSES:
        loss = {key.removesuffix('-loss'): float(value)}
        return replace(base, loss=replace(base.loss, **loss))
    if key == 'camera-jitter':
        return replace(base, camera_jitter=float(value))
    return replace(base, **{key: value})


def table(sweep: Sweep, found: Sequence[Evaluation]) -> str:
    """One line a value: success with its interval, errors, ages."""
    names = sweep.labels
    width = max(14, *(len(name) for name in names))
    head = (
        f'{sweep.key:>{width}}  success                 entry p50 p90 mm   image age p50 s  '
        'most frequent failure'
    )
    rows = [_row(f'{name:>{width}}', one.to_dict()) for name, one in zip(names, found)]
    return '\n'.join([head, *rows])


def _row(name: str, data: dict[str, Any]) -> str:
    low, high = (100 * bound for bound in data['interval'])
    rate = f'{data["successes"]}/{data["episodes"]} ({low:.0f} to {high:.0f} %)'
    entry = ' '.join(_number(data['entry_error_mm'][q]) for q in ('p50', 'p90'))
    age = _number(data['image_age_s']['p50'])
    failed = [reason for reason in data['reasons'] if reason != 'success']
    return f'{name}  {rate:<23} {entry:<18} {age:<16} {failed[0] if failed else ""}'.rstrip()


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'
