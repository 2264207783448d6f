"""Whether an insertion succeeded, by the truth that only the simulator knows.

Headless generation and evaluation ask it after every physics step. Deliberately no opinion of the
policy's.
"""

from typing import Any

from vla_sim.expert import HOLD_ABOVE_TISSUE_M
from vla_sim.lab import PHYSICS_STEP_S
from vla_sim.shared import COLUMNS
from vla_sim.tissue import HUB_RADIUS_M

TOLERANCE_M = 0.0005
HOLD_S = 1.0
# How far the tip may stray in that time, by what the eye does (vla_sim.eye_motion): who follows an
# eye that moves is behind it at times.
STANDING_M = {'still': 0.0001, 'moving': 0.00025}
# Of force on eye and trocar: below the 0.134 N that a surgeon's instrument put on the sclera of a
# pig's eye on average (doi 10.1109/SENSORS43011.2019.8956820).
SCLERA_LIMIT_N = 0.12


class Judge:
    """Success: tip inside, held at the hold depth for HOLD_S, trocar and eye unharmed.

    Harmed by more than SCLERA_LIMIT_N, along the needle beside the opening or across it inside.

    Held: within TOLERANCE_M, and no further than `standing_m` from the depth at which the time
    began (STANDING_M by itself). Who creeps through the tolerance at less than 1 mm/s is within
    it for HOLD_S as well, and has not found the depth.
    """

    def __init__(self, tissue_depth_m: float, standing_m: float = STANDING_M['still']) -> None:
        self._hold_m = tissue_depth_m - HOLD_ABOVE_TISSUE_M
        self._standing_m = standing_m
        self._held_s = self._began_m = 0.0
        self.inside = self.punctured = False
        self.depth_error_m = 0.0
        self.max_force_n = self.max_side_n = 0.0
        self.harm = ''  # what the needle did first: struck the trocar, struck the eye, ...

    def look(self, state: Any) -> None:
        """Take in one state (WIDTH,) of the scene."""
        flags = int(state[COLUMNS.flags])
        self.see(
            bool(flags & 1), bool(flags & 4), float(state[COLUMNS.force]),
            float(state[COLUMNS.depth]), float(state[COLUMNS.radial]), float(state[COLUMNS.side]),
            PHYSICS_STEP_S,
        )  # fmt: skip

    def see(
        self, inside: bool, punctured: bool, force_n: float, depth_m: float, radial_m: float,
        side_n: float, lasted_s: float,
    ) -> None:  # fmt: skip
        """Take in the truth of the last `lasted_s`: flags, forces, tip against the trocar."""
        self.inside = inside
        self.punctured |= punctured
        self.max_force_n = max(self.max_force_n, force_n)
        self.max_side_n = max(self.max_side_n, side_n)
        self.harm = self.harm or self._harm(force_n, radial_m, side_n)
        self.depth_error_m = depth_m - self._hold_m
        if abs(depth_m - self._began_m) > self._standing_m:
            self._began_m, self._held_s = depth_m, 0.0
        good = inside and abs(self.depth_error_m) < TOLERANCE_M
        self._held_s = self._held_s + lasted_s if good else 0.0

    @property
    def held(self) -> bool:
        """The tip has been where it should be for HOLD_S."""
        return self._held_s >= HOLD_S - PHYSICS_STEP_S / 2

    def _harm(self, force_n: float, radial_m: float, side_n: float) -> str:
        if self.punctured:
            return 'punctured the tissue'
        if side_n > SCLERA_LIMIT_N:
            return 'levered the trocar'
        if force_n > SCLERA_LIMIT_N and not self.inside:
            return f'struck the {"trocar" if radial_m < HUB_RADIUS_M else "eye"}'
        return ''

    @property
    def outcome(self) -> str:
        """'success' or 'failure'."""
        return 'success' if self.held and not self.harm else 'failure'

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the episode's info."""
        return {
            'held': self.held,
            'harm': self.harm,
            'depth_error_m': round(self.depth_error_m, 6),
            'max_force_n': round(self.max_force_n, 4),
            'max_side_n': round(self.max_side_n, 4),
        }
