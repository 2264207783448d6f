"""Poses of the emulated Meca500: its own units, world and tool frames, Euler angles.

The controller uses it: millimetres, degrees and Mecademic Euler angles on the wire become metres
and rotation matrices here. The world frame (WRF) is given in the base frame, the tool frame (TRF)
in the flange's. Deliberately no motion.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vla_core.arms import meca500 as kin
from vla_core.rotation import rotate, rotvec_to_quat

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pose:
    """A frame in another: position (3,) m and rotation (3, 3)."""

    position_m: Array = field(default_factory=lambda: np.zeros(3))
    rotation: Array = field(default_factory=lambda: np.eye(3))

    def __matmul__(self, inner: 'Pose') -> 'Pose':
        return Pose(
            self.position_m + self.rotation @ inner.position_m, self.rotation @ inner.rotation
        )

    def inverse(self) -> 'Pose':
        """The other frame in this one."""
        return Pose(-self.rotation.T @ self.position_m, self.rotation.T)


def pose_of(values: tuple[float, ...]) -> Pose:
    """Read x, y, z (mm), alpha, beta, gamma (deg, mobile XYZ)."""
    a, b, c = np.radians(values[3:])
    rotation = kin.rotation_x(a) @ kin.rotation_y(b) @ kin.rotation_z(c)
    return Pose(np.array(values[:3]) / 1000, rotation)


def values_of(pose: Pose) -> list[float]:
    """x, y, z (mm), alpha, beta, gamma (deg, mobile XYZ)."""
    return [*(pose.position_m * 1000), *np.degrees(kin.euler_rad(pose.rotation))]


@dataclass(frozen=True, eq=False)
class Frames:
    """World and tool frame."""

    wrf: Pose = field(default_factory=Pose)  # in the base frame
    trf: Pose = field(default_factory=Pose)  # in the flange frame

    def tool_in_base(self, joint_rad: Array) -> Pose:
        """Where the tool frame is in the base frame for joints (6,) rad."""
        return Pose(*kin.forward(joint_rad, 0.0)) @ self.trf

    def tool_in_world(self, joint_rad: Array) -> Pose:
        """Where the tool frame is in the world frame for joints (6,) rad."""
        return self.wrf.inverse() @ self.tool_in_base(joint_rad)

    def jacobian(self, joint_rad: Array) -> Array:
        """Jacobian (6, 6) of the tool frame's origin in the base frame, m and rad."""
        x, y, z = self.trf.position_m
        if x == y == 0.0:  # a needle: asked 500 times a second
            return kin.jacobian(joint_rad, float(z))
        flange = kin.jacobian(joint_rad, 0.0)
        arm = kin.forward(joint_rad, 0.0)[1] @ self.trf.position_m
        flange[:3] += np.cross(flange[3:].T, arm).T
        return flange


def rotation_vector(rotation: Array) -> Array:
    """Rotation vector (3,) rad, at most pi long, of a matrix (3, 3)."""
    skew = rotation - rotation.T
    axis = np.array([skew[2, 1], skew[0, 2], skew[1, 0]])
    sine, cosine = float(np.linalg.norm(axis)) / 2, (float(np.trace(rotation)) - 1) / 2
    angle = float(np.arctan2(sine, cosine))
    if sine > 1e-6:
        return axis * (angle / (2 * sine))
    if cosine > 0:
        return axis / 2
    # Half a turn: the axis is the largest column of R + 1.
    column = (rotation + np.eye(3))[:, int(np.argmax(np.diag(rotation)))]
    half: Array = column / np.linalg.norm(column) * angle
    return half


def turned(vector: Array) -> Array:
    """Matrix (3, 3) of a rotation vector (3,) rad."""
    matrix: Array = rotate(rotvec_to_quat(vector), np.eye(3)).T
    return matrix
