"""The emulated Meca500's real-time stream: what the monitoring port says each interval.

Targets are the commanded joints, the others the measured ones (of the simulated physics). Every
value carries the robot's time in microseconds since its power came on; a cycle ends with
RT_CYCLE_END. Deliberately without a schedule: the server asks.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vla_core.arms import meca500 as kin
from vla_sim.meca.codes import Code
from vla_sim.meca.controller import Controller
from vla_sim.meca.frames import values_of
from vla_sim.meca.protocol import message, numbers

Array = NDArray[np.float64]

NAMES = {
    'targetjointpos': Code.RT_TARGET_JOINT_POS,
    'targetcartpos': Code.RT_TARGET_CART_POS,
    'targetjointvel': Code.RT_TARGET_JOINT_VEL,
    'targetcartvel': Code.RT_TARGET_CART_VEL,
    'targetconf': Code.RT_TARGET_CONF,
    'targetconfturn': Code.RT_TARGET_CONF_TURN,
    'jointpos': Code.RT_JOINT_POS,
    'cartpos': Code.RT_CART_POS,
    'jointvel': Code.RT_JOINT_VEL,
    'cartvel': Code.RT_CART_VEL,
    'conf': Code.RT_CONF,
    'confturn': Code.RT_CONF_TURN,
    'wrf': Code.RT_WRF,
    'trf': Code.RT_TRF,
}


def configuration(joint_rad: Array) -> str:
    """Shoulder, elbow and wrist: 1 or -1 each."""
    wrist_centre = kin.forward(joint_rad, -kin.FLANGE_M)[0]
    ahead = np.cos(joint_rad[0]) * wrist_centre[0] + np.sin(joint_rad[0]) * wrist_centre[1]
    # The elbow is up while the forearm bends forward from the line through the elbow's offset.
    elbow = joint_rad[2] + np.arctan2(kin.FOREARM_M, kin.ELBOW_OFFSET_M)
    signs = [ahead >= 0, elbow >= 0, joint_rad[4] >= 0]
    return ','.join('1' if sign else '-1' for sign in signs)


def turn(joint_rad: Array) -> int:
    """Which turn joint 6 is in: 0 within half a turn of its zero."""
    return round(float(joint_rad[5]) / (2 * np.pi))


def chosen(names: Sequence[str]) -> set[Code]:
    """What SetRealTimeMonitoring asks for, by name or number; names not known here are ignored."""
    if any(name.lower() == 'all' for name in names):
        return set(NAMES.values())
    known = {str(int(code)): code for code in NAMES.values()} | NAMES
    return {known[name.lower()] for name in names if name.lower() in known}


def enabled(robot: Controller) -> str:
    """The numbers of the enabled values."""
    return ','.join(str(int(code)) for code in sorted(robot.monitoring))


def state_messages(robot: Controller) -> list[bytes]:
    """What a new monitoring client is told first."""
    return [
        message(Code.GET_STATUS_ROBOT, robot.status.text()),
        message(Code.GET_REAL_TIME_MONITORING, enabled(robot)),
        message(Code.ESTOP, robot.estop),
        message(Code.PSTOP2, robot.pstop2),
    ]


def cycle(robot: Controller) -> bytes:
    """All enabled values and the end of the cycle.

    Target joints and pose are in every cycle, without a stamp if they are not enabled.
    """
    parts = [message(code, value_text(robot, code)) for code in sorted(robot.monitoring)]
    if Code.RT_TARGET_JOINT_POS not in robot.monitoring:
        parts.append(message(Code.GET_JOINTS, numbers(np.degrees(robot.arm.joint_rad))))
    if Code.RT_TARGET_CART_POS not in robot.monitoring:
        pose = robot.settings.frames.tool_in_world(robot.arm.joint_rad)
        parts.append(message(Code.GET_POSE, numbers(values_of(pose))))
    return b''.join(parts) + message(Code.RT_CYCLE_END, _stamp(robot))


def value_text(robot: Controller, code: Code) -> str:
    """Text of one value: robot time (us), then the numbers."""
    return f'{_stamp(robot)},{_VALUES[code](robot)}'


def _stamp(robot: Controller) -> int:
    return round(robot.time_s * 1e6)


def _joint(joint_rad: Array) -> str:
    return numbers(np.degrees(joint_rad), 6)


def _pose(robot: Controller, joint_rad: Array) -> str:
    return numbers(values_of(robot.settings.frames.tool_in_world(joint_rad)), 6)


def _twist(robot: Controller, joint_rad: Array, joint_rad_s: Array) -> str:
    frames = robot.settings.frames
    twist = frames.jacobian(joint_rad) @ joint_rad_s
    to_world = frames.wrf.rotation.T
    return numbers([*(to_world @ twist[:3] * 1000), *np.degrees(to_world @ twist[3:])], 6)


_VALUES: dict[Code, Callable[[Controller], str]] = {
    Code.RT_TARGET_JOINT_POS: lambda r: _joint(r.arm.joint_rad),
    Code.RT_TARGET_CART_POS: lambda r: _pose(r, r.arm.joint_rad),
    Code.RT_TARGET_JOINT_VEL: lambda r: _joint(r.arm.joint_rad_s),
    Code.RT_TARGET_CART_VEL: lambda r: _twist(r, r.arm.joint_rad, r.arm.joint_rad_s),
    Code.RT_TARGET_CONF: lambda r: configuration(r.arm.joint_rad),
    Code.RT_TARGET_CONF_TURN: lambda r: str(turn(r.arm.joint_rad)),
    Code.RT_JOINT_POS: lambda r: _joint(r.measured_rad),
    Code.RT_CART_POS: lambda r: _pose(r, r.measured_rad),
    Code.RT_JOINT_VEL: lambda r: _joint(r.measured_rad_s),
    Code.RT_CART_VEL: lambda r: _twist(r, r.measured_rad, r.measured_rad_s),
    Code.RT_CONF: lambda r: configuration(r.measured_rad),
    Code.RT_CONF_TURN: lambda r: str(turn(r.measured_rad)),
    Code.RT_WRF: lambda r: numbers(values_of(r.settings.frames.wrf), 6),
    Code.RT_TRF: lambda r: numbers(values_of(r.settings.frames.trf), 6),
}
