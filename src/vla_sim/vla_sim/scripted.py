"""The scripted expert as a policy: from what it sees now to the next chunk of motion.

`scripted_expert_node` drives the robot with it, and it makes the demonstrations the model learns
from. It sees the true pose of the trocar (a `Sight`), anew at every tick, so it corrects whatever
pushed the arm off and follows an eye that moves; `scripted_way` says what it does where.
Deliberately no clock, no ROS, no physics, no joints: `expert` is the open-loop script in joints.
"""

from collections.abc import Callable

import numpy as np

from vla_core.arms import meca500 as kin
from vla_core.rotation import euler_to_quat, quat_inverse, relative_rotvec, rotate
from vla_core.timebase import NS
from vla_sim import scene as sc
from vla_sim.expert import Expert
from vla_sim.scripted_motion import Smoother
from vla_sim.scripted_values import (
    Array,
    Goal,
    PERIOD_S,
    Phase,
    Plan,
    Settings,
    Sight,
    STEPS,
    Where,
)
from vla_sim.scripted_way import Way

_SUBSTEPS = 4  # of one step of the chunk, in the look-ahead
_STILL_TICKS = 3  # so many ticks without motion: the robot is held
_STILL_M, _STILL_RAD = 2e-5, 2e-4
_EYE_SPEED_M_S = 0.010  # what an eye may do; a faster jump is no motion to follow
_EYE_TURN_RAD_S = 0.2


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
        way = self._way(sight)
        self.phase = way.next_phase(self.phase, self._locate(sight))
        where = self._locate(sight)  # the new phase may want another orientation
        delta = self._look_ahead(sight, way, where)
        left_m = way.left_m(goal, self.phase, where)
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

    def _way(self, sight: Sight) -> Way:
        hold_m = sight.tissue_depth_m - self._settings.above_tissue_m
        home_m = rotate(quat_inverse(sight.trocar_xyzw), self._home[0] - sight.opening_m)
        return Way(self._settings, hold_m, home_m)

    def _locate(self, sight: Sight) -> Where:
        homeward = self.phase in (Phase.RETURN, Phase.REST)
        wanted = self._home[1] if homeward else sight.trocar_xyzw
        turn = relative_rotvec(sight.tip_xyzw, wanted)
        return Where(sight.local_m, turn, float(np.linalg.norm(self._move.velocity)))

    def _look_ahead(self, sight: Sight, way: Way, where: Where) -> Array:
        """Play the next STEPS steps, phase changes included; keep the motion after the first."""
        dt_s = PERIOD_S / _SUBSTEPS
        move, turn, phase = self._move.copy(), self._turn.copy(), self.phase
        forth, back = _turner(sight.trocar_xyzw), _turner(quat_inverse(sight.trocar_xyzw))
        eye = back(self._eye_m_s)
        delta = np.zeros((STEPS, 6))
        for step in range(STEPS):
            for _ in range(_SUBSTEPS):
                linear, angular = way.velocity(phase, where)
                follows = phase < Phase.RETURN
                drift, roll = (eye, self._eye_rad_s) if follows else (np.zeros(3), np.zeros(3))
                base = move.follow(forth(linear + drift), dt_s)
                spin = turn.follow(angular + roll, dt_s)
                delta[step] += np.concatenate([base, spin]) * dt_s
                where = Where(
                    where.tip_m + (back(base) - eye) * dt_s,
                    where.turn_rad - (spin - roll) * dt_s,
                    float(np.linalg.norm(base)),
                )
                if phase is not Phase.RETRACT:  # what follows wants another orientation
                    phase = way.next_phase(phase, where)
            if step == 0:
                self._move, self._turn = move.copy(), turn.copy()
        return delta


def _followed(known: Array, seen: Array, most: float) -> Array:
    """Smoothed estimate of the eye's motion; what is faster than `most` is a jump."""
    return 0.5 * known + 0.5 * (seen if np.linalg.norm(seen) < most else np.zeros(3))


def _turner(quat_xyzw: Array) -> Callable[[Array], Array]:
    """Return what turns vectors (3,) by a quaternion, without checking it anew each time."""
    matrix = rotate(quat_xyzw, np.eye(3)).T
    return lambda vector: np.asarray(matrix @ vector)
