"""What a rule of the gate answers, and the rules about ages.

Used by every module of the gate. Deliberately keeps no state.
"""

from enum import IntEnum
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_core.freshness import FUTURE_TOLERANCE_S
from vla_core.safety.values import Intervention
from vla_core.timebase import NS

Array = NDArray[np.float64]

NAN = float('nan')


class Grade(IntEnum):
    """How grave a finding is."""

    CLIP = 1
    HOLD = 2  # zero velocity as long as it stands
    STOP = 3  # zero velocity until reset and enable


class Finding(NamedTuple):
    """One rule's objection to a command."""

    grade: Grade
    what: Intervention


def hold(kind: str, value: float = NAN, limit: float = NAN) -> Finding:
    """A finding that holds the robot."""
    return Finding(Grade.HOLD, Intervention(kind, value, limit))


def stop(kind: str, value: float = NAN, limit: float = NAN) -> Finding:
    """A finding that stops the robot until reset and enable."""
    return Finding(Grade.STOP, Intervention(kind, value, limit))


def age_s(now_ns: int, stamp_ns: int | None) -> float | None:
    """Seconds since `stamp_ns`, None when there is none; negative for a stamp ahead of now."""
    return None if stamp_ns is None else (now_ns - stamp_ns) / NS


def judge_age(
    kind: str, age: float | None, hold_s: float, stop_s: float = float('inf')
) -> tuple[Finding, ...]:
    """Hold or stop by an age, s. None (nothing yet) and a stamp ahead of this clock hold."""
    if age is None:
        return (hold(kind, NAN, hold_s),)
    if age > stop_s:
        return (stop(kind, age, stop_s),)
    # Written so that NaN holds.
    if not -FUTURE_TOLERANCE_S <= age <= hold_s:
        return (hold(kind, age, hold_s),)
    return ()


def numbers(value: ArrayLike, shape: tuple[int, ...]) -> Array | None:
    """Finite float64 of exactly that shape, None when `value` is anything else."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    if array.shape != shape or not all(map(math.isfinite, array.ravel().tolist())):
        return None
    return array
