"""Motions of the emulated Meca500: each moves the commanded joints on by one time step.

The controller runs one at a time. Position moves follow a path with a trapezoidal speed profile
and come to rest at its end (so `SetBlending` only stores its value); velocity moves go on until
their time is up. Acceleration is limited in joint space. Deliberately knows no commands, no units
of the wire and no errors but those of a path.
"""

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_core.arms import meca500 as kin
from vla_core.arms import meca500_links as links
from vla_sim.meca.codes import Code
from vla_sim.meca.frames import Frames, Pose, rotation_vector, turned

Array = NDArray[np.float64]

# The manual names no joint accelerations. Here 100 % reaches top speed in 0.3 s.
JOINT_MAX_RAD_S2 = kin.JOINT_MAX_RAD_S / 0.3
MARGIN_RAD = float(np.radians(0.05))  # a velocity move halts this far before a joint's limit
SINGULAR = 0.01  # least singular value of the Jacobian, at a lever of LEVER_M
LEVER_M = 0.1
STILL_RAD_S = 1e-9
NO_SPEED = np.zeros(6)
# Cartesian acceleration at 100 %.
CART_MAX_M_S2 = 5.0
CART_MAX_RAD_S2 = 50.0
_LOW, _HIGH = kin.JOINT_MIN_RAD.tolist(), kin.JOINT_MAX_RAD.tolist()
_SPEEDS, _ACCELERATIONS = kin.JOINT_MAX_RAD_S.tolist(), JOINT_MAX_RAD_S2.tolist()
_CLOSED_SAMPLES, _PATH_SAMPLES = 129, 49
_JUMP_RAD = 0.3  # between two samples of a line: the arm would have to flip


class MotionError(Exception):
    """A path cannot be followed; `code` says why."""

    def __init__(self, code: Code, text: str) -> None:
        self.code = code
        super().__init__(text)


@dataclass
class Arm:
    """The commanded joints, and the limits that every motion keeps."""

    joint_rad: Array
    joint_rad_s: Array
    speed_share: float = 1.0  # SetJointVelLimit
    acceleration_share: float = 1.5  # hardest deceleration, SetJointAcc at its maximum

    @property
    def at_rest(self) -> bool:
        """Whether nothing is commanded to move."""
        return max(map(abs, self.joint_rad_s.tolist())) <= STILL_RAD_S

    def drive(self, wanted_rad_s: Array, dt_s: float) -> None:
        """Move on by dt_s with joint speeds (6,) as near to `wanted_rad_s` as the limits allow.

        The direction of the wanted speeds is kept; a joint halts before its limit, and with it
        all of them. In plain floats: it runs at every physics step.
        """
        joint_rad, speeds = self.joint_rad.tolist(), self.joint_rad_s.tolist()
        wanted = wanted_rad_s.tolist()
        share = 1.0
        for want, most in zip(wanted, _SPEEDS):
            share = max(share, abs(want) / (self.speed_share * most))
        wanted = [want / share for want in wanted]
        reach = self._limit_share(wanted, joint_rad, dt_s)
        changes = [want * reach - now for want, now in zip(wanted, speeds)]
        slower, share_s = 1.0, self.acceleration_share * dt_s
        for change, most in zip(changes, _ACCELERATIONS):
            slower = max(slower, abs(change) / (share_s * most))
        speeds = [now + change / slower for now, change in zip(speeds, changes)]
        if reach == 0.0 and max(map(abs, speeds)) < 1e-6:
            speeds = [0.0] * 6
        self.joint_rad_s = np.array(speeds)
        self.joint_rad = np.array([
            min(max(now + speed * dt_s, low), high)
            for now, speed, low, high in zip(joint_rad, speeds, _LOW, _HIGH)
        ])  # fmt: skip

    def _limit_share(self, wanted: list[float], joint_rad: list[float], dt_s: float) -> float:
        """Share of the wanted speeds from which every joint can still stop before its limit."""
        share, hardest = 1.0, 2 * self.acceleration_share
        for want, now, low, high, most in zip(wanted, joint_rad, _LOW, _HIGH, _ACCELERATIONS):
            if abs(want) > STILL_RAD_S:
                room = max((high - now if want > 0 else now - low) - MARGIN_RAD, 0.0)
                fastest = min(math.sqrt(hardest * most * room), room / dt_s)
                share = min(share, fastest / abs(want))
        return share


class Motion(Protocol):
    """One entry of the motion queue that takes time."""

    def start(self, arm: Arm) -> None:
        """Begin from the arm at rest; MotionError if it cannot be done."""

    def tick(self, arm: Arm, dt_s: float, hold: bool) -> bool:
        """Move on by dt_s, or towards a halt if `hold`; True when done."""


