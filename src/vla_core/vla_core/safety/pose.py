"""The robot's state as the gate uses it: checked, with its kinematics worked out once.

Made by `SafetyGate.observe_state` outside the gate's lock, for it costs more than a command.
Deliberately judges no ages and no limits.
"""

from dataclasses import dataclass
from functools import cached_property
import math

import numpy as np
from numpy.typing import NDArray

from vla_core.arms.base import Arm
from vla_core.safety.rules import numbers
from vla_core.safety.values import ArmState
from vla_core.spatial import length, rotate, subtract, Vector

Array = NDArray[np.float64]

UNIT_TOLERANCE = 0.01  # how far a quaternion's length may be from 1
LEVER_M = 0.1  # a tilt between the two poses counts like an offset of the tip at this distance
HARDLY = 1e-9  # a singular value below it: there is no inverse


@dataclass(frozen=True, eq=False)
class Pose:
    """Where the arm is, by its joints and by the pose it reports."""

    stamp_ns: int
    joint_rad: list[float]  # (6,)
    position_m: Vector  # as reported
    axis: Vector  # unit: the needle's direction, from the joints
    jacobian: Array  # (6, 6)
    error_m: float  # how far joints and reported pose disagree

    @cached_property
    def singular_value(self) -> float:
        """Smallest singular value of the Jacobian: 0 where the arm is singular. Costly."""
        return float(np.linalg.svd(self.jacobian, compute_uv=False)[-1])

    def is_singular(self, limit: float) -> bool:
        """Whether the smallest singular value is below `limit`."""
        return not self._inverted[1] >= limit and self.singular_value < limit

    @cached_property
    def inverse(self) -> Array:
        """Joint speeds per tool velocity (6, 6); zeros where the arm is singular."""
        return np.zeros((6, 6)) if self.is_singular(HARDLY) else self._inverted[0]

    @cached_property
    def _inverted(self) -> tuple[Array, float]:
        """The inverse, and one over its Frobenius norm: the smallest singular value is no less."""
        try:
            inverse = np.asarray(np.linalg.inv(self.jacobian), np.float64)
        except np.linalg.LinAlgError:
            return np.zeros((6, 6)), 0.0
        return inverse, 1.0 / math.sqrt(float(np.vdot(inverse, inverse)))


def pose_of(state: ArmState, arm: Arm) -> Pose | None:
    """Work out the kinematics of a state; None when its numbers cannot be those of an arm."""
    joint_rad = numbers(state.joint_rad, (6,))
    position_m = numbers(state.position_m, (3,))
    quat = numbers(state.quat_xyzw, (4,))
    if joint_rad is None or position_m is None or quat is None:
        return None
    x, y, z, w = quat.tolist()
    size = math.sqrt(x * x + y * y + z * z + w * w)
    if not abs(size - 1) < UNIT_TOLERANCE:
        return None
    # Beyond two turns it is no joint of any arm, and further on sines lose their meaning.
    if not max(map(abs, joint_rad.tolist())) <= 4 * math.pi:
        return None
    by_joints, rotation = arm.forward(joint_rad)
    axis, place = _vector(rotation[:, 2]), _vector(position_m)
    reported = rotate((x, y, z, w), (0.0, 0.0, 1.0))
    tilt = length(subtract(reported, axis))
    error_m = length(subtract(_vector(by_joints), place)) + LEVER_M * tilt
    jacobian = arm.jacobian(joint_rad)
    pose = Pose(state.stamp_ns, joint_rad.tolist(), place, axis, jacobian, error_m)
    _ = pose.inverse  # now, not in the command
    return pose


def _vector(array: Array) -> Vector:
    x, y, z = array.tolist()
    return x, y, z
