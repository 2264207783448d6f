"""Withdrawing the needle along its own axis after a force limit was crossed.

Used by the gate, under its lock; the velocity it asks for passes through every limit like a
policy's. Deliberately straight and blind to chunks: no turn, no return, no second try.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_core.safety.limits import SafetyLimits
from vla_core.safety.pose import Pose
from vla_core.safety.values import Intervention

Array = NDArray[np.float64]


@dataclass
class Retraction:
    """One withdrawal. Time is counted in commands, for the clock may step."""

    start_m: Array  # (3,) where the tip was
    axis: Array  # (3,) unit, out of the needle: the withdrawal goes the other way
    force_n: float  # that set it off
    causes: tuple[Intervention, ...]
    commands: int = 0
    sent_m: float = 0.0

    def velocity(self, limits: SafetyLimits) -> Array:
        """What the withdrawal asks for (6,)."""
        return np.concatenate([-self.axis * limits.retract_speed_m_s, np.zeros(3)])

    def note(self, velocity: Array, period_s: float) -> None:
        """Take note of what was sent."""
        self.commands += 1
        self.sent_m += -float(velocity[:3] @ self.axis) * period_s

    def end(
        self, pose: Pose, force_n: float, period_s: float, limits: SafetyLimits
    ) -> Intervention | None:
        """Why it is over: distance, time, or a force that grows on the way out."""
        went_m = max(self.sent_m, -float((pose.position_m - self.start_m) @ self.axis))
        if went_m >= limits.retract_distance_m:
            return Intervention('retracted', went_m, limits.retract_distance_m)
        lasted_s = self.commands * period_s
        if lasted_s >= limits.retract_timeout_s:
            return Intervention('retract_timeout', lasted_s, limits.retract_timeout_s)
        allowed_n = self.force_n + limits.max_force_n
        if abs(force_n) > allowed_n:
            return Intervention('retract_force', abs(force_n), allowed_n)
        return None