class PathMove:
    """Follows joints(s), s from 0 to 1, with a trapezoidal profile in s.

    plan(arm): the path and its greatest speed (1/s) and acceleration (1/s2), or None when there
    is nothing to do.
    """

    Plan = tuple[Callable[[float], Array], float, float]

    def __init__(self, plan: 'Callable[[Arm], PathMove.Plan | None]') -> None:
        self._plan = plan
        self._s = self._speed = 0.0
        self._path: PathMove.Plan | None = None

    def start(self, arm: Arm) -> None:
        """Plan from where the arm is."""
        self._path = self._plan(arm)

    def tick(self, arm: Arm, dt_s: float, hold: bool) -> bool:
        """Move on along the path; a hold stops on it."""
        if self._path is None:
            return True
        joints, top, acceleration = self._path
        left = 1.0 - self._s
        fastest = 0.0 if hold else min(top, np.sqrt(2 * acceleration * left))
        slowest = self._speed - acceleration * dt_s
        self._speed = float(np.clip(fastest, slowest, self._speed + acceleration * dt_s))
        advance = min(max(self._speed, 0.0) * dt_s, left)
        if not hold and left - advance < 1e-9:
            advance = left
        if advance == 0.0:
            arm.joint_rad_s = np.zeros(6)
            return self._s >= 1.0
        target = joints(self._s + advance)
        limit = arm.speed_share * kin.JOINT_MAX_RAD_S * dt_s
        slower = float((np.abs(target - arm.joint_rad) / limit).max())
        if slower > 1.0:  # near a singularity: the joints set the pace
            advance /= slower
            self._speed /= slower
            target = joints(self._s + advance)
        self._s += advance
        arm.joint_rad_s = (target - arm.joint_rad) / dt_s
        arm.joint_rad = target
        if self._s >= 1.0:
            arm.joint_rad_s = np.zeros(6)
        return self._s >= 1.0


def joint_plan(
    target_of: Callable[[Arm], Array], speed_share: float, acceleration_share: float
) -> Callable[[Arm], PathMove.Plan | None]:
    """Plan of a straight line in joint space to target_of(arm) (6,) rad."""

    def plan(arm: Arm) -> PathMove.Plan | None:
        start, target = arm.joint_rad, target_of(arm)
        if not kin.within_limits(target, -1e-9):
            raise MotionError(Code.JOINT_OVER_LIMIT, _over_limit(target))
        change = target - start
        if np.abs(change).max() < 1e-9:
            return None
        speed = speed_share * kin.JOINT_MAX_RAD_S
        acceleration = acceleration_share * JOINT_MAX_RAD_S2
        with np.errstate(divide='ignore'):
            top = float((speed / np.abs(change)).min())
            rise = float((acceleration / np.abs(change)).min())
        return lambda s: start + s * change, top, rise

    return plan


def line_plan(
    target_of: Callable[[Arm], Pose],
    frames: Frames,
    linear_m_s: float,
    angular_rad_s: float,
    acceleration_share: float,
) -> Callable[[Arm], PathMove.Plan | None]:
    """Plan of a straight line of the tool to target_of(arm), a pose in the base frame."""

    def plan(arm: Arm) -> PathMove.Plan | None:
        begin, end = frames.tool_in_base(arm.joint_rad), target_of(arm)
        shift = end.position_m - begin.position_m
        turn = rotation_vector(end.rotation @ begin.rotation.T)
        length, angle = float(np.linalg.norm(shift)), float(np.linalg.norm(turn))
        if length < 1e-9 and angle < 1e-9:
            return None

        def pose_at(s: float) -> Pose:
            return Pose(begin.position_m + s * shift, turned(s * turn) @ begin.rotation)

        table = _closed_form(frames, pose_at, arm.joint_rad)
        if table is None:
            table = _followed(frames, pose_at, arm.joint_rad)
        joints = _between(table)
        top = min(linear_m_s / max(length, 1e-12), angular_rad_s / max(angle, 1e-12))
        rise = acceleration_share * min(
            CART_MAX_M_S2 / max(length, 1e-12), CART_MAX_RAD_S2 / max(angle, 1e-12)
        )
        return joints, top, rise

    return plan


def _closed_form(frames: Frames, pose_at: Callable[[float], Pose], start: Array) -> Array | None:
    """Joints (N, 6) along the line by the closed-form inverse, None where it does not serve.

    It knows one branch of the arm only, and stops at joint limits; `_followed` then says why.
    """
    to_flange = frames.trf.inverse()
    poses = [pose_at(s) @ to_flange for s in np.linspace(0.0, 1.0, _CLOSED_SAMPLES)]
    try:
        joints = kin.inverse(
            np.array([pose.position_m for pose in poses]),
            np.array([pose.rotation for pose in poses]),
            0.0,
        )
    except kin.UnreachableError:
        return None
    joints = np.unwrap(joints, axis=0)
    joints[:, 5] += 2 * np.pi * np.round((start[5] - joints[0, 5]) / (2 * np.pi))
    same_branch = np.abs(joints[0] - start).max() < 1e-6
    if not same_branch or not np.all(kin.within_limits(joints)):
        return None
    if np.abs(np.diff(joints, axis=0)).max() > _JUMP_RAD:
        raise MotionError(Code.SINGULARITY_ERR, 'Singularity on the path.')
    return joints


