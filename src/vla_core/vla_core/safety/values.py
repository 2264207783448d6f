"""What the safety gate is told and what it answers.

Deliberately no behaviour: `gate` judges. Everything is SI and in the base frame.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class GateState(StrEnum):
    """Whether commands may pass at all; the words are those of CommandStatus.gate."""

    DISABLED = 'disabled'  # at start; `enable` leads out
    ENABLED = 'enabled'
    STOPPED = 'stopped'  # a rule stopped the robot: `reset`, then `enable`
    EMERGENCY_STOP = 'emergency_stop'  # a person did: `reset`, then `enable`


class Result(IntEnum):
    """What became of a command; the numbers are those of vla_msgs/CommandStatus."""

    EXECUTED = 0
    LIMITED = 1
    HELD = 2
    STOPPED = 3
    REFUSED = 4
    RETRACTING = 5


@dataclass(frozen=True)
class Intervention:
    """Why a command was not passed as it was. `kind` is a slug to count by: 'force_limit'."""

    kind: str
    value: float = float('nan')  # what was measured or asked for
    limit: float = float('nan')  # the limit it met, in the same unit


@dataclass(frozen=True, eq=False)
class ArmState:
    """The newest state of the robot, as its driver knows it."""

    stamp_ns: int  # acquisition time
    joint_rad: Array  # (6,)
    position_m: Array  # (3,) of the tool centre point
    quat_xyzw: Array  # (4,)
    ready: bool = True  # activated, homed, not paused
    error: str = ''  # the robot's own error, emergency stop or loss of connection; '' when none


@dataclass(frozen=True, eq=False)
class GateOutput:
    """What may go to the robot now."""

    velocity: Array  # (6,) linear (m/s) and angular (rad/s)
    result: Result
    interventions: tuple[Intervention, ...] = ()
