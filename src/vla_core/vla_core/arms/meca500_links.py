"""One pose of the Meca500 in plain floats: dimensions, links, Jacobian, inverse.

`meca500` hands single poses to it, since the control loops ask for one some hundred times a second
(see `spatial`). Deliberately no arrays and no joint limits.

Dimensions: Meca500 user manual, see `meca500`.
"""

from collections.abc import Sequence
import math
from typing import NamedTuple

from vla_core.spatial import add, combine, cos_sin, cross, dot, scale, subtract, Vector

BASE_HEIGHT_M = 0.135
UPPER_ARM_M = 0.135
ELBOW_OFFSET_M = 0.038
FOREARM_M = 0.120
FLANGE_M = 0.070
FOREARM_REACH_M = math.hypot(ELBOW_OFFSET_M, FOREARM_M)
FOREARM_ANGLE_RAD = math.atan2(FOREARM_M, ELBOW_OFFSET_M)

_BASE: Vector = (0.0, 0.0, BASE_HEIGHT_M)
_UP: Vector = (0.0, 0.0, 1.0)


class Links(NamedTuple):
    """Axes of the links in the base frame; with all joints at zero x is forward and z up."""

    left: Vector  # of joints 2 and 3
    upper_z: Vector  # along the upper arm
    fore_x: Vector  # along the forearm: joint 4
    fore_z: Vector
    roll_y: Vector  # joint 5
    wrist_x: Vector  # out of the flange: joint 6
    wrist_y: Vector
    wrist_z: Vector

    @property
    def elbow_m(self) -> Vector:
        """Joint 3 from the base frame's origin."""
        return combine(1.0, _BASE, UPPER_ARM_M, self.upper_z)

    @property
    def centre_m(self) -> Vector:
        """The wrist's centre, where the last three axes meet, from the base frame's origin."""
        return add(self.elbow_m, combine(ELBOW_OFFSET_M, self.fore_z, FOREARM_M, self.fore_x))

    def tip_m(self, reach_m: float) -> Vector:
        """The point `reach_m` out of the wrist's centre through the flange."""
        return combine(1.0, self.centre_m, reach_m, self.wrist_x)


def links_of(joint_rad: Sequence[float]) -> Links:
    """Axes for six joint angles, rad."""
    (c1, s1), (c2, s2), (c4, s4), (c5, s5), (c6, s6) = (
        cos_sin(joint_rad[joint]) for joint in (0, 1, 3, 4, 5)
    )
    c23, s23 = cos_sin(joint_rad[1] + joint_rad[2])
    left = (-s1, c1, 0.0)
    fore_x, fore_z = (c1 * c23, s1 * c23, -s23), (c1 * s23, s1 * s23, c23)
    roll_y, roll_z = combine(c4, left, s4, fore_z), combine(-s4, left, c4, fore_z)
    bent_z = combine(s5, fore_x, c5, roll_z)
    return Links(
        left=left,
        upper_z=(c1 * s2, s1 * s2, c2),
        fore_x=fore_x,
        fore_z=fore_z,
        roll_y=roll_y,
        wrist_x=combine(c5, fore_x, -s5, roll_z),
        wrist_y=combine(c6, roll_y, s6, bent_z),
        wrist_z=combine(-s6, roll_y, c6, bent_z),
    )


def jacobian_of(links: Links, reach_m: float) -> list[tuple[float, ...]]:
    """Six columns: linear and angular velocity of the point `reach_m` out of the wrist's centre
    per joint speed, base frame.
    """
    elbow, tip = links.elbow_m, links.tip_m(reach_m)
    arm = scale(reach_m, links.wrist_x)
    return [
        (-tip[1], tip[0], 0.0, *_UP),
        (*cross(links.left, subtract(tip, _BASE)), *links.left),
        (*cross(links.left, subtract(tip, elbow)), *links.left),
        (*cross(links.fore_x, arm), *links.fore_x),
        (*cross(links.roll_y, arm), *links.roll_y),
        (0.0, 0.0, 0.0, *links.wrist_x),
    ]


