"""Parameters of robot_driver: the device's, and one for every limit of the safety gate.

Read by robot_driver and command_node; values in launch/config/robot_driver.yaml. The limits are
declared from `vla_core.safety.limits`, so name, range and description are written down once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from typing import Any

from vla_core.errors import ConfigError
from vla_core.execution.executor import POLICIES
from vla_core.safety.limits import RANGES, SafetyLimits
from vla_ros.params import param

JOINTS = 6
WHERE = 'parameters of robot_driver'
# base_frame is the frame of everything this node says, declared once below.
LIMIT_NAMES = tuple(name for name in RANGES if name != 'base_frame')
# A command that is one period late must not make the robot stop and start.
LEAST_PERIODS = 3


@dataclass(frozen=True)
class DeviceParameters:
    """What is no limit."""

    device: str = param(
        'robot interface: mecademic is read and moved, legacy only tells its state',
        one_of=('legacy', 'mecademic'),
    )
    host: str = param('robot, or host that publishes its state: name or address')
    port: int = param('legacy: TCP port of the state', low=1, high=65535)
    control_port: int = param('mecademic: TCP port of the robot', low=1, high=65535)
    clock: str = param(
        'legacy: clock model of the robot host; a mecademic is always estimated',
        one_of=('trusted', 'estimated'),
    )
    base_frame: str = param('frame_id of poses and joint states, and the one chunks must be in')
    joint_names: list[str] = param('names of the 6 joints, base first')
    state_rate_hz: float = param('mecademic: rate of the state, Hz', low=10.0, high=500.0)
    command_rate_hz: float = param('mecademic: rate of the commands, Hz', low=20.0, high=250.0)
    tool_m: float = param(
        "needle tip's distance from the flange along its z axis, m", low=0.0, high=0.5
    )
    velocity_timeout_s: float = param(
        'the robot stops by itself when no command has come for this long, s', low=0.02, high=0.5
    )
    silence_s: float = param(
        'mecademic: the connection is given up when nothing was heard for this long, s',
        low=0.1,
        high=10.0,
    )
    activate_at_start: bool = param(
        'mecademic: recover (activate, home) once when the driver starts: the arm may move',
    )
    chunk_policy: str = param('how chunks are executed', one_of=POLICIES)
    ensemble_decay: float = param(
        'ensemble: weight exp(-decay i) of the i-th oldest chunk', low=0.0, high=100.0
    )
    realtime_priority: int = param(
        'SCHED_FIFO priority of the command thread, 0: do not ask', low=0, high=99
    )
    stale_s: float = param('no new state for this long is STALE, s', low=0.01, high=60.0)
    late_s: float = param(
        'a state older than this on arrival counts as late, s', low=0.0, high=60.0
    )
    rest_warn_s: float = param(
        'warn when the pose rests for this long, s; 0: never', low=0.0, high=86400.0
    )
    clock_warn_s: float = param('warn when the clocks differ by more, s', low=0.0, high=60.0)


def _limit_field(name: str) -> tuple[str, Any, Any]:
    allowed, default = RANGES[name], getattr(SafetyLimits(), name)
    kind = list[float] if isinstance(default, tuple) else type(default)
    declared = param(
        allowed.description, low=allowed.low, high=allowed.high, one_of=allowed.one_of
    )
    return name, kind, declared


Parameters = make_dataclass(
    'Parameters',
    [_limit_field(name) for name in LIMIT_NAMES],
    bases=(DeviceParameters,),
    frozen=True,
)
Parameters.__doc__ = 'Parameters; values in launch/config/robot_driver.yaml.'


def limits_of(values: Mapping[str, Any]) -> SafetyLimits:
    """Limits from parameter values by name, base_frame included; ConfigError with the key."""
    for name in ('box_min_m', 'box_max_m'):
        if len(values[name]) != 3:
            raise ConfigError(WHERE, name, values[name], 'expected three numbers: x, y, z')
    boxes = {name: tuple(values[name]) for name in ('box_min_m', 'box_max_m')}
    try:
        return SafetyLimits(**{**values, **boxes})
    except ValueError as error:
        raise ConfigError(WHERE, '', None, str(error)) from error


def check(params: Any) -> None:
    """ConfigError for values that do not fit each other."""
    if len(params.joint_names) != JOINTS:
        allowed = f'expected {JOINTS} names'
        raise ConfigError(WHERE, 'joint_names', params.joint_names, allowed)
    least_s = LEAST_PERIODS / params.command_rate_hz
    if params.velocity_timeout_s < least_s:
        allowed = f'expected at least {least_s:g}: {LEAST_PERIODS} periods of command_rate_hz'
        raise ConfigError(WHERE, 'velocity_timeout_s', params.velocity_timeout_s, allowed)
    if params.look_ahead_s < params.velocity_timeout_s:
        allowed = f'expected at least velocity_timeout_s, {params.velocity_timeout_s:g}'
        raise ConfigError(WHERE, 'look_ahead_s', params.look_ahead_s, allowed)
    limits_of({name: getattr(params, name) for name in ('base_frame', *LIMIT_NAMES)})
