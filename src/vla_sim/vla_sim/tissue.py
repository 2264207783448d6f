"""The needle in the eye: what lies ahead of the tip, and the force along the needle.

`Lab` updates it every physics step. MuJoCo's contacts know rigid bodies only; a needle in tissue
is a spring that gives way (puncture) and friction afterwards, so it is modelled here and applied
to the arm as a force. Deliberately one-dimensional along the needle, in plain floats: it runs 500
times a second.

Orders of magnitude: needle insertion forces in sclera and through trocar valves are some tenths of
a newton. All coordinates are in the trocar frame: origin in the opening's centre, z into the eye.
"""

from enum import IntEnum
import math
from typing import NamedTuple

import numpy as np

from vla_sim import scene as sc

BORE_RADIUS_M = 0.0011
HUB_RADIUS_M = 0.0024
VALVE_DEPTH_M = 0.0010
PAD_TOP_M = -0.005  # in the phantom frame

VALVE_N_M = 350.0  # stiffness of the valve's membrane
TISSUE_N_M = 260.0
TISSUE_PUNCTURE_N = 0.35
HARD_N_M = 1500.0  # sclera, hub and pad beside the opening
HARD_LIMIT_N = 5.0
FRICTION_N = 0.035  # sliding through the valve
FRICTION_N_M = 2.2  # and along the needle inside
FRICTION_OF_SIDE = 0.3  # of the force with which it leans on the trocar's wall
VISCOUS_NS_M = 4.0
SLIDING_M_S = 0.0004  # speed at which friction is fully developed
FAR_M = 1.0


class Surface(IntEnum):
    """What the needle looks at."""

    NOTHING = 0
    VALVE = 1
    TISSUE = 2
    HARD = 3


class Contact(NamedTuple):
    """The needle's situation at one instant."""

    distance_m: float  # tip to the first surface along the needle; negative inside it
    surface: Surface
    force_n: float  # along the needle; positive pushes back
    side_n: float = 0.0  # across it, on the trocar's wall


class Tissue:
    """State of one needle in one trocar; `update` is called in time order by one thread."""

    def __init__(self, scene: sc.Scene) -> None:
        self._tissue_m = scene.tissue_depth_m
        self._puncture_n = scene.puncture_n
        to_trocar = scene.trocar_rotation.T @ scene.phantom_rotation
        self._pad_normal = tuple(float(c) for c in to_trocar @ np.array([0.0, 0.0, 1.0]))
        self.inside = False
        self.valve_open = False
        self.tissue_punctured = False
        self.punctures = 0

    def update(
        self,
        tip_m: tuple[float, float, float],
        along: tuple[float, float, float],
        speed_m_s: float,
        side_n: float = 0.0,
    ) -> Contact:
        """Contact for tip and needle direction (unit) in the trocar frame; speed is along z.

        side_n: with what the needle leans on the trocar's wall, see `cannula`.
        """
        x, y, depth = tip_m
        radial = math.hypot(x, y)
        self._track(radial, depth)
        if self.inside:
            distance, surface = self._ahead_inside(depth, along[2])
            return Contact(distance, surface, self._force_inside(depth, side_n, speed_m_s), side_n)
        distance, surface = self._ahead_outside(tip_m, along)
        return Contact(distance, surface, self._force_outside(tip_m, radial))

    def _track(self, radial: float, depth: float) -> None:
        if depth <= 0.0:
            self.inside = self.valve_open = self.tissue_punctured = False
        elif not self.inside and depth < VALVE_DEPTH_M and radial < BORE_RADIUS_M:
            self.inside = True
        if depth < self._tissue_m:
            self.tissue_punctured = False

    def _ahead_inside(self, depth: float, along_z: float) -> tuple[float, Surface]:
        if along_z < 0.1:
            return FAR_M, Surface.NOTHING
        if not self.valve_open:
            return (VALVE_DEPTH_M - depth) / along_z, Surface.VALVE
        return (self._tissue_m - depth) / along_z, Surface.TISSUE

    def _ahead_outside(
        self, tip: tuple[float, float, float], along: tuple[float, float, float]
    ) -> tuple[float, Surface]:
        nearest = min(_to_sphere(tip, along), self._to_pad(tip, along))
        if along[2] > 0.1 and tip[2] <= 0.0:
            to_opening = -tip[2] / along[2]
            radial = math.hypot(tip[0] + to_opening * along[0], tip[1] + to_opening * along[1])
            if radial < BORE_RADIUS_M:
                return to_opening + VALVE_DEPTH_M / along[2], Surface.VALVE
            if radial < HUB_RADIUS_M:
                nearest = min(nearest, to_opening)
        return nearest, Surface.HARD if nearest < FAR_M else Surface.NOTHING

    def _to_pad(self, tip: tuple[float, float, float], along: tuple[float, float, float]) -> float:
        n = self._pad_normal
        approach = -(n[0] * along[0] + n[1] * along[1] + n[2] * along[2])
        return max(self._above_pad(tip), 0.0) / approach if approach > 0.1 else FAR_M

    def _above_pad(self, tip: tuple[float, float, float]) -> float:
        n, centre = self._pad_normal, sc.OPENING_FROM_EYE_CENTRE_M
        return n[0] * tip[0] + n[1] * tip[1] + n[2] * (tip[2] - centre) - PAD_TOP_M

    def _force_inside(self, depth: float, side_n: float, speed_m_s: float) -> float:
        force = 0.0
        pressed = depth - VALVE_DEPTH_M
        if not self.valve_open and pressed > 0.0:
            force = VALVE_N_M * pressed * (1.0 + 400.0 * pressed)
            if force > self._puncture_n:
                self.valve_open = True
                self.punctures += 1
                force = 0.0
        if self.valve_open:
            drag = FRICTION_N + FRICTION_N_M * depth + FRICTION_OF_SIDE * side_n
            force += drag * math.tanh(speed_m_s / SLIDING_M_S) + VISCOUS_NS_M * speed_m_s
        return force + self._force_of_tissue(depth - self._tissue_m)

    def _force_of_tissue(self, pressed: float) -> float:
        if pressed <= 0.0:
            return 0.0
        force = TISSUE_N_M * pressed * (1.0 + 300.0 * pressed)
        if not self.tissue_punctured and force > TISSUE_PUNCTURE_N:
            self.tissue_punctured = True
            self.punctures += 1
        return min(force, 0.4 * TISSUE_PUNCTURE_N) if self.tissue_punctured else force

    def _force_outside(self, tip: tuple[float, float, float], radial: float) -> float:
        x, y, depth = tip
        sunk = sc.EYE_RADIUS_M - math.sqrt(
            x * x + y * y + (depth - sc.OPENING_FROM_EYE_CENTRE_M) ** 2
        )
        if radial < HUB_RADIUS_M and depth > 0.0:
            sunk = max(sunk, min(depth, 0.004))
        sunk = max(sunk, -self._above_pad(tip))
        return min(HARD_N_M * sunk, HARD_LIMIT_N) if sunk > 0.0 else 0.0


def _to_sphere(tip: tuple[float, float, float], along: tuple[float, float, float]) -> float:
    """Distance along the ray to the eyeball (0 if the tip is inside it)."""
    x, y, z = tip[0], tip[1], tip[2] - sc.OPENING_FROM_EYE_CENTRE_M
    closing = -(x * along[0] + y * along[1] + z * along[2])
    outside = x * x + y * y + z * z - sc.EYE_RADIUS_M**2
    if outside <= 0.0:
        return 0.0
    root = closing * closing - outside
    return closing - math.sqrt(root) if root >= 0.0 and closing > 0.0 else FAR_M
