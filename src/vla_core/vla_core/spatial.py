"""Vectors and quaternions (x, y, z, w) of one pose, in plain floats.

The control loops ask for one pose some hundred times a second; on six numbers NumPy's calls cost
ten times what the arithmetic does. `rotation`, `arms.meca500` and the safety gate hand single
poses to this module and keep arrays at their borders. The formulas are those of the batches there;
tests compare the two. Deliberately no arrays, no batches and no checks but those that the
formulas need.
"""

import math

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


def cos_sin(angle_rad: float) -> tuple[float, float]:
    """Cosine and sine; NaN of an infinite angle, as NumPy has it."""
    try:
        return math.cos(angle_rad), math.sin(angle_rad)
    except ValueError:
        return math.nan, math.nan


def combine(a: float, u: Vector, b: float, v: Vector) -> Vector:
    """The vector a u + b v."""
    return a * u[0] + b * v[0], a * u[1] + b * v[1], a * u[2] + b * v[2]


def add(u: Vector, v: Vector) -> Vector:
    """The vector u + v."""
    return u[0] + v[0], u[1] + v[1], u[2] + v[2]


def subtract(u: Vector, v: Vector) -> Vector:
    """The vector u - v."""
    return u[0] - v[0], u[1] - v[1], u[2] - v[2]


def scale(a: float, u: Vector) -> Vector:
    """The vector a u."""
    return a * u[0], a * u[1], a * u[2]


def dot(u: Vector, v: Vector) -> float:
    """Scalar product."""
    return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]


def cross(u: Vector, v: Vector) -> Vector:
    """Vector product u x v."""
    return (
        u[1] * v[2] - u[2] * v[1],
        u[2] * v[0] - u[0] * v[2],
        u[0] * v[1] - u[1] * v[0],
    )


def length(u: Vector) -> float:
    """Euclidean length."""
    return math.sqrt(u[0] * u[0] + u[1] * u[1] + u[2] * u[2])


def wrap_rad(angle_rad: float) -> float:
    """Angle to [-pi, pi)."""
    return (angle_rad + math.pi) % (2 * math.pi) - math.pi


def quat_normalize(quat: Quaternion) -> Quaternion:
    """To unit length with w >= 0; ValueError where the length is 0 or not finite."""
    x, y, z, w = quat
    size = math.sqrt(x * x + y * y + z * z + w * w)
    if not 1e-12 < size < math.inf:
        raise ValueError('not a rotation: a quaternion of length 0 or not finite')
    if w < 0:
        size = -size
    return x / size, y / size, z / size, w / size


def quat_multiply(left: Quaternion, right: Quaternion) -> Quaternion:
    """First `right`, then `left`."""
    x1, y1, z1, w1 = left
    x2, y2, z2, w2 = right
    return (
        w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
        w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
        w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
        w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
    )


def quat_inverse(quat: Quaternion) -> Quaternion:
    """Inverse of a unit quaternion."""
    return -quat[0], -quat[1], -quat[2], quat[3]


def euler_to_quat(abr_rad: Vector) -> Quaternion:
    """Mecademic Euler angles, rad, to a unit quaternion, w >= 0."""
    (c1, s1), (c2, s2), (c3, s3) = (cos_sin(angle / 2) for angle in abr_rad)
    x = s1 * c2 * c3 + c1 * s2 * s3
    y = c1 * s2 * c3 - s1 * c2 * s3
    z = c1 * c2 * s3 + s1 * s2 * c3
    w = c1 * c2 * c3 - s1 * s2 * s3
    return (-x, -y, -z, -w) if w < 0 else (x, y, z, w)


def quat_to_euler(quat: Quaternion) -> Vector:
    """To Mecademic a, b, r, rad, b in [-pi/2, pi/2]; r is 0 where b is +-90 deg."""
    x, y, z, w = quat_normalize(quat)
    # As in `rotation.quat_to_euler`, which explains it.
    plus, minus = math.atan2(x + z, w + y), math.atan2(x - z, w - y)
    b = 2 * math.atan2(math.hypot(w + y, x + z), math.hypot(w - y, x - z)) - math.pi / 2
    if math.pi / 2 - b < 1e-7:
        return wrap_rad(2 * plus), b, 0.0
    if b + math.pi / 2 < 1e-7:
        return wrap_rad(2 * minus), b, 0.0
    return wrap_rad(plus + minus), b, wrap_rad(plus - minus)


def rotvec_to_quat(rotvec_rad: Vector) -> Quaternion:
    """Rotation vector of any length, rad, to a unit quaternion, w >= 0."""
    angle = length(rotvec_rad)
    cos, sin = cos_sin(angle / 2)
    x, y, z = scale(sin / angle if angle > 0 else 0.5, rotvec_rad)
    return quat_normalize((x, y, z, cos))


def quat_to_rotvec(quat: Quaternion) -> Vector:
    """To the rotation vector, rad, the short way: length <= pi."""
    x, y, z, w = quat_normalize(quat)
    sine = length((x, y, z))
    return scale(2.0 if sine < 1e-12 else 2 * math.atan2(sine, w) / sine, (x, y, z))


def rotate(quat: Quaternion, vector: Vector) -> Vector:
    """Turn a vector."""
    x, y, z, w = quat_normalize(quat)
    across = scale(2.0, cross((x, y, z), vector))
    return add(combine(1.0, vector, w, across), cross((x, y, z), across))
