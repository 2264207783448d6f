"""The scripted expert as a policy: from what it sees now to the next chunk of motion.

`scripted_expert_node` drives the robot with it, and it makes the demonstrations the model learns
from. It sees the true pose of the trocar (a `Sight`), anew at every tick, so it corrects whatever
pushed the arm off and follows an eye that moves. Deliberately no clock, no ROS, no physics, no
joints: `expert` is the open-loop script in joint space.

Frames: `trocar` has its origin in the centre of the opening and its z axis into the eye; the chunk
is in the base frame.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
import math

import numpy as np
from numpy.typing import NDArray

from vla_core.arms import meca500 as kin
from vla_core.rotation import euler_to_quat, quat_inverse, relative_rotvec, rotate
from vla_core.timebase import NS
from vla_sim import scene as sc
from vla_sim.expert import Expert, HOLD_ABOVE_TISSUE_M, STANDOFF_M
from vla_sim.scripted_motion import Pace, Smoother
from vla_sim.tissue import BORE_RADIUS_M

Array = NDArray[np.float64]

STEPS = 8
PERIOD_S = 0.1
_SUBSTEPS = 4  # of one step of the chunk, in the look-ahead
_STILL_TICKS = 3  # so many ticks without motion: the robot is held
_STILL_M, _STILL_RAD = 2e-5, 2e-4
_CLEAR_M = 0.006  # so far in front of the opening nothing is in the way sideways
_BACK_M = 0.003  # so far in front of the opening it waits when it is too far off the axis to go on
_ASTRAY_M, _ASTRAY_RAD = 0.0025, math.radians(2.5)  # further off: begin again
_EYE_SPEED_M_S = 0.010  # what an eye may do; a faster jump is no motion to follow
_EYE_TURN_RAD_S = 0.2


class Goal(IntEnum):
    """What the instruction asks for."""

    INSERT = 0
    RETRACT = 1


class Phase(IntEnum):
    """Part of the work; `insert` goes through the first four, `retract` through the others."""

    APPROACH = 0  # to the stand-off in front of the opening
    ALIGN = 1  # onto the axis
    INSERT = 2
    HOLD = 3
    RETRACT = 4  # straight out
    RETURN = 5  # to a start pose
    REST = 6


@dataclass(frozen=True, eq=False)
class Sight:
    """What the expert is shown at one tick. Metres, quaternions (x, y, z, w), base frame."""

    stamp_ns: int
    tip_m: Array  # (3,)
    tip_xyzw: Array  # (4,), z along the needle
    opening_m: Array  # (3,) centre of the trocar's opening
    trocar_xyzw: Array  # (4,), z into the eye
    tissue_depth_m: float  # opening to tissue along the trocar's axis


@dataclass(frozen=True)
class Settings:
    """How it works. Accelerations are of the tip."""

    standoff_m: float = STANDOFF_M
    above_tissue_m: float = HOLD_ABOVE_TISSUE_M
    stops: bool = True  # at the stand-off, until the needle is on the axis and at rest
    # Up to so far off, forward at full speed; then slower, to nothing at the limits.
    axis_m: float = 0.0004  # an eye that drifts is followed within 0.3 mm; the bore is 1.1 mm
    axis_rad: float = math.radians(0.6)
    limit_m: float = 0.0008  # on the way
    limit_at_rim_m: float = BORE_RADIUS_M / 2
    limit_rad: float = math.radians(1.2)
    approach: Pace = Pace(0.012, 0.015, 2.0)
    insert: Pace = Pace(0.0055, 0.006, 1.2)
    retract: Pace = Pace(0.009, 0.015, 1.6)
    sideways: Pace = Pace(0.003, 0.006, 2.0)
    turn: Pace = Pace(0.15, 0.25, 1.8)
    acceleration_m_s2: float = 0.040
    jerk_m_s3: float = 0.25
    acceleration_rad_s2: float = 0.6
    jerk_rad_s3: float = 4.0


# Beside a learner, who cannot know the axis to less than half a millimetre: it asks for no more
# than the bore does and remembers no phase, for its answer is to follow from what can be seen.
BESIDE_A_LEARNER = Settings(
    stops=False, axis_m=0.0008, axis_rad=math.radians(1.2), limit_m=BORE_RADIUS_M,
    limit_at_rim_m=BORE_RADIUS_M, limit_rad=math.radians(2.4),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Plan:
    """One tick's answer."""

    delta: Array  # (8, 6) displacement (m) and rotation vector (rad) a step, base frame
    phase: Phase
    done: bool  # the goal is reached and the arm is (nearly) at rest
    progress: float  # 0..1 of the way


