"""One option of an evaluation over several values, and the table of what came out.

Called by `vla eval --sweep`. Deliberately runs nothing itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vla_core.errors import did_you_mean, VlaError
from vla_training.evaluation.evaluate import Evaluation
from vla_training.evaluation.options import EvaluationOptions

_NUMBERS = ('vlm-delay-ms', 'vlm-hz', 'camera-jitter')
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
        known = (*_NUMBERS, *_WORDS)
        if key not in known:
            raise VlaError(
                f'--sweep {key}: expected one of {", ".join(known)}{did_you_mean(key, known)}'
            )
        values = tuple(value for value in rest.split(',') if value)
        if not values:
            raise VlaError(f'--sweep {text}: expected values, such as {key}=A,B,C')
        return Sweep(key, values)

    def options(self, base: EvaluationOptions) -> tuple[EvaluationOptions, ...]:
        """Return the options of each value; VlaError where one cannot be used."""
        try:
            return tuple(_applied(base, self.key, value) for value in self.values)
        except ValueError as error:
            raise VlaError(f'--sweep {self.key}: {error}') from error


def _applied(base: EvaluationOptions, key: str, value: str) -> EvaluationOptions:
    delays: dict[str, Any] = {}
    if key == 'vlm-delay-ms':
        delays['vlm_delay_s'] = float(value) / 1e3
    elif key == 'vlm-hz':
        delays['vlm_hz'] = float(value)
    if delays:
        return replace(base, delays=replace(base.delays, **delays))
    if key == 'camera-jitter':
        return replace(base, camera_jitter=float(value))
    return replace(base, **{key: value})


def table(sweep: Sweep, found: Sequence[Evaluation]) -> str:
    """One line a value: success with its interval, errors, ages."""
    head = f'{sweep.key:>14}  success            entry p50 p90 mm   image age p50 s  first reason'
    return '\n'.join([head, *(_row(v, e.to_dict()) for v, e in zip(sweep.values, found))])


def _row(value: str, data: dict[str, Any]) -> str:
    low, high = (100 * bound for bound in data['interval'])
    rate = f'{data["successes"]}/{data["episodes"]} ({low:.0f} to {high:.0f} %)'
    entry = ' '.join(_number(data['entry_error_mm'][q]) for q in ('p50', 'p90'))
    age = _number(data['image_age_s']['p50'])
    failed = [reason for reason in data['reasons'] if reason != 'success']
    return f'{value:>14}  {rate:<18} {entry:<18} {age:<16} {failed[0] if failed else ""}'.rstrip()


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'