class JointSpeeds(NamedTuple):
    """Speeds of the six joints, rad/s, and how far from singular the arm is at least."""

    joint_rad_s: list[float]
    gain: float  # upper bound of the inverse Jacobian's norm, angular rows times the lever


def joint_speeds_of(
    links: Links, reach_m: float, linear: Vector, angular: Vector, lever_m: float
) -> JointSpeeds | None:
    """Joint speeds that move the point `reach_m` out of the wrist's centre with a linear (m/s) and
    an angular velocity (rad/s), base frame; None where the arm is exactly singular.

    The first three joints move the wrist's centre, the last three turn about it. 1 / `gain` is
    less than the least singular value of the Jacobian with its angular rows times `lever_m`.
    """
    radial, roll_z = (links.left[1], -links.left[0], 0.0), cross(links.fore_x, links.roll_y)
    to_elbow, to_centre = subtract(links.elbow_m, _BASE), subtract(links.centre_m, _BASE)
    fore = subtract(to_centre, to_elbow)
    out, up = dot(to_centre, radial), to_centre[2]
    fore_out, fore_up = dot(fore, radial), fore[2]
    area = out * fore_up - up * fore_out
    sine, cosine = -dot(links.wrist_x, roll_z), dot(links.wrist_x, links.fore_x)
    if out == 0.0 or area == 0.0 or sine == 0.0:
        return None
    v = subtract(linear, cross(angular, scale(reach_m, links.wrist_x)))
    v_out = dot(v, radial)
    q1 = dot(v, links.left) / out
    q2 = -(fore_out * v_out + fore_up * v[2]) / area
    q3 = (out * v_out + up * v[2]) / area
    w = subtract(angular, combine(q1, _UP, q2 + q3, links.left))
    q6 = -dot(w, roll_z) / sine
    speeds = [q1, q2, q3, dot(w, links.fore_x) - cosine * q6, dot(w, links.roll_y), q6]
    # Frobenius norm of the first three joints' inverse, and what the last three add to it.
    first = math.sqrt(
        1 / (out * out) + (out * out + up * up + fore_out**2 + fore_up**2) / (area * area)
    )
    first *= math.sqrt(1 + (reach_m / lever_m) ** 2)
    nearly = 1.0 - abs(cosine)
    if not nearly > 0.0:
        return None
    last = (1 / lever_m + math.sqrt(2.0) * first) / math.sqrt(nearly)
    return JointSpeeds(speeds, math.hypot(first, last))


def joints_of(
    position_m: Sequence[float], rotation: Sequence[Sequence[float]], reach_m: float
) -> tuple[float, ...] | None:
    """Joint angles, rad, that put the point `reach_m` out of the wrist's centre at a pose; None
    when that is out of reach. rotation: three rows, the tool's z along the flange's.
    """
    tool_x, tool_y, tool_z = zip(*rotation)
    x, y, z = combine(1.0, (position_m[0], position_m[1], position_m[2]), -reach_m, tool_z)
    reach, height = math.hypot(x, y), z - BASE_HEIGHT_M
    cos_bend = (reach * reach + height * height - UPPER_ARM_M**2 - FOREARM_REACH_M**2) / (
        2 * UPPER_ARM_M * FOREARM_REACH_M
    )
    if abs(cos_bend) > 1.0:
        return None
    bend = math.acos(cos_bend)
    q1 = math.atan2(y, x)
    q2 = math.atan2(reach, height) - math.atan2(
        FOREARM_REACH_M * math.sin(bend), UPPER_ARM_M + FOREARM_REACH_M * cos_bend
    )
    q3 = bend - FOREARM_ANGLE_RAD
    (c1, s1), (c23, s23) = cos_sin(q1), cos_sin(q2 + q3)
    fore_x, fore_y, fore_z = (c1 * c23, s1 * c23, -s23), (-s1, c1, 0.0), (c1 * s23, s1 * s23, c23)
    q4 = math.atan2(dot(fore_y, tool_z), -dot(fore_z, tool_z))
    q5 = math.acos(min(max(dot(fore_x, tool_z), -1.0), 1.0))
    q6 = math.atan2(dot(fore_x, tool_y), -dot(fore_x, tool_x))
    return q1, q2, q3, q4, q5, q6
