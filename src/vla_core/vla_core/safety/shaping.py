"""A wanted velocity to one inside every limit: slowed along its own direction, never bent.

Used by the gate for the policy's motion and for its own withdrawal. Pure functions; each returns
the velocity it lets through and why it changed it. Deliberately no memory. Linear and angular part
are slowed by one factor, so that a needle in a trocar keeps to the path the policy meant.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vla_core.arms.base import Arm
from vla_core.safety.limits import SafetyLimits
from vla_core.safety.pose import Pose
from vla_core.safety.values import Intervention

Array = NDArray[np.float64]

TINY = 1e-12


class Shaped(NamedTuple):
    """A velocity (6,) and why it is not what was asked for."""

    velocity: Array
    why: tuple[Intervention, ...] = ()


class Span(NamedTuple):
    """Where something may be now: the lowest and highest of each coordinate."""

    low: Array
    high: Array


def span_of(start: Array, moves: Array) -> Span:
    """Span over start (D,) + moves (K, D)."""
    places = start + moves
    return Span(places.min(axis=0), places.max(axis=0))


def limit_speed(velocity: Array, limits: SafetyLimits) -> Shaped:
    """Slow down to the limits of linear and angular speed."""
    found: tuple[Intervention, ...] = ()
    factor = 1.0
    for kind, part, limit in (
        ('speed', velocity[:3], limits.max_speed_m_s),
        ('turn_speed', velocity[3:], limits.max_turn_rad_s),
    ):
        size = _norm(part)
        if size > limit:
            found += (Intervention(kind, size, limit),)
            factor = min(factor, limit / size)
    return Shaped(velocity * factor, found)


def limit_acceleration(
    velocity: Array, last: Array, period_s: float, limits: SafetyLimits
) -> Shaped:
    """Limit the change against the velocity sent last; slowing that one down is always free.

    The result is within (limit x period) of some point between `last` and rest.
    """
    linear, angular = limits.max_accel_m_s2 * period_s, limits.max_turn_accel_rad_s2 * period_s
    scale = np.array([linear, linear, linear, angular, angular, angular])
    wanted, before = velocity / scale, last / scale
    length = float(before @ before)
    kept = min(max(float(wanted @ before) / length, 0.0), 1.0) if length > TINY else 0.0
    change = wanted - kept * before
    found: tuple[Intervention, ...] = ()
    factor = 1.0
    for kind, part, limit in (
        ('acceleration', change[:3], limits.max_accel_m_s2),
        ('turn_acceleration', change[3:], limits.max_turn_accel_rad_s2),
    ):
        size = _norm(part)
        if size > 1.0 + 1e-9:
            found += (Intervention(kind, size * limit, limit),)
            factor = min(factor, 1.0 / size)
    return Shaped((kept * before + factor * change) * scale, found)


def limit_box(velocity: Array, tip: Span, limits: SafetyLimits) -> Shaped:
    """Slow down in front of a wall; outside, only motion towards the inside on every axis that is
    outside.
    """
    low, high = np.array(limits.box_min_m), np.array(limits.box_max_m)
    factor, axis = _room(velocity[:3], tip, low, high, limits.look_ahead_s)
    if factor >= 1.0:
        return Shaped(velocity)
    outward = velocity[axis] > 0 or (velocity[axis] == 0 and tip.high[axis] > high[axis])
    wall = high[axis] if outward else low[axis]
    place = tip.high[axis] if outward else tip.low[axis]
    reached = float(place + velocity[axis] * limits.look_ahead_s)
    return Shaped(velocity * factor, (Intervention('workspace', reached, float(wall)),))


def limit_joints(
    velocity: Array, pose: Pose, joints: Span, arm: Arm, limits: SafetyLimits
) -> Shaped:
    """Slow down to the joint speeds allowed, and in front of the joint limits."""
    speeds = pose.inverse @ velocity
    allowed = limits.joint_speed_ratio * arm.joint_max_rad_s
    found: tuple[Intervention, ...] = ()
    ratio = np.abs(speeds) / allowed
    joint = int(np.argmax(ratio))
    if ratio[joint] > 1.0:
        found += (Intervention('joint_speed', abs(float(speeds[joint])), float(allowed[joint])),)
        velocity, speeds = velocity / ratio[joint], speeds / ratio[joint]
    low = arm.joint_min_rad + limits.joint_margin_rad
    high = arm.joint_max_rad - limits.joint_margin_rad
    factor, joint = _room(speeds, joints, low, high, limits.look_ahead_s)
    if factor < 1.0:
        up = bool(speeds[joint] > 0)
        place = joints.high[joint] if up else joints.low[joint]
        wall = high[joint] if up else low[joint]
        found += (Intervention('joint_limit', float(place), float(wall)),)
        velocity = velocity * factor
    return Shaped(velocity, found)


def shape(
    velocity: Array,
    last: Array,
    moves: Array,
    pose: Pose,
    arm: Arm,
    period_s: float,
    limits: SafetyLimits,
) -> Shaped:
    """Slow a finite velocity (6,) down to every limit.

    last (6,): the velocity that the robot still has; moves (K, 6): displacements that it may have
    made since `pose`.
    """
    tip = span_of(pose.position_m, moves[:, :3])
    joints = span_of(pose.joint_rad, moves @ pose.inverse.T)
    velocity, fast = limit_speed(velocity, limits)
    velocity, jerky = limit_acceleration(velocity, last, period_s, limits)
    velocity, out = limit_box(velocity, tip, limits)
    velocity, bent = limit_joints(velocity, pose, joints, arm, limits)
    return Shaped(velocity, fast + jerky + out + bent)


def _room(speed: Array, place: Span, low: Array, high: Array, ahead_s: float) -> tuple[float, int]:
    """Largest factor in [0, 1] on a speed that stays between the walls for `ahead_s`, and the axis
    that decides. 0 where a place outside does not move inward.
    """
    move = speed * ahead_s
    room = np.where(move > 0, high - place.high, np.where(move < 0, place.low - low, np.inf))
    factors = np.maximum(room, 0.0) / np.maximum(np.abs(move), TINY * TINY)
    beyond = ((place.high > high) & (move >= 0)) | ((place.low < low) & (move <= 0))
    factors = np.where(beyond, 0.0, factors)
    axis = int(np.argmin(factors))
    return min(float(factors[axis]), 1.0), axis


def _norm(vector: Array) -> float:
    return math.hypot(*vector.tolist())  # inf, without a warning, where the square would not fit
