"""Whether an insertion succeeded, by the truth that only the simulator knows.

Headless generation and evaluation ask it after every physics step. Deliberately no opinion of the
policy's.
"""

from typing import Any

from vla_sim.expert import HOLD_ABOVE_TISSUE_M
from vla_sim.lab import PHYSICS_STEP_S
from vla_sim.shared import COLUMNS

TOLERANCE_M = 0.0005
HOLD_S = 1.0


class Judge:
    """Success: tip inside, within TOLERANCE_M of the hold depth for HOLD_S, rim never touched."""

    def __init__(self, tissue_depth_m: float) -> None:
        self._hold_m = tissue_depth_m - HOLD_ABOVE_TISSUE_M
        self._held_steps = 0
        self.inside = self.rim_contact = self.punctured = False
        self.depth_error_m = 0.0
        self.max_force_n = 0.0

    def look(self, state: Any) -> None:
        """Take in one state (WIDTH,) of the scene."""
        flags, force_n = int(state[COLUMNS.flags]), float(state[COLUMNS.force])
        self.inside = inside = bool(flags & 1)
        self.punctured |= bool(flags & 4)
        self.rim_contact |= force_n > 0.0 and not inside
        self.max_force_n = max(self.max_force_n, force_n)
        self.depth_error_m = float(state[COLUMNS.depth]) - self._hold_m
        good = inside and abs(self.depth_error_m) < TOLERANCE_M
        self._held_steps = self._held_steps + 1 if good else 0

    @property
    def held(self) -> bool:
        """The tip has been where it should be for HOLD_S."""
        return self._held_steps * PHYSICS_STEP_S >= HOLD_S

    @property
    def outcome(self) -> str:
        """'success' or 'failure'."""
        return 'success' if self.held and not (self.rim_contact or self.punctured) else 'failure'

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the episode's info."""
        return {
            'held': self.held,
            'rim_contact': self.rim_contact,
            'tissue_punctured': self.punctured,
            'depth_error_m': round(self.depth_error_m, 6),
            'max_force_n': round(self.max_force_n, 4),
        }
