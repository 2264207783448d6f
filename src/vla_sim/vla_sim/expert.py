"""The scripted expert: where the arm should be at any time, a pure function of time and seed.

`World` and tests ask it; it sees the true pose of the trocar. One cycle: wait at a noisy start
pose, align in front of the trocar, insert along its axis, hold the tip above the tissue, retract,
go to the next start. Deliberately open loop: it corrects nothing and feels no force.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vla_core.arms import meca500 as kin
from vla_sim import scene as sc

Array = NDArray[np.float64]

STANDOFF_M = 0.012
HOLD_ABOVE_TISSUE_M = 0.0010
BREATH_M = 0.00015  # the hold is alive: the surface in the A-scan moves a little
START_NOISE_RAD = float(np.radians(5.0))  # on J1-J3, as in the lab's demonstrations
START_BACK_M = 0.050


class Phase(IntEnum):
    """Part of the cycle."""

    START = 0
    ALIGN = 1
    SETTLE = 2
    INSERT = 3
    HOLD = 4
    RETRACT = 5
    RETURN = 6


# Seconds. The insertion covers about 30 mm at up to 7 mm/s; joint speeds stay under a tenth of
# their limits.
DURATION_S = {
    Phase.START: 1.0,
    Phase.ALIGN: 7.0,
    Phase.SETTLE: 0.8,
    Phase.INSERT: 8.0,
    Phase.HOLD: 4.0,
    Phase.RETRACT: 4.0,
    Phase.RETURN: 5.2,
}
CYCLE_S = sum(DURATION_S.values())


@dataclass(frozen=True)
class Setpoint:
    """What the servos should do at one time."""

    joint_rad: Array  # (6,)
    joint_rad_s: Array  # (6,)
    phase: Phase
    cycle: int


class Expert:
    """Script of one scene; `at` may be asked in any order, and plans cycles when needed."""

    def __init__(self, scene: sc.Scene, step_s: float = 0.002) -> None:
        self._scene = scene
        self._step_s = step_s
        self._steps = round(CYCLE_S / step_s)
        self._cycle = lru_cache(maxsize=2)(self._plan)

    def at(self, time_s: float) -> Setpoint:
        """Set point at `time_s` since the script began (negative: earlier cycles)."""
        step = int(np.floor(time_s / self._step_s + 1e-6))
        cycle, row = divmod(step, self._steps)
        joints, speeds, phases = self._cycle(cycle)
        return Setpoint(joints[row], speeds[row], Phase(int(phases[row])), cycle)

    def start_joints(self, cycle: int) -> Array:
        """Noisy start pose (6,) of a cycle, rad."""
        rng = np.random.default_rng([self._scene.seed, 0xE4, cycle & 0xFFFFFFFF])
        tip = sc.NOMINAL_OPENING_M - START_BACK_M * sc.INWARD + np.array([0.0, 0.0, 0.008])
        joints = kin.inverse(tip, kin.frame_along(sc.INWARD))
        joints[:3] += rng.uniform(-1, 1, 3) * START_NOISE_RAD
        return joints

    def _plan(self, cycle: int) -> tuple[Array, Array, NDArray[np.int8]]:
        """Joints (M, 6), their speeds (M, 6) and phases (M,) of one cycle."""
        hold = self._scene.tissue_depth_m - HOLD_ABOVE_TISSUE_M
        ready = self._along_axis(np.array([-STANDOFF_M]))[0]
        start, following = self.start_joints(cycle), self.start_joints(cycle + 1)
        rows = {phase: round(seconds / self._step_s) for phase, seconds in DURATION_S.items()}
        stroke = -STANDOFF_M + (hold + STANDOFF_M) * _minimum_jerk(rows[Phase.INSERT])
        back = hold - (hold + STANDOFF_M) * _minimum_jerk(rows[Phase.RETRACT])
        beat = np.arange(rows[Phase.HOLD]) / rows[Phase.HOLD]
        breath = hold - BREATH_M * (1 - np.cos(2 * np.pi * 3 * beat)) / 2
        parts = (
            np.repeat(start[None], rows[Phase.START], axis=0),
            start + _minimum_jerk(rows[Phase.ALIGN])[:, None] * (ready - start),
            np.repeat(ready[None], rows[Phase.SETTLE], axis=0),
            self._along_axis(stroke),
            self._along_axis(breath),
            self._along_axis(back),
            ready + _minimum_jerk(rows[Phase.RETURN])[:, None] * (following - ready),
        )
        joints = np.concatenate(parts)
        phases = np.concatenate([np.full(rows[phase], phase, dtype=np.int8) for phase in Phase])
        return joints, np.gradient(joints, self._step_s, axis=0), phases

    def _along_axis(self, depth_m: Array) -> Array:
        """Joints (N, 6) with the tip at depths (N,) on the trocar's axis."""
        tip = self._scene.opening_m + depth_m[:, None] * self._scene.axis
        rotation = np.broadcast_to(self._scene.trocar_rotation, (len(depth_m), 3, 3))
        return kin.inverse(tip, rotation)


def _minimum_jerk(rows: int) -> Array:
    """0 to 1 in `rows` steps (the last value is one step short of 1)."""
    u = np.arange(rows) / rows
    return u**3 * (10 - 15 * u + 6 * u**2)
