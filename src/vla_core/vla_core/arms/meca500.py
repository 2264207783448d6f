"""Forward and inverse kinematics of the Mecademic Meca500, closed form, over batches.

The safety gate, the simulated arm, its controller's emulator and the scripted expert use it.
Deliberately knows no dynamics and no collisions; `inverse` returns only the branch the lab uses
(arm reaching forward, elbow up, wrist bent down: J5 >= 0), `jacobian` holds on every branch. A
single pose is computed in plain floats by `meca500_links`.

Dimensions and joint limits: Meca500 user manual (base to J2 135 mm, upper arm 135 mm, elbow offset
38 mm, forearm 120 mm, wrist to flange 70 mm). With all joints at zero the upper arm is upright,
the forearm level along +x, and the flange's z axis points along +x: position (190, 0, 308) mm,
Mecademic Euler angles (0, 90, 0) deg.
"""

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from vla_core.arms import meca500_links as links
from vla_core.errors import VlaError

BASE_HEIGHT_M = links.BASE_HEIGHT_M
UPPER_ARM_M = links.UPPER_ARM_M
ELBOW_OFFSET_M = links.ELBOW_OFFSET_M
FOREARM_M = links.FOREARM_M
FLANGE_M = links.FLANGE_M

JOINT_MIN_RAD = np.array([-3.0543, -1.2217, -2.3562, -2.9671, -2.0071, -6.2832])
JOINT_MAX_RAD = np.array([3.0543, 1.5708, 1.2217, 2.9671, 2.0071, 6.2832])
JOINT_MAX_RAD_S = np.array([2.618, 2.618, 3.1416, 5.236, 5.236, 8.7266])

# The needle is the tool: its tip is the tool centre point, this far from the flange along the
# flange's z.
TOOL_TIP_M = 0.095
NEEDLE_LENGTH_M = 0.050  # tip to back, legacy simulator

# Columns: the flange's axes in the frame of link 6 (x along the arm): x is down, y left, z out.
_FLANGE_FROM_LINK6 = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])

OUT_OF_REACH = 'pose out of reach of the arm: bring the target closer to the base'

Array = NDArray[np.float64]


class UnreachableError(VlaError):
    """A pose is outside the arm's reach or its joint limits."""


def rotation_x(angle_rad: Array) -> Array:
    """Rotation matrices (..., 3, 3) about x."""
    return _rotation(angle_rad, 1, 2)


def rotation_y(angle_rad: Array) -> Array:
    """Rotation matrices (..., 3, 3) about y."""
    return _rotation(angle_rad, 2, 0)


def rotation_z(angle_rad: Array) -> Array:
    """Rotation matrices (..., 3, 3) about z."""
    return _rotation(angle_rad, 0, 1)


def _rotation(angle_rad: Array, first: int, second: int) -> Array:
    angle_rad = np.asarray(angle_rad, dtype=np.float64)
    matrix = np.zeros((*angle_rad.shape, 3, 3))
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    axis = 3 - first - second
    matrix[..., axis, axis] = 1.0
    matrix[..., first, first] = matrix[..., second, second] = cos
    matrix[..., first, second] = -sin
    matrix[..., second, first] = sin
    return matrix


def forward(joint_rad: Array, tool_m: float = TOOL_TIP_M) -> tuple[Array, Array]:
    """Pose of the tool centre point in the base frame.

    joint_rad (..., 6) rad; tool_m: distance from the flange along its z axis (0 = the flange
    itself). Returns position (..., 3) m and rotation (..., 3, 3), z along the needle.
    """
    q = np.asarray(joint_rad, dtype=np.float64)
    if q.ndim == 1:
        return _forward_single(q, FLANGE_M + tool_m)
    shoulder = rotation_z(q[..., 0])
    upper = shoulder @ rotation_y(q[..., 1])
    fore = upper @ rotation_y(q[..., 2])
    wrist = fore @ rotation_x(q[..., 3]) @ rotation_y(q[..., 4]) @ rotation_x(q[..., 5])
    position = (
        np.array([0.0, 0.0, BASE_HEIGHT_M])
        + UPPER_ARM_M * upper[..., :, 2]
        + ELBOW_OFFSET_M * fore[..., :, 2]
        + FOREARM_M * fore[..., :, 0]
        + (FLANGE_M + tool_m) * wrist[..., :, 0]
    )
    return position, wrist @ _FLANGE_FROM_LINK6


def _forward_single(joint_rad: Array, reach_m: float) -> tuple[Array, Array]:
    joints = links.links_of(joint_rad.tolist())
    x, y, z = joints.wrist_x, joints.wrist_y, joints.wrist_z
    # The flange's axes: x along -z of link 6, z along its x.
    rotation = np.array((-z[0], y[0], x[0], -z[1], y[1], x[1], -z[2], y[2], x[2]))
    # No negative zeros, as after a product of matrices: with all joints at zero they would turn
    # the Euler angles by half a turn.
    return np.array(joints.tip_m(reach_m)), rotation.reshape(3, 3) + 0.0


def jacobian(joint_rad: Array, tool_m: float = TOOL_TIP_M) -> Array:
    """Geometric Jacobian (6, 6) of the tool centre point in the base frame.

    joint_rad (6,) rad. Rows 0-2: linear velocity (m/s), rows 3-5: angular velocity (rad/s), both
    in the base frame, per joint speed (rad/s). Singular where the arm is (J5 = 0 above all).
    """
    joints = links.links_of(np.asarray(joint_rad, dtype=np.float64).tolist())
    columns = links.jacobian_of(joints, FLANGE_M + tool_m)
    return np.array(columns).T