@dataclass(frozen=True, eq=False)
class _Where:
    """Tip in the trocar frame, turn that is left to the wanted orientation, speed of the tip."""

    tip_m: Array  # (3,)
    turn_rad: Array  # (3,)
    speed_m_s: float

    @property
    def depth_m(self) -> float:
        return float(self.tip_m[2])

    @property
    def radial_m(self) -> float:
        return math.hypot(self.tip_m[0], self.tip_m[1])

    @property
    def angle_rad(self) -> float:
        return math.sqrt(float(self.turn_rad @ self.turn_rad))


def start_pose(seed: int, episode: int) -> tuple[Array, Array]:
    """Noisy pose in front of the eye where work begins: tip (3,) m and quaternion (4,)."""
    tip, rotation = kin.forward(Expert(sc.draw_scene(seed)).start_joints(episode))
    return tip, euler_to_quat(kin.euler_rad(rotation))


class ScriptedExpert:
    """Closed loop, one thread. Remembers its phase and the velocity it last asked for, so that
    chunks join smoothly; everything else is in the sight.
    """

    def __init__(self, seed: int = 0, settings: Settings | None = None) -> None:
        """`seed` draws the start poses that `retract` goes to."""
        self._settings = settings or Settings()
        self._seed = seed
        self._episode = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything but the settings."""
        settings = self._settings
        self.goal: Goal | None = None
        self.phase = Phase.REST
        self._move = Smoother(settings.acceleration_m_s2, settings.jerk_m_s3)
        self._turn = Smoother(settings.acceleration_rad_s2, settings.jerk_rad_s3)
        self._last: Sight | None = None
        self._still = 0
        self._eye_m_s: Array = np.zeros(3)
        self._eye_rad_s: Array = np.zeros(3)
        self._way_m = 0.0
        self._home = start_pose(self._seed, self._episode)

    def plan(self, sight: Sight, goal: Goal) -> Plan:
        """Return the next chunk; call once a tick, every PERIOD_S."""
        if goal is not self.goal:
            self._begin(goal)
        self._observe(sight)
        self.phase = self._next_phase(self.phase, self._locate(sight))
        where = self._locate(sight)  # the new phase may want another orientation
        delta = self._look_ahead(sight, where)
        left_m = self._left_m(where)
        self._way_m = max(self._way_m, left_m)
        done = self.phase is (Phase.HOLD if goal is Goal.INSERT else Phase.REST)
        progress = 1.0 if done else 1.0 - left_m / max(self._way_m, 1e-9)
        return Plan(delta, self.phase, done, progress)

    @property
    def eye_motion(self) -> Array:
        """How it sees the eye move (6,): m/s and rad/s, base frame."""
        return np.concatenate([self._eye_m_s, self._eye_rad_s])

    def _begin(self, goal: Goal) -> None:
        self.goal = goal
        self.phase = Phase.APPROACH if goal is Goal.INSERT else Phase.RETRACT
        self._way_m = 0.0
        if goal is Goal.RETRACT:
            self._episode += 1
            self._home = start_pose(self._seed, self._episode)

    def _observe(self, sight: Sight) -> None:
        """Learn from two sights how the eye moves, and whether the robot moves at all."""
        last, self._last = self._last, sight
        if last is None or sight.stamp_ns <= last.stamp_ns:
            return
        passed_s = (sight.stamp_ns - last.stamp_ns) / NS
        shift = (sight.opening_m - last.opening_m) / passed_s
        spin = relative_rotvec(last.trocar_xyzw, sight.trocar_xyzw) / passed_s
        self._eye_m_s = _followed(self._eye_m_s, shift, _EYE_SPEED_M_S)
        self._eye_rad_s = _followed(self._eye_rad_s, spin, _EYE_TURN_RAD_S)
        moved_m = np.linalg.norm(sight.tip_m - last.tip_m)
        turned_rad = np.linalg.norm(relative_rotvec(last.tip_xyzw, sight.tip_xyzw))
        still = moved_m < _STILL_M and turned_rad < _STILL_RAD
        self._still = self._still + 1 if still else 0
        if self._still >= _STILL_TICKS:
            self._move.rest()
            self._turn.rest()

    def _locate(self, sight: Sight) -> _Where:
        to_trocar = quat_inverse(sight.trocar_xyzw)
        tip_m = rotate(to_trocar, sight.tip_m - sight.opening_m)
        self._hold_m = sight.tissue_depth_m - self._settings.above_tissue_m
        self._home_in_trocar_m = rotate(to_trocar, self._home[0] - sight.opening_m)
        homeward = self.phase in (Phase.RETURN, Phase.REST)
        wanted = self._home[1] if homeward else sight.trocar_xyzw
        turn = relative_rotvec(sight.tip_xyzw, wanted)
        return _Where(tip_m, turn, float(np.linalg.norm(self._move.velocity)))

    def _look_ahead(self, sight: Sight, where: _Where) -> Array:
        """Play the next STEPS steps, phase changes included; keep the motion after the first."""
        dt_s = PERIOD_S / _SUBSTEPS
        move, turn, phase = self._move.copy(), self._turn.copy(), self.phase
        forth, back = _turner(sight.trocar_xyzw), _turner(quat_inverse(sight.trocar_xyzw))
        eye = back(self._eye_m_s)
        delta = np.zeros((STEPS, 6))
        for step in range(STEPS):
            for _ in range(_SUBSTEPS):
                linear, angular = self._field(phase, where)
                follows = phase < Phase.RETURN
                drift, roll = (eye, self._eye_rad_s) if follows else (np.zeros(3), np.zeros(3))
                base = move.follow(forth(linear + drift), dt_s)
                spin = turn.follow(angular + roll, dt_s)
                delta[step] += np.concatenate([base, spin]) * dt_s
                where = _Where(
                    where.tip_m + (back(base) - eye) * dt_s,
                    where.turn_rad - (spin - roll) * dt_s,
                    float(np.linalg.norm(base)),
                )
                if phase is not Phase.RETRACT:  # what follows wants another orientation
                    phase = self._next_phase(phase, where)
            if step == 0:
                self._move, self._turn = move.copy(), turn.copy()
        return delta

    def _next_phase(self, phase: Phase, where: _Where) -> Phase:
        if phase in (Phase.APPROACH, Phase.ALIGN):
            return self._before_entry(phase, where)
        if phase in (Phase.INSERT, Phase.HOLD):
            if where.depth_m < -0.001 and _is_astray(where):
                return Phase.APPROACH
            close_m = 0.0001 if phase is Phase.INSERT else 0.0003
            near = abs(self._hold_m - where.depth_m) < close_m and where.speed_m_s < 0.001
            return Phase.HOLD if near else Phase.INSERT
        if phase is Phase.RETRACT:
            out = where.depth_m < -self._settings.standoff_m + 0.0005
            return Phase.RETURN if out else phase
        home_m = np.linalg.norm(self._home_in_trocar_m - where.tip_m)
        there = home_m < 0.0005 and where.angle_rad < 0.01 and where.speed_m_s < 0.001
        return Phase.REST if there else phase

    def _before_entry(self, phase: Phase, where: _Where) -> Phase:
        settings = self._settings
        if where.depth_m > 0.0 and where.radial_m < BORE_RADIUS_M:
            return Phase.INSERT  # found inside: there is only forward and back
        off_m = abs(where.depth_m + settings.standoff_m)
        if not settings.stops and not _is_astray(where):
            if where.depth_m > -settings.standoff_m - 0.0005:
                return Phase.INSERT
        on_axis = where.radial_m < settings.axis_m and where.angle_rad < settings.axis_rad
        if on_axis and off_m < 0.0005 and where.speed_m_s < 0.002:
            return Phase.INSERT
        return Phase.ALIGN if off_m + where.radial_m < 0.003 else Phase.APPROACH

    def _field(self, phase: Phase, where: _Where) -> tuple[Array, Array]:
        """Wanted velocity (3,) m/s in the trocar frame and turn (3,) rad/s in the base frame."""
        settings = self._settings
        if phase is Phase.REST:
            return np.zeros(3), np.zeros(3)
        if phase in (Phase.INSERT, Phase.HOLD):
            return self._along(self._hold_m, settings.insert, where)
        if phase is Phase.RETRACT:
            return self._along(-1.5 * settings.standoff_m, settings.retract, where)
        turn = settings.turn.towards(where.turn_rad)
        if phase is Phase.RETURN:
            return settings.approach.towards(self._home_in_trocar_m - where.tip_m), turn
        # On a cone: the further off the axis, the further back.
        depth_m = -settings.standoff_m - 0.6 * max(where.radial_m - 0.001, 0.0)
        error = np.array([0.0, 0.0, depth_m]) - where.tip_m
        if where.depth_m > -_CLEAR_M and where.radial_m > BORE_RADIUS_M / 2:
            error[:2] = 0.0  # beside the opening: straight back first
            turn = np.zeros(3)
        return settings.approach.towards(error), turn

    def _along(self, depth_m: float, pace: Pace, where: _Where) -> tuple[Array, Array]:
        """Motion on the trocar's axis. Forward only as far as the needle is aligned."""
        settings = self._settings
        inside = where.depth_m > -0.001
        velocity = settings.sideways.towards(np.array([-where.tip_m[0], -where.tip_m[1], 0.0]))
        ahead_m = depth_m - where.depth_m
        velocity[2] = math.copysign(pace.at(abs(ahead_m)), ahead_m)
        if ahead_m > 0.0:
            limit_m = settings.limit_at_rim_m if inside else settings.limit_m
            off = _share(where.radial_m, settings.axis_m, limit_m)
            off_angle = _share(where.angle_rad, settings.axis_rad, settings.limit_rad)
            velocity[2] *= 1.0 - max(off, off_angle)
            if where.radial_m > settings.limit_m and -_BACK_M < where.depth_m <= 0.0:
                velocity[2] = -pace.at(where.depth_m + _BACK_M)
        turn = settings.turn.towards(where.turn_rad) if ahead_m > 0.0 or inside else np.zeros(3)
        return velocity, turn

    def _left_m(self, where: _Where) -> float:
        """Way that is left, m."""
        standoff_m = self._settings.standoff_m
        if self.goal is Goal.RETRACT:
            out_m = max(where.depth_m + standoff_m, 0.0) if self.phase is Phase.RETRACT else 0.0
            return out_m + float(np.linalg.norm(self._home_in_trocar_m - where.tip_m))
        if self.phase in (Phase.INSERT, Phase.HOLD):
            return abs(self._hold_m - where.depth_m)
        to_standoff_m = np.linalg.norm(where.tip_m + np.array([0.0, 0.0, standoff_m]))
        return self._hold_m + standoff_m + float(to_standoff_m)


def _is_astray(where: _Where) -> bool:
    return where.radial_m > _ASTRAY_M or where.angle_rad > _ASTRAY_RAD


def _share(value: float, begins: float, ends: float) -> float:
    return min(max((value - begins) / (ends - begins), 0.0), 1.0)


def _followed(known: Array, seen: Array, most: float) -> Array:
    """Smoothed estimate of the eye's motion; what is faster than `most` is a jump."""
    return 0.5 * known + 0.5 * (seen if np.linalg.norm(seen) < most else np.zeros(3))


def _turner(quat_xyzw: Array) -> Callable[[Array], Array]:
    """Return what turns vectors (3,) by a quaternion, without checking it anew each time."""
    matrix = rotate(quat_xyzw, np.eye(3)).T
    return lambda vector: np.asarray(matrix @ vector)
