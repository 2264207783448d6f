"""Commands of the motion queue: moves and the settings that moves use.

`commands` looks them up in MOVES and SETTINGS. An entry says how many numbers the command takes
and what it puts into the queue; ValueError means an argument out of range. Units are those of the
wire: mm, degrees, per cent.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vla_core.arms import meca500 as kin
from vla_sim.meca.codes import Code
from vla_sim.meca.controller import Controller
from vla_sim.meca.frames import Frames, Pose, pose_of
from vla_sim.meca.motions import (
    Arm,
    Delay,
    joint_plan,
    line_plan,
    MotionError,
    PathMove,
    twist_to_joints,
)  # fmt: skip

Array = NDArray[np.float64]
Values = tuple[float, ...]
Entry = tuple[tuple[int, ...], Callable[[Controller, Values], None]]

# The manual's ranges of the velocity commands.
MAX_MM_S = 1000.0
MAX_DEG_S = 300.0


def _queue(robot: Controller, make: Callable[[], PathMove]) -> None:
    """Queue a move that is made from the settings of its turn."""
    robot.last_motion_ns = robot.now_ns
    robot.enqueue(_Late(make))


class _Late:
    """A move that is made when it begins: settings queued before it then hold."""

    def __init__(self, make: Callable[[], PathMove]) -> None:
        self._make = make
        self._move: PathMove | None = None

    def start(self, arm: Arm) -> None:
        """Make the move and begin it."""
        self._move = self._make()
        self._move.start(arm)

    def tick(self, arm: Arm, dt_s: float, hold: bool) -> bool:
        """Move on."""
        return self._move is None or self._move.tick(arm, dt_s, hold)


def _joint_move(robot: Controller, target_of: Callable[[Arm], Array]) -> None:
    def make() -> PathMove:
        settings = robot.settings
        return PathMove(joint_plan(target_of, settings.joint_vel / 100, settings.joint_acc / 100))

    _queue(robot, make)


def _line_move(robot: Controller, target_of: Callable[[Arm, Frames], Pose]) -> None:
    def make() -> PathMove:
        settings = robot.settings
        frames = settings.frames
        return PathMove(
            line_plan(
                lambda arm: target_of(arm, frames), frames, settings.cart_lin_vel / 1000,
                float(np.radians(settings.cart_ang_vel)), settings.cart_acc / 100,
            )
        )  # fmt: skip

    _queue(robot, make)


def _move_joints(robot: Controller, values: Values) -> None:
    _joint_move(robot, lambda _: np.radians(values))


def _move_joints_rel(robot: Controller, values: Values) -> None:
    _joint_move(robot, lambda arm: arm.joint_rad + np.radians(values))


def _move_pose(robot: Controller, values: Values) -> None:
    def target(arm: Arm) -> Array:
        frames = robot.settings.frames
        flange = frames.wrf @ pose_of(values) @ frames.trf.inverse()
        try:
            joint_rad = kin.inverse(flange.position_m, flange.rotation, 0.0)
        except kin.UnreachableError as error:
            raise MotionError(Code.OUT_OF_REACH, str(error)) from error
        turns = joint_rad[5] + 2 * np.pi * np.arange(-1, 2)
        inside = turns[np.abs(turns) <= kin.JOINT_MAX_RAD[5]]
        joint_rad[5] = inside[np.argmin(np.abs(inside - arm.joint_rad[5]))]
        return joint_rad

    _joint_move(robot, target)


def _move_lin(robot: Controller, values: Values) -> None:
    _line_move(robot, lambda _, frames: frames.wrf @ pose_of(values))


def _move_lin_rel_trf(robot: Controller, values: Values) -> None:
    _line_move(robot, lambda arm, frames: frames.tool_in_base(arm.joint_rad) @ pose_of(values))


def _move_lin_rel_wrf(robot: Controller, values: Values) -> None:
    def target(arm: Arm, frames: Frames) -> Pose:
        now, change = frames.tool_in_world(arm.joint_rad), pose_of(values)
        return frames.wrf @ Pose(
            now.position_m + change.position_m, change.rotation @ now.rotation
        )

    _line_move(robot, target)


def _move_joints_vel(robot: Controller, values: Values) -> None:
    wanted = np.radians(values)
    if np.any(np.abs(wanted) > kin.JOINT_MAX_RAD_S * 1.5 + 1e-9):
        raise ValueError('joint speed out of range')
    _stamp(robot, wanted)
    robot.set_velocity(lambda _: wanted)


def _move_lin_vel_wrf(robot: Controller, values: Values) -> None:
    twist = _twist(robot, values)
    _move_twist(robot, lambda _, frames: frames.wrf.rotation, twist)


def _move_lin_vel_trf(robot: Controller, values: Values) -> None:
    twist = _twist(robot, values)
    _move_twist(robot, lambda arm, frames: frames.tool_in_base(arm.joint_rad).rotation, twist)


def _twist(robot: Controller, values: Values) -> Array:
    if max(np.abs(values[:3])) > MAX_MM_S or max(np.abs(values[3:])) > MAX_DEG_S:
        raise ValueError('velocity out of range')
    twist = np.concatenate([np.array(values[:3]) / 1000, np.radians(values[3:])])
    _stamp(robot, twist)
    return twist


def _move_twist(robot: Controller, frame_of: Callable[[Arm, Frames], Array], twist: Array) -> None:
    if not twist.any():
        robot.set_velocity(lambda _: np.zeros(6))
        return

    parts = twist.reshape(2, 3).T.copy()  # linear and angular in columns

    def speeds(arm: Arm) -> Array | None:
        frames = robot.settings.frames  # now, for one may still be on its way in the queue
        in_base = (frame_of(arm, frames) @ parts).T.ravel()
        return twist_to_joints(frames, arm.joint_rad, in_base)

    robot.set_velocity(speeds)


def _stamp(robot: Controller, velocity: Array) -> None:
    if velocity.any():
        robot.last_motion_ns = robot.now_ns
    else:
        robot.note_stop()


def _delay(robot: Controller, values: Values) -> None:
    if values[0] < 0:
        raise ValueError('negative delay')
    robot.enqueue(Delay(values[0]))


def _setting(name: str, low: float, high: float) -> Entry:
    def put(robot: Controller, values: Values) -> None:
        if not low <= values[0] <= high:
            raise ValueError('out of range')
        robot.enqueue(lambda: setattr(robot.settings, name, values[0]))

    return (1,), put


def _joint_vel_limit(robot: Controller, values: Values) -> None:
    if not 0.001 <= values[0] <= 100:
        raise ValueError('out of range')

    def put() -> None:
        robot.settings.joint_vel_limit = values[0]
        robot.arm.speed_share = values[0] / 100

    robot.enqueue(put)


def _frame(name: str) -> Entry:
    def put(robot: Controller, values: Values) -> None:
        def change() -> None:
            now = robot.settings.frames
            other = {'wrf': now.wrf, 'trf': now.trf, name: pose_of(values)}
            robot.settings.frames = Frames(other['wrf'], other['trf'])

        robot.enqueue(change)

    return (6,), put


MOVES: dict[str, Entry] = {
    'movejoints': ((6,), _move_joints),
    'movejointsrel': ((6,), _move_joints_rel),
    'movejointsvel': ((6,), _move_joints_vel),
    'movepose': ((6,), _move_pose),
    'movelin': ((6,), _move_lin),
    'movelinrelwrf': ((6,), _move_lin_rel_wrf),
    'movelinreltrf': ((6,), _move_lin_rel_trf),
    'movelinvelwrf': ((6,), _move_lin_vel_wrf),
    'movelinveltrf': ((6,), _move_lin_vel_trf),
    'delay': ((1,), _delay),
}
SETTINGS: dict[str, Entry] = {
    'setjointvel': _setting('joint_vel', 0.001, 100),
    'setjointacc': _setting('joint_acc', 0.001, 150),
    'setjointvellimit': ((1,), _joint_vel_limit),
    'setcartlinvel': _setting('cart_lin_vel', 0.001, 1000),
    'setcartangvel': _setting('cart_ang_vel', 0.001, 300),
    'setcartacc': _setting('cart_acc', 0.001, 600),
    'setblending': _setting('blending', 0, 100),
    'setveltimeout': _setting('vel_timeout', 0.001, 1.0),
    'setautoconf': _setting('auto_conf', 0, 1),
    'setautoconfturn': _setting('auto_conf_turn', 0, 1),
    'setwrf': _frame('wrf'),
    'settrf': _frame('trf'),
}
