"""Every limit of the safety gate, its range and the reason for its value.

The robot driver builds it from its parameters (`vla_core.config.from_dict`: the names map one to
one), the gate reads it. Deliberately no behaviour beyond validation and the comparison `loosened`.

Defaults are for a needle in an eye phantom: slower than the Meca500 by two orders of magnitude,
a little faster than the scripted expert's insertion (7 mm/s).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
import math
from typing import Any, Literal, NamedTuple


class Tighter(StrEnum):
    """Which way a limit may be moved while the robot is enabled."""

    LOWER = 'lower'
    HIGHER = 'higher'
    GRAVER = 'graver'  # hold -> stop, off -> on
    NEITHER = 'neither'


class Range(NamedTuple):
    """What a limit may be set to; `one_of` for texts, else inclusive numbers."""

    low: float | None
    high: float | None
    description: str
    tighter: Tighter
    one_of: tuple[str, ...] = ()


Action = Literal['hold', 'stop', 'retract']
ACTIONS = ('hold', 'stop', 'retract')
Vector = tuple[float, float, float]


def _limit(
    default: Any,
    low: float | None,
    high: float | None,
    tighter: Tighter,
    description: str,
    one_of: tuple[str, ...] = (),
) -> Any:
    return field(
        default=default, metadata={'range': Range(low, high, description, tighter, one_of)}
    )


@dataclass(frozen=True)
class SafetyLimits:
    """All limits, SI, base frame. ValueError names the key that is wrong and what is allowed."""

    base_frame: str = _limit(
        'base_link', None, None, Tighter.NEITHER, 'frame that chunks must be in'
    )
    chunk_steps: int = _limit(8, 1, 64, Tighter.NEITHER, 'steps that a chunk must have')
    step_period_s: float = _limit(
        0.1, 0.01, 1.0, Tighter.NEITHER, 'time between the steps of a chunk, s'
    )
    # Twice what the speed limit lets through in a step: more is no policy's intention but a fault.
    max_step_m: float = _limit(
        0.006, 1e-5, 0.05, Tighter.LOWER, 'a chunk with a longer step is refused, m'
    )
    max_step_rad: float = _limit(
        0.08, 1e-4, 0.5, Tighter.LOWER, 'a chunk with a larger turn in one step is refused, rad'
    )
    # The scripted expert approaches at up to 25 mm/s and inserts at 7 mm/s.
    max_speed_m_s: float = _limit(
        0.025, 1e-4, 0.25, Tighter.LOWER, 'speed of the needle tip; faster is slowed down, m/s'
    )
    max_turn_rad_s: float = _limit(
        0.35, 1e-3, 2.0, Tighter.LOWER, 'angular speed of the needle; faster is slowed down, rad/s'
    )
    # Full speed within 0.1 s. Braking is never limited.
    max_accel_m_s2: float = _limit(
        0.25, 1e-3, 5.0, Tighter.LOWER, 'acceleration of the needle tip; braking is free, m/s^2'
    )
    max_turn_accel_rad_s2: float = _limit(
        3.5, 1e-2, 50.0, Tighter.LOWER, 'angular acceleration; braking is free, rad/s^2'
    )
    # Around every trocar and start pose that the simulated lab draws. The floor is 6 mm under the
    # deepest tip of an insertion.
    box_min_m: Vector = _limit(
        (0.15, -0.08, 0.075), -1.0, 1.0, Tighter.HIGHER, 'lowest x, y, z of the needle tip, m'
    )
    box_max_m: Vector = _limit(
        (0.30, 0.08, 0.22), -1.0, 1.0, Tighter.LOWER, 'highest x, y, z of the needle tip, m'
    )
    # If commands cease, the robot goes on for its velocity time-out: no limit may be passed then.
    look_ahead_s: float = _limit(
        0.1, 0.01, 1.0, Tighter.HIGHER, 'a command must stay inside all limits for this long, s'
    )
    joint_margin_rad: float = _limit(
        0.035, 0.0, 0.5, Tighter.HIGHER, 'distance kept from the joint limits, rad'
    )
    # The lab's demonstrations used 1 %, the scripted expert 10 %.
    joint_speed_ratio: float = _limit(
        0.15, 0.005, 1.0, Tighter.LOWER, 'largest joint speed as a share of what the arm allows'
    )
    # About 4 degrees from the wrist's singularity; the lab's poses are above 0.018.
    min_singular_value: float = _limit(
        0.005, 1e-4, 0.1, Tighter.HIGHER, 'hold where the Jacobian comes this near to singular'
    )
    # Joints and pose of one state agree to far less; 5 mm is a wrong tool length.
    max_pose_error_m: float = _limit(
        0.005, 1e-4, 0.05, Tighter.LOWER, 'hold when joints and tool pose disagree by more, m'
    )
    # The robot follows within 0.1 s, 2.5 mm at full speed.
    max_tracking_error_m: float = _limit(
        0.006, 1e-3, 0.05, Tighter.LOWER, 'stop when the tip is this far from what was sent, m'
    )
    # A chunk is up to 0.13 s old when the next one comes. An expert that dies leaves the robot at
    # rest within 250 ms of its last chunk: this, a command period, and some 40 ms of braking.
    chunk_hold_s: float = _limit(
        0.18, 0.02, 2.0, Tighter.LOWER, 'hold when the chunk is older than this, s'
    )
    chunk_stop_s: float = _limit(
        2.0, 0.02, 30.0, Tighter.LOWER, 'stop when no chunk has come for this long, s'
    )
    sensor_required: bool = _limit(
        True, None, None, Tighter.GRAVER, 'whether the force sensor must be alive'
    )
    sensor_hold_s: float = _limit(
        0.1, 0.01, 2.0, Tighter.LOWER, 'hold when no new force has come for this long, s'
    )
    sensor_stop_s: float = _limit(
        2.0, 0.01, 30.0, Tighter.LOWER, 'stop when no new force has come for this long, s'
    )
    state_hold_s: float = _limit(
        0.1, 0.01, 1.0, Tighter.LOWER, 'hold when the robot state is older than this, s'
    )
    state_stop_s: float = _limit(
        2.0, 0.01, 30.0, Tighter.LOWER, 'stop when the robot state is older than this, s'
    )
    dead_man_required: bool = _limit(
        False, None, None, Tighter.GRAVER, 'whether a dead-man switch must be held down'
    )
    dead_man_hold_s: float = _limit(
        0.25, 0.02, 2.0, Tighter.LOWER, 'hold when the dead-man signal is older than this, s'
    )
    # Punctures of the phantom take 0.25 to 0.35 N; insertion forces in sclera are tenths of a N.
    max_force_n: float = _limit(1.0, 0.01, 20.0, Tighter.LOWER, 'force on the needle, N')
    # The lab's sensor reads about 1.0 when nothing touches the needle.
    force_zero_n: float = _limit(
        0.0, -20.0, 20.0, Tighter.NEITHER, 'what the sensor reads without contact, N: subtracted'
    )
    force_action: Action = _limit(
        'stop', None, None, Tighter.GRAVER, 'what a force above its limit does', ACTIONS
    )
    # The valve pressed at full speed rises by 9 N/s, anything hard by 40 N/s.
    max_force_slope_n_s: float = _limit(
        20.0, 0.1, 1000.0, Tighter.LOWER, 'rise of the force on the needle, N/s'
    )
    slope_window_s: float = _limit(
        0.02, 0.005, 0.2, Tighter.NEITHER, 'time over which the rise is measured, s'
    )
    slope_action: Action = _limit(
        'stop', None, None, Tighter.GRAVER, 'what a force that rises too fast does', ACTIONS
    )
    retract_speed_m_s: float = _limit(
        0.005, 1e-4, 0.05, Tighter.LOWER, 'speed of withdrawing along the needle, m/s'
    )
    retract_distance_m: float = _limit(
        0.01, 1e-4, 0.1, Tighter.LOWER, 'how far the needle is withdrawn, m'
    )
    retract_timeout_s: float = _limit(
        4.0, 0.1, 30.0, Tighter.LOWER, 'withdrawing ends after this time at the latest, s'
    )
    withdraw_distance_m: float = _limit(
        0.03, 1e-4, 0.1, Tighter.LOWER, 'how far an operator withdraws the needle, m'
    )
    withdraw_timeout_s: float = _limit(
        12.0, 0.1, 60.0, Tighter.LOWER, "an operator's withdrawal ends after this time, s"
    )

    def __post_init__(self) -> None:
        for name, allowed in RANGES.items():
            _check(name, getattr(self, name), allowed)
        for low, high in zip(self.box_min_m, self.box_max_m):
            if not low < high:
                raise ValueError(f'box_min_m {low:g} must be below box_max_m {high:g}')
        for what in ('chunk', 'sensor', 'state'):
            hold_s, stop_s = getattr(self, f'{what}_hold_s'), getattr(self, f'{what}_stop_s')
            if not hold_s <= stop_s:
                raise ValueError(f'{what}_stop_s {stop_s:g} must not be below {what}_hold_s')


RANGES: Mapping[str, Range] = {item.name: item.metadata['range'] for item in fields(SafetyLimits)}


def loosened(old: SafetyLimits, new: SafetyLimits) -> tuple[str, ...]:
    """Names of the limits that `new` makes looser, or changes where no way is the tighter one."""
    return tuple(
        name
        for name, allowed in RANGES.items()
        if _looser(getattr(old, name), getattr(new, name), allowed.tighter)
    )


def _looser(old: Any, new: Any, tighter: Tighter) -> bool:
    if old == new:
        return False
    if isinstance(old, tuple):
        return any(_looser(a, b, tighter) for a, b in zip(old, new))
    if tighter is Tighter.LOWER:
        return bool(new > old)
    if tighter is Tighter.HIGHER:
        return bool(new < old)
    # A withdrawal moves the robot, so a change to it or from it is nobody's tightening.
    return not (tighter is Tighter.GRAVER and (old, new) in (('hold', 'stop'), (False, True)))


def _check(name: str, value: Any, allowed: Range) -> None:
    if allowed.one_of and value not in allowed.one_of:
        raise ValueError(f'{name} = {value!r}: expected {" or ".join(allowed.one_of)}')
    if allowed.low is None or allowed.high is None:
        return
    for number in value if isinstance(value, tuple) else (value,):
        # Written so that NaN is outside.
        if not (math.isfinite(number) and allowed.low <= number <= allowed.high):
            raise ValueError(f'{name} = {value}: expected {allowed.low:g} to {allowed.high:g}')
