"""What the scripted expert does where: the next phase of the work, and the velocity it wants.

`scripted` asks at each tick and for each step of its look-ahead. Deliberately without memory:
everything follows from the place, the phase and the settings. In the trocar's frame.
"""

from dataclasses import dataclass
import math

import numpy as np

from vla_sim.scripted_motion import Pace
from vla_sim.scripted_values import Array, Goal, Phase, Settings, Where
from vla_sim.tissue import BORE_RADIUS_M

_CLEAR_M = 0.006  # so far in front of the opening nothing is in the way sideways
_BACK_M = 0.003  # so far in front of the opening it waits when it is too far off the axis to go on
_ASTRAY_M, _ASTRAY_RAD = 0.0025, math.radians(2.5)  # further off: begin again


@dataclass(frozen=True, eq=False)
class Way:
    """The work in one trocar."""

    settings: Settings
    hold_m: float  # depth to hold
    home_m: Array  # (3,) where `retract` ends

    def next_phase(self, phase: Phase, where: Where) -> Phase:
        """The phase at a place, coming from a phase."""
        if phase in (Phase.APPROACH, Phase.ALIGN):
            return self._before_entry(where)
        if phase in (Phase.INSERT, Phase.HOLD):
            if where.depth_m < -0.001 and _is_astray(where):
                return Phase.APPROACH
            close_m = 0.0001 if phase is Phase.INSERT else 0.0003
            near = abs(self.hold_m - where.depth_m) < close_m and where.speed_m_s < 0.001
            return Phase.HOLD if near else Phase.INSERT
        if phase is Phase.RETRACT:
            out = where.depth_m < -self.settings.standoff_m + 0.0005
            return Phase.RETURN if out else phase
        home_m = np.linalg.norm(self.home_m - where.tip_m)
        there = home_m < 0.0005 and where.angle_rad < 0.01 and where.speed_m_s < 0.001
        return Phase.REST if there else phase

    def _before_entry(self, where: Where) -> Phase:
        settings = self.settings
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

    def velocity(self, phase: Phase, where: Where) -> tuple[Array, Array]:
        """Wanted velocity (3,) m/s in the trocar frame and turn (3,) rad/s in the base frame."""
        settings = self.settings
        if phase is Phase.REST:
            return np.zeros(3), np.zeros(3)
        if phase in (Phase.INSERT, Phase.HOLD):
            return self._along(self.hold_m, settings.insert, where)
        if phase is Phase.RETRACT:
            return self._along(-1.5 * settings.standoff_m, settings.retract, where)
        turn = settings.turn.towards(where.turn_rad)
        if phase is Phase.RETURN:
            return settings.approach.towards(self.home_m - where.tip_m), turn
        # On a cone: the further off the axis, the further back.
        depth_m = -settings.standoff_m - 0.6 * max(where.radial_m - 0.001, 0.0)
        error = np.array([0.0, 0.0, depth_m]) - where.tip_m
        if where.depth_m > -_CLEAR_M and where.radial_m > BORE_RADIUS_M / 2:
            error[:2] = 0.0  # beside the opening: straight back first
            turn = np.zeros(3)
        return settings.approach.towards(error), turn

    def _along(self, depth_m: float, pace: Pace, where: Where) -> tuple[Array, Array]:
        """Motion on the trocar's axis. Forward only as far as the needle is aligned."""
        settings = self.settings
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

    def left_m(self, goal: Goal, phase: Phase, where: Where) -> float:
        """How far it still has to go, m."""
        standoff_m = self.settings.standoff_m
        if goal is Goal.RETRACT:
            out_m = max(where.depth_m + standoff_m, 0.0) if phase is Phase.RETRACT else 0.0
            return out_m + float(np.linalg.norm(self.home_m - where.tip_m))
        if phase in (Phase.INSERT, Phase.HOLD):
            return abs(self.hold_m - where.depth_m)
        to_standoff_m = np.linalg.norm(where.tip_m + np.array([0.0, 0.0, standoff_m]))
        return self.hold_m + standoff_m + float(to_standoff_m)


def _is_astray(where: Where) -> bool:
    return where.radial_m > _ASTRAY_M or where.angle_rad > _ASTRAY_RAD


def _share(value: float, begins: float, ends: float) -> float:
    return min(max((value - begins) / (ends - begins), 0.0), 1.0)
