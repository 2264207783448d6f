"""A wanted velocity to one inside every limit: slowed along its own direction, never bent.

Used by the gate for the policy's motion and for its own withdrawal. Pure functions; each returns
the velocity it lets through and why it changed it. In plain floats, for it runs at every command.
Deliberately no memory. Linear and angular part are slowed by one factor, so that a needle in a
trocar keeps to the path the policy meant.
"""

from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np

from vla_core.arms.base import Arm
from vla_core.safety.limits import SafetyLimits
from vla_core.safety.pose import Pose
from vla_core.safety.values import Intervention

Floats = Sequence[float]

TINY = 1e-12


class Shaped(NamedTuple):
    """A velocity (6,) and why it is not what was asked for."""

    velocity: Floats
    why: tuple[Intervention, ...] = ()


class Span(NamedTuple):
    """Where something may be now: the lowest and highest of each coordinate."""

    low: Floats
    high: Floats


def span_of(start: Floats, moves: Sequence[Floats]) -> Span:
    """Span over start (D,) + moves (K, D); K > 0."""
    columns = list(zip(*moves))
    low = [place + min(column) for place, column in zip(start, columns)]
    high = [place + max(column) for place, column in zip(start, columns)]
    return Span(low, high)


def limit_speed(velocity: Floats, limits: SafetyLimits) -> Shaped:
    """Slow down to the limits of linear and angular speed."""
    found: tuple[Intervention, ...] = ()
    factor = 1.0
    for kind, part, limit in (
        ('speed', velocity[:3], limits.max_speed_m_s),
        ('turn_speed', velocity[3:], limits.max_turn_rad_s),
    ):
        size = math.hypot(*part)  # inf where the square would not fit
        if size > limit:
            found += (Intervention(kind, size, limit),)
            factor = min(factor, limit / size)
    return Shaped(_times(factor, velocity), found)


def limit_acceleration(
    velocity: Floats, last: Floats, period_s: float, limits: SafetyLimits
) -> Shaped:
    """Limit the change against the velocity sent last; slowing that one down is always free.

    The result is within (limit x period) of some point between `last` and rest.
    """
    linear, angular = limits.max_accel_m_s2 * period_s, limits.max_turn_accel_rad_s2 * period_s
    scale = (linear, linear, linear, angular, angular, angular)
    wanted = [v / unit for v, unit in zip(velocity, scale)]
    before = [v / unit for v, unit in zip(last, scale)]
    length = _dot(before, before)
    kept = min(max(_dot(wanted, before) / length, 0.0), 1.0) if length > TINY else 0.0
    change = [w - kept * b for w, b in zip(wanted, before)]
    found: tuple[Intervention, ...] = ()
    factor = 1.0
    for kind, part, limit in (
        ('acceleration', change[:3], limits.max_accel_m_s2),
        ('turn_acceleration', change[3:], limits.max_turn_accel_rad_s2),
    ):
        size = math.hypot(*part)
        if size > 1.0 + 1e-9:
            found += (Intervention(kind, size * limit, limit),)
            factor = min(factor, 1.0 / size)
    return Shaped(
        [(kept * b + factor * c) * unit for b, c, unit in zip(before, change, scale)], found
    )


def limit_box(velocity: Floats, tip: Span, limits: SafetyLimits) -> Shaped:
    """Slow down in front of a wall; outside, only motion towards the inside on every axis that is
    outside.
    """
    low, high = limits.box_min_m, limits.box_max_m
    factor, axis = _room(velocity[:3], tip, low, high, limits.look_ahead_s)
    if factor >= 1.0:
        return Shaped(velocity)
    outward = velocity[axis] > 0 or (velocity[axis] == 0 and tip.high[axis] > high[axis])
    wall = high[axis] if outward else low[axis]
    place = tip.high[axis] if outward else tip.low[axis]
    reached = place + velocity[axis] * limits.look_ahead_s
    return Shaped(_times(factor, velocity), (Intervention('workspace', reached, wall),))


def limit_joints(
    velocity: Floats, pose: Pose, joints: Span, arm: Arm, limits: SafetyLimits
) -> Shaped:
    """Slow down to the joint speeds allowed, and in front of the joint limits."""
    speeds = (pose.inverse @ np.array(velocity)).tolist()
    allowed = (limits.joint_speed_ratio * arm.joint_max_rad_s).tolist()
    found: tuple[Intervention, ...] = ()
    ratios = [abs(speed) / most for speed, most in zip(speeds, allowed)]
    ratio = max(ratios)
    if ratio > 1.0:
        joint = ratios.index(ratio)
        found += (Intervention('joint_speed', abs(speeds[joint]), allowed[joint]),)
        velocity, speeds = [v / ratio for v in velocity], [v / ratio for v in speeds]
    low = (arm.joint_min_rad + limits.joint_margin_rad).tolist()
    high = (arm.joint_max_rad - limits.joint_margin_rad).tolist()
    factor, joint = _room(speeds, joints, low, high, limits.look_ahead_s)
    if factor < 1.0:
        up = speeds[joint] > 0
        place = joints.high[joint] if up else joints.low[joint]
        wall = high[joint] if up else low[joint]
        found += (Intervention('joint_limit', place, wall),)
        velocity = _times(factor, velocity)
    return Shaped(velocity, found)


def shape(
    velocity: Floats,
    last: Floats,
    moves: Sequence[Floats],
    pose: Pose,
    arm: Arm,
    period_s: float,
    limits: SafetyLimits,
) -> Shaped:
    """Slow a finite velocity (6,) down to every limit.

    last (6,): the velocity that the robot still has; moves (K, 6): displacements that it may have
    made since `pose`.
    """
    tip = span_of(pose.position_m, [move[:3] for move in moves])
    joints = span_of(pose.joint_rad, (np.array(moves) @ pose.inverse.T).tolist())
    velocity, fast = limit_speed(velocity, limits)
    velocity, jerky = limit_acceleration(velocity, last, period_s, limits)
    velocity, out = limit_box(velocity, tip, limits)
    velocity, bent = limit_joints(velocity, pose, joints, arm, limits)
    return Shaped(velocity, fast + jerky + out + bent)


def _room(
    speeds: Floats, place: Span, low: Floats, high: Floats, ahead_s: float
) -> tuple[float, int]:
    """Largest factor in [0, 1] on a speed that stays between the walls for `ahead_s`, and the axis
    that decides. 0 where a place outside does not move inward.
    """
    least, axis = math.inf, 0
    for i, speed in enumerate(speeds):
        move = speed * ahead_s
        above, below = place.high[i] > high[i], place.low[i] < low[i]
        if (above and move >= 0) or (below and move <= 0):
            factor = 0.0
        elif move == 0.0:
            continue
        else:
            room = high[i] - place.high[i] if move > 0 else place.low[i] - low[i]
            factor = max(room, 0.0) / max(abs(move), TINY * TINY)
        if factor < least:
            least, axis = factor, i
    return min(least, 1.0), axis


def _times(factor: float, vector: Floats) -> Floats:
    return [factor * v for v in vector]


def _dot(u: Floats, v: Floats) -> float:
    return sum(a * b for a, b in zip(u, v))