def _followed(frames: Frames, pose_at: Callable[[float], Pose], start: Array) -> Array:
    """Joints (N, 6) along the line by following it from `start`, on any branch."""
    joints = [start]
    for s in np.linspace(0.0, 1.0, _PATH_SAMPLES)[1:]:
        joints.append(solve(frames, pose_at(float(s)), joints[-1]))
        if not kin.within_limits(joints[-1], -1e-6):
            raise MotionError(Code.JOINT_OVER_LIMIT, _over_limit(joints[-1]))
    return np.array(joints)


def _between(table: Array) -> Callable[[float], Array]:
    """joints(s) by interpolation in a table of even steps; microns off the line."""
    last = len(table) - 2

    def joints(s: float) -> Array:
        place = s * (last + 1)
        row = min(int(place), last)
        value: Array = table[row] + (place - row) * (table[row + 1] - table[row])
        return value

    return joints


def solve(frames: Frames, pose: Pose, near: Array) -> Array:
    """Joints (6,) rad of a tool pose in the base frame, on the branch of `near`.

    Newton's method through the Jacobian; MotionError when it meets a singularity or finds none.
    """
    joint_rad = near
    for _ in range(30):
        now = frames.tool_in_base(joint_rad)
        error = np.concatenate([
            pose.position_m - now.position_m, rotation_vector(pose.rotation @ now.rotation.T)
        ])  # fmt: skip
        if np.abs(error).max() < 1e-10:
            return joint_rad
        step = twist_to_joints(frames, joint_rad, error)
        if step is None:
            raise MotionError(Code.SINGULARITY_ERR, 'Singularity on the path.')
        joint_rad = joint_rad + step / max(1.0, float(np.abs(step).max()) / 0.3)
    raise MotionError(Code.OUT_OF_REACH, 'Pose out of reach.')


def twist_to_joints(frames: Frames, joint_rad: Array, twist: Array) -> Array | None:
    """Joint speeds (6,) of a twist (6,) of the tool in the base frame; None where the arm is
    singular.
    """
    x, y, z = frames.trf.position_m.tolist()
    if x == y == 0.0:  # a needle: asked at every physics step, so in closed form
        a, b, c, d, e, f = twist.tolist()
        found = links.joint_speeds_of(
            links.links_of(joint_rad.tolist()), kin.FLANGE_M + z, (a, b, c), (d, e, f), LEVER_M
        )
        if found is not None and found.gain * SINGULAR * LEVER_M < 1.0:
            return np.array(found.joint_rad_s)
    jacobian = frames.jacobian(joint_rad)
    if _least_singular(jacobian) < SINGULAR * LEVER_M:
        return None
    return np.linalg.solve(jacobian, twist)


def _least_singular(jacobian: Array) -> float:
    scaled = np.concatenate([jacobian[:3], jacobian[3:] * LEVER_M])
    return float(np.linalg.svd(scaled, compute_uv=False)[-1])


def _over_limit(joint_rad: Array) -> str:
    outside = (joint_rad < kin.JOINT_MIN_RAD) | (joint_rad > kin.JOINT_MAX_RAD)
    joint = int(np.argmax(outside)) + 1
    return f'Joint {joint} would be at {np.degrees(joint_rad[joint - 1]):.3f} deg, over its limit.'


class VelocityMove:
    """Keeps a velocity until its time is up, then comes to rest.

    speeds(arm): joint speeds (6,) wanted now, None where the arm is singular: it then halts, as
    the manual says, without an error. seconds(): asked when it begins or is renewed.
    """

    def __init__(
        self, speeds: Callable[[Arm], Array | None], seconds: Callable[[], float]
    ) -> None:
        self._seconds, self._left_s = seconds, 0.0
        self._speeds = speeds

    def renew(self, speeds: Callable[[Arm], Array | None]) -> None:
        """Replace the velocity and start its time again."""
        self._speeds, self._left_s = speeds, self._seconds()

    def expire(self) -> None:
        """End now: something else is waiting."""
        self._left_s = 0.0

    def start(self, arm: Arm) -> None:
        """Begin: its time starts to run."""
        self._left_s = self._seconds()

    def tick(self, arm: Arm, dt_s: float, hold: bool) -> bool:
        """Move on; a hold ends it."""
        self._left_s = 0.0 if hold else self._left_s - dt_s
        wanted = self._speeds(arm) if self._left_s > -1e-9 and not hold else None
        arm.drive(NO_SPEED if wanted is None else wanted, dt_s)
        return self._left_s <= 1e-9 and arm.at_rest


class Delay:
    """Waits."""

    def __init__(self, seconds: float) -> None:
        self._left_s = seconds

    def start(self, arm: Arm) -> None:
        """Begin; nothing to plan."""

    def tick(self, arm: Arm, dt_s: float, hold: bool) -> bool:
        """Wait on, except while held."""
        self._left_s -= 0.0 if hold else dt_s
        return self._left_s <= 1e-9