def inverse(position_m: Array, rotation: Array, tool_m: float = TOOL_TIP_M) -> Array:
    """Joint angles (..., 6) rad that put the tool centre point at a pose.

    position_m (..., 3) m and rotation (..., 3, 3) in the base frame. Raises UnreachableError when
    any pose of the batch is out of reach or outside the joint limits.
    """
    position_m = np.asarray(position_m, dtype=np.float64)
    rotation = np.asarray(rotation, dtype=np.float64)
    if position_m.ndim == 1 and rotation.ndim == 2:
        single = links.joints_of(position_m.tolist(), rotation.tolist(), FLANGE_M + tool_m)
        if single is None:
            raise UnreachableError(OUT_OF_REACH)
        q = np.array(single)
    else:
        q = _inverse_batch(position_m, rotation, tool_m)
    if not np.all(within_limits(q)):
        raise UnreachableError(
            'pose is outside the joint limits of the arm: move or turn the target'
        )
    return q


def _inverse_batch(position_m: Array, rotation: Array, tool_m: float) -> Array:
    wrist = position_m - (FLANGE_M + tool_m) * rotation[..., :, 2]
    q = np.empty((*position_m.shape[:-1], 6))
    q[..., 0] = np.arctan2(wrist[..., 1], wrist[..., 0])
    reach = np.hypot(wrist[..., 0], wrist[..., 1])
    height = wrist[..., 2] - BASE_HEIGHT_M
    cos_bend = (reach**2 + height**2 - UPPER_ARM_M**2 - links.FOREARM_REACH_M**2) / (
        2 * UPPER_ARM_M * links.FOREARM_REACH_M
    )
    if np.any(np.abs(cos_bend) > 1.0):
        raise UnreachableError(OUT_OF_REACH)
    bend = np.arccos(cos_bend)
    q[..., 1] = np.arctan2(reach, height) - np.arctan2(
        links.FOREARM_REACH_M * np.sin(bend), UPPER_ARM_M + links.FOREARM_REACH_M * np.cos(bend)
    )
    q[..., 2] = bend - links.FOREARM_ANGLE_RAD
    fore = rotation_z(q[..., 0]) @ rotation_y(q[..., 1] + q[..., 2])
    m = np.swapaxes(fore, -1, -2) @ rotation @ _FLANGE_FROM_LINK6.T
    q[..., 3] = np.arctan2(m[..., 1, 0], -m[..., 2, 0])
    q[..., 4] = np.arccos(np.clip(m[..., 0, 0], -1.0, 1.0))
    q[..., 5] = np.arctan2(m[..., 0, 1], m[..., 0, 2])
    return q


def within_limits(joint_rad: Array, margin_rad: float = 0.0) -> NDArray[np.bool_]:
    """Whether all joints of joint_rad (..., 6) are inside their limits: (...,) bool."""
    low, high = JOINT_MIN_RAD + margin_rad, JOINT_MAX_RAD - margin_rad
    inside: NDArray[np.bool_] = np.all((joint_rad >= low) & (joint_rad <= high), axis=-1)
    return inside


def euler_rad(rotation: Array) -> Array:
    """Mecademic Euler angles (..., 3) rad of rotation (..., 3, 3): mobile XYZ."""
    r = np.asarray(rotation)
    if r.ndim == 2:
        (r00, r01, r02), (_, _, r12), (_, _, r22) = r.tolist()
        beta = math.asin(min(max(r02, -1.0), 1.0))
        return np.array((math.atan2(-r12, r22), beta, math.atan2(-r01, r00)))
    return np.stack(
        [
            np.arctan2(-r[..., 1, 2], r[..., 2, 2]),
            np.arcsin(np.clip(r[..., 0, 2], -1.0, 1.0)),
            np.arctan2(-r[..., 0, 1], r[..., 0, 0]),
        ],
        axis=-1,
    )


def frame_along(direction: Array, level: float = 0.0) -> Array:
    """Rotation (..., 3, 3) with z along `direction` (..., 3) and x in the arm's plane.

    The needle is round, so its roll is free: this choice keeps J4 and J6 small for a needle that
    points forward and down. `level` (rad) turns the frame about the direction.
    """
    z = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    left = np.cross(np.array([0.0, 0.0, 1.0]), z)
    y = left / np.linalg.norm(left, axis=-1, keepdims=True)
    x = np.cross(y, z)
    frame = np.stack([x, y, z], axis=-1)
    return frame @ rotation_z(np.asarray(level)) if level else frame


@dataclass(frozen=True)
class Meca500:
    """The arm as the safety gate sees it (`vla_core.arms.base.Arm`).

    tool_m: tool centre point's distance from the flange along its z axis.
    """

    tool_m: float = TOOL_TIP_M

    @property
    def joint_min_rad(self) -> Array:
        """Lower joint limits (6,)."""
        return JOINT_MIN_RAD

    @property
    def joint_max_rad(self) -> Array:
        """Upper joint limits (6,)."""
        return JOINT_MAX_RAD

    @property
    def joint_max_rad_s(self) -> Array:
        """Largest joint speeds (6,)."""
        return JOINT_MAX_RAD_S

    def forward(self, joint_rad: Array) -> tuple[Array, Array]:
        """Position (3,) m and rotation (3, 3) of the tool centre point."""
        return forward(joint_rad, self.tool_m)

    def jacobian(self, joint_rad: Array) -> Array:
        """Geometric Jacobian (6, 6) of the tool centre point."""
        return jacobian(joint_rad, self.tool_m)
