"""What the scripted expert works with: goal, phases, what it sees, what it answers, its settings.

Its behaviour is in `scripted_way` (what to do where) and `scripted` (what to remember). Frames:
`trocar` has its origin in the centre of the opening and its z axis into the eye; the chunk is in
the base frame. Deliberately only values.
"""

from dataclasses import dataclass
from enum import IntEnum
import math

import numpy as np
from numpy.typing import NDArray

from vla_core.rotation import quat_inverse, rotate
from vla_sim.expert import HOLD_ABOVE_TISSUE_M, STANDOFF_M
from vla_sim.scripted_motion import Pace
from vla_sim.tissue import BORE_RADIUS_M

Array = NDArray[np.float64]

STEPS = 8
PERIOD_S = 0.1


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

    @property
    def local_m(self) -> Array:
        """The tip (3,) in the trocar's frame: sideways, sideways, depth."""
        return rotate(quat_inverse(self.trocar_xyzw), self.tip_m - self.opening_m)


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
class Where:
    """Tip in the trocar frame, turn that is left to the wanted orientation, speed of the tip."""

    tip_m: Array  # (3,)
    turn_rad: Array  # (3,)
    speed_m_s: float

    @property
    def depth_m(self) -> float:
        """Past the opening, along the axis."""
        return float(self.tip_m[2])

    @property
    def radial_m(self) -> float:
        """Off the axis."""
        return math.hypot(self.tip_m[0], self.tip_m[1])

    @property
    def angle_rad(self) -> float:
        """Off the wanted orientation."""
        return math.sqrt(float(self.turn_rad @ self.turn_rad))
