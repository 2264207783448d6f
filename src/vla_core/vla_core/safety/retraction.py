"""Withdrawing the needle along its own axis: after a force limit was crossed, or by an operator.

Used by the gate, under its lock; the velocity it asks for passes through every limit like a
policy's. Deliberately straight and blind to chunks: no turn, no return, no second try.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vla_core.safety.limits import SafetyLimits
from vla_core.safety.pose import Pose
from vla_core.safety.values import Intervention
from vla_core.spatial import dot, scale, subtract, Vector


@dataclass
class Retraction:
    """One withdrawal. Time is counted in commands, for the clock may step."""

    start_m: Vector  # where the tip was
    axis: Vector  # unit, out of the needle: the withdrawal goes the other way
    force_n: float  # that set it off
    causes: tuple[Intervention, ...]
    whole: bool = False  # all the way out, as an operator asks for
    commands: int = 0
    sent_m: float = 0.0

    def velocity(self, limits: SafetyLimits) -> Sequence[float]:
        """What the withdrawal asks for (6,)."""
        return [*scale(-limits.retract_speed_m_s, self.axis), 0.0, 0.0, 0.0]

    def note(self, velocity: Sequence[float], period_s: float) -> None:
        """Take note of what was sent."""
        self.commands += 1
        linear = velocity[0], velocity[1], velocity[2]
        self.sent_m -= dot(linear, self.axis) * period_s

    def end(
        self, pose: Pose, force_n: float, period_s: float, limits: SafetyLimits
    ) -> Intervention | None:
        """Why it is over: distance, time, or a force that grows on the way out."""
        distance_m, timeout_s = limits.retract_distance_m, limits.retract_timeout_s
        if self.whole:
            distance_m, timeout_s = limits.withdraw_distance_m, limits.withdraw_timeout_s
        went_m = max(self.sent_m, -dot(subtract(pose.position_m, self.start_m), self.axis))
        if went_m >= distance_m:
            return Intervention('retracted', went_m, distance_m)
        lasted_s = self.commands * period_s
        if lasted_s >= timeout_s:
            return Intervention('retract_timeout', lasted_s, timeout_s)
        allowed_n = self.force_n + limits.max_force_n
        if abs(force_n) > allowed_n:
            return Intervention('retract_force', abs(force_n), allowed_n)
        return None
