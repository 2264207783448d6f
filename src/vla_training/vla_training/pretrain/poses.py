"""Random poses of the needle around a trocar, as the arm meets them on its way into the eye.

Used by `scenes`. Poses lie on the approach, near the opening (most), inside the trocar and at the
start. Some near the opening are well beside it: who never saw that believes to be on the axis
wherever the needle is near. Deliberately knows no pictures.
"""

import numpy as np
from numpy.typing import NDArray

from vla_core.arms import meca500 as kin
from vla_core.rotation import rotate, rotvec_to_quat
from vla_sim import scene as sc
from vla_sim.expert import Expert

Array = NDArray[np.float64]

# Share of the kinds of poses. Most lie near the opening: there a millimetre decides.
APPROACH, NEAR, BESIDE, INSIDE = 0.30, 0.28, 0.20, 0.13  # the rest are start poses
_FAR_M, _NEAR_M, _BESIDE_M = 0.060, 0.015, 0.010
_TRIES = 50


def draw_joints(scene: sc.Scene, rng: np.random.Generator) -> Array:
    """Draw joints (6,) rad that the arm can reach; start poses are the last resort."""
    for _ in range(_TRIES):
        kind = rng.random()
        if kind > APPROACH + NEAR + BESIDE + INSIDE:
            break
        depth_m, sideways_m, turn_rad = _draw_offset(kind, scene, rng)
        frame = scene.trocar_rotation
        offset = np.array([*(rng.standard_normal(2) * sideways_m), depth_m])
        tip = scene.opening_m + frame @ offset
        turn = np.array([*(rng.standard_normal(2) * turn_rad), rng.normal(0.0, 0.05)])
        try:
            return kin.inverse(tip, frame @ rotate(rotvec_to_quat(turn), np.eye(3)).T)
        except kin.UnreachableError:
            continue
    return Expert(scene).start_joints(int(rng.integers(1 << 30)))


def _draw_offset(
    kind: float, scene: sc.Scene, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Depth along the axis (m), standard deviations sideways (m) and of the tilt (rad)."""
    if kind < APPROACH:
        away = rng.uniform(0.0, _FAR_M)
        return -away, 0.002 + 0.25 * away, 0.03 + 2.5 * away
    if kind < APPROACH + NEAR:
        away = rng.uniform(-0.0005, _NEAR_M)
        return -away, 0.0006 + 0.12 * max(away, 0.0), 0.02
    if kind < APPROACH + NEAR + BESIDE:
        return -rng.uniform(-0.0005, _BESIDE_M), 0.0018, 0.03
    return rng.uniform(0.0, scene.tissue_depth_m - 0.0005), 0.0003, 0.01
