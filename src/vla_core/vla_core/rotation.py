"""Rotations: Mecademic Euler angles, quaternions (x, y, z, w), rotation vectors.

Called by the robot driver, the simulator, the policy and `model_input`. All functions take arrays
(..., 3) or (..., 4), float64, and are safe at every wrap: equal orientations give equal results up
to the sign of a quaternion, which is made canonical (w >= 0). A single rotation, which the control
loops ask for, is computed in plain floats by `spatial`. Deliberately no matrices and no
translations.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_core import spatial

Array = NDArray[np.float64]


def wrap_rad(angle_rad: ArrayLike) -> Array:
    """Angles of any shape to [-pi, pi)."""
    angle: Array = np.asarray(angle_rad, np.float64)
    wrapped: Array = (angle + np.pi) % (2 * np.pi) - np.pi
    return wrapped


def quat_normalize(quat_xyzw: ArrayLike) -> Array:
    """(..., 4) to unit length with w >= 0; ValueError where the length is 0 or not finite."""
    quat = np.asarray(quat_xyzw, np.float64)
    if quat.ndim == 1:
        return np.array(spatial.quat_normalize(quat.tolist()))
    length = np.linalg.norm(quat, axis=-1, keepdims=True)
    if not (np.isfinite(length).all() and (length > 1e-12).all()):
        raise ValueError('not a rotation: a quaternion of length 0 or not finite')
    unit: Array = quat / length
    return np.where(unit[..., 3:] < 0, -unit, unit)


def quat_multiply(left_xyzw: ArrayLike, right_xyzw: ArrayLike) -> Array:
    """(..., 4) x (..., 4): first `right`, then `left`."""
    left, right = np.asarray(left_xyzw, np.float64), np.asarray(right_xyzw, np.float64)
    if left.ndim == right.ndim == 1:
        return np.array(spatial.quat_multiply(left.tolist(), right.tolist()))
    x1, y1, z1, w1 = np.moveaxis(left, -1, 0)
    x2, y2, z2, w2 = np.moveaxis(right, -1, 0)
    product: Array = np.stack(
        [
            w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
            w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
            w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
            w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
        ],
        axis=-1,
    )
    return product


def quat_inverse(quat_xyzw: ArrayLike) -> Array:
    """(..., 4) unit quaternions to their inverse."""
    inverse: Array = np.asarray(quat_xyzw, np.float64) * (-1.0, -1.0, -1.0, 1.0)
    return inverse


def euler_to_quat(abr_rad: ArrayLike) -> Array:
    """Mecademic Euler angles a, b, r (..., 3) rad to (..., 4) xyzw.

    Mobile (intrinsic) XYZ: R = Rx(a) Ry(b) Rz(r) (Meca500 programming manual, "Euler angles").
    """
    abr = np.asarray(abr_rad, np.float64)
    if abr.ndim == 1:
        return np.array(spatial.euler_to_quat(abr.tolist()))
    half = abr / 2
    (s1, s2, s3), (c1, c2, c3) = np.moveaxis(np.sin(half), -1, 0), np.moveaxis(np.cos(half), -1, 0)
    quat: Array = np.stack(
        [
            s1 * c2 * c3 + c1 * s2 * s3,
            c1 * s2 * c3 - s1 * c2 * s3,
            c1 * c2 * s3 + s1 * s2 * c3,
            c1 * c2 * c3 - s1 * s2 * s3,
        ],
        axis=-1,
    )
    return np.where(quat[..., 3:] < 0, -quat, quat)


def quat_to_euler(quat_xyzw: ArrayLike) -> Array:
    """(..., 4) xyzw to Mecademic a, b, r (..., 3) rad, b in [-pi/2, pi/2].

    Where b is +-90 deg only a +- r is determined; r is 0 there.
    """
    quat = np.asarray(quat_xyzw, np.float64)
    if quat.ndim == 1:
        return np.array(spatial.quat_to_euler(quat.tolist()))
    x, y, z, w = np.moveaxis(quat_normalize(quat), -1, 0)
    # The products of the three quaternions split into two planes: (w + y, x + z) is turned by half
    # the sum of a and r and (w - y, x - z) by half their difference; the ratio of the lengths
    # gives b.
    plus, minus = np.arctan2(x + z, w + y), np.arctan2(x - z, w - y)
    b = 2 * np.arctan2(np.hypot(w + y, x + z), np.hypot(w - y, x - z)) - np.pi / 2
    # At either pole one plane shrinks to a point and its angle means nothing.
    up, down = np.pi / 2 - b < 1e-7, b + np.pi / 2 < 1e-7
    a = np.where(up, 2 * plus, np.where(down, 2 * minus, plus + minus))
    r = np.where(up | down, 0.0, plus - minus)
    euler: Array = np.stack([wrap_rad(a), b, wrap_rad(r)], axis=-1)
    return euler


def rotvec_to_quat(rotvec_rad: ArrayLike) -> Array:
    """Rotation vectors (..., 3) rad, of any length, to (..., 4) xyzw."""
    rotvec = np.asarray(rotvec_rad, np.float64)
    if rotvec.ndim == 1:
        return np.array(spatial.rotvec_to_quat(rotvec.tolist()))
    angle = np.linalg.norm(rotvec, axis=-1, keepdims=True)
    # sin(angle / 2) / angle, also at 0: np.sinc(x) is sin(pi x) / (pi x).
    factor = 0.5 * np.sinc(angle / (2 * np.pi))
    return quat_normalize(np.concatenate([rotvec * factor, np.cos(angle / 2)], axis=-1))


def quat_to_rotvec(quat_xyzw: ArrayLike) -> Array:
    """(..., 4) xyzw to the rotation vector (..., 3) rad, the short way: length <= pi."""
    quat = np.asarray(quat_xyzw, np.float64)
    if quat.ndim == 1:
        return np.array(spatial.quat_to_rotvec(quat.tolist()))
    quat = quat_normalize(quat)
    sine = np.linalg.norm(quat[..., :3], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quat[..., 3:])
    tiny = sine < 1e-12
    rotvec: Array = quat[..., :3] * np.where(tiny, 2.0, angle / np.where(tiny, 1.0, sine))
    return rotvec


def relative_rotvec(from_xyzw: ArrayLike, to_xyzw: ArrayLike) -> Array:
    """Base-frame rotation vector (..., 3) rad from one to the other: R_to = exp(v) R_from."""
    turn = quat_multiply(quat_normalize(to_xyzw), quat_inverse(quat_normalize(from_xyzw)))
    return quat_to_rotvec(turn)


def apply_rotvec(rotvec_rad: ArrayLike, quat_xyzw: ArrayLike) -> Array:
    """Turn orientations (..., 4) by base-frame rotation vectors (..., 3)."""
    return quat_normalize(quat_multiply(rotvec_to_quat(rotvec_rad), quat_normalize(quat_xyzw)))


def rotate(quat_xyzw: ArrayLike, vector: ArrayLike) -> Array:
    """Turn vectors (..., 3) by unit quaternions (..., 4)."""
    quat, point = np.asarray(quat_xyzw, np.float64), np.asarray(vector, np.float64)
    if quat.ndim == point.ndim == 1:
        return np.array(spatial.rotate(quat.tolist(), point.tolist()))
    quat = quat_normalize(quat)
    axis, w = quat[..., :3], quat[..., 3:]
    cross = 2 * np.cross(axis, point)
    turned: Array = point + w * cross + np.cross(axis, cross)
    return turned
