"""The demonstrator with a learner's eyes: where the trocar was in the pictures, roughly.

Drives some of the episodes that `teacher` collects, for it gets into what a good policy gets into:
it waits in front of the hub, backs off and tries again. Its chunks are executed, never learned.
Deliberately knows nothing that a policy could not: old pictures, the tool's pose, the OCT.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vla_core.rotation import quat_inverse, quat_multiply, rotate, rotvec_to_quat
from vla_core.timebase import NS
from vla_sim.oct_signal import IMAGING_DEPTH_M
from vla_sim.scripted import ScriptedExpert
from vla_sim.scripted_values import BESIDE_A_LEARNER, Goal, PERIOD_S, Sight
from vla_sim.tissue import BORE_RADIUS_M, HUB_RADIUS_M

Array = NDArray[np.float64]

SEEN_M, SEEN_RAD = 0.0003, 0.005  # standard deviations of what one pass sees, an axis
_BACK_M, _BACK_M_S = 0.003, 0.003
_AXIS = np.array([0.0, 0.0, 1.0])


class HamperedDemonstrator:
    """One episode; call `drive` once a tick."""

    def __init__(self, seed: int) -> None:
        """`seed` draws what each pass gets wrong."""
        self._expert = ScriptedExpert(seed, BESIDE_A_LEARNER)
        self._rng = np.random.default_rng([seed, 0x8A3])
        self._sights: list[Sight] = []
        self._seen: Sight | None = None
        self._wrong_m, self._wrong_rad = np.zeros(3), np.zeros(3)

    def drive(self, sight: Sight, image_age_s: float) -> Array:
        """Return the chunk (8, 6) for pictures of that age."""
        self._sights.append(sight)
        self._look(sight.stamp_ns - round(image_age_s * NS))
        seen = self._as_seen(sight)
        delta = self._expert.plan(seen, Goal.INSERT).delta
        return self._held_back(delta, sight) if before_the_hub(sight) else delta

    def _look(self, picture_ns: int) -> None:
        """Take the sight of the pictures' time; another one comes with errors of its own."""
        seen = min(self._sights, key=lambda sight: abs(sight.stamp_ns - picture_ns))
        if seen is not self._seen:
            self._seen = seen
            self._wrong_m = self._rng.normal(0.0, SEEN_M, 3)
            self._wrong_rad = self._rng.normal(0.0, SEEN_RAD, 3)

    def _as_seen(self, sight: Sight) -> Sight:
        """The tool as it is, the trocar as it was; within the OCT's reach at its true depth."""
        assert self._seen is not None
        turned = quat_multiply(rotvec_to_quat(self._wrong_rad), self._seen.trocar_xyzw)
        opening_m = self._seen.opening_m + self._wrong_m
        depth_m = sight.local_m[2]
        if depth_m > -IMAGING_DEPTH_M:
            axis = rotate(turned, _AXIS)
            seen_depth_m = float((sight.tip_m - opening_m) @ axis)
            opening_m = opening_m + axis * (seen_depth_m - depth_m)
        return replace(sight, opening_m=opening_m, trocar_xyzw=turned)

    def _held_back(self, delta: Array, sight: Sight) -> Array:
        """No step forward; backwards where it is close."""
        axis = rotate(sight.trocar_xyzw, _AXIS)
        back_m = _BACK_M_S * PERIOD_S if sight.local_m[2] > -_BACK_M else 0.0
        held = delta.copy()
        held[:, :3] -= np.outer(delta[:, :3] @ axis + back_m, axis)
        return held


def before_the_hub(sight: Sight) -> bool:
    """Whether the OCT shows the trocar's hub ahead instead of the valve in its bore."""
    tip_m = sight.local_m
    along = rotate(quat_inverse(sight.trocar_xyzw), rotate(sight.tip_xyzw, _AXIS))
    if not -IMAGING_DEPTH_M < tip_m[2] <= 0.0:
        return False
    ahead_m = tip_m[:2] - tip_m[2] / along[2] * along[:2]
    return bool(BORE_RADIUS_M < np.hypot(*ahead_m) < HUB_RADIUS_M)
