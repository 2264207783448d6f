"""What is drawn at random for a scene, and how it is put into a MuJoCo model.

`Lab` and the camera process draw the same scene from the same seed and apply it to their own
model. Deliberately touches only poses, sizes and colours: the model is compiled once.

Frames: `base` is the robot's base; `trocar` has its origin in the centre of the trocar's opening
and its z axis into the eye.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vla_core.arms import meca500 as kin

Array = NDArray[np.float64]

EYE_RADIUS_M = 0.0125
TROCAR_HUB_M = 0.0015  # the hub stands this far out of the eye
OPENING_FROM_EYE_CENTRE_M = EYE_RADIUS_M + TROCAR_HUB_M
# The needle enters forward and down, this steep. Steeper than the lab's waypoints (51.6 deg), so
# that the wrist stays away from its singularity (J5 = 0) over the whole range of tilts.
ENTRY_PITCH_RAD = float(np.radians(62.0))
NOMINAL_OPENING_M = np.array([0.235, 0.0, 0.105])
# No picture shows how deep the tissue lies. Who stands where it lies on average is within 0.5 mm
# of the depth to hold in one scene of seven.
MEAN_TISSUE_M = 0.017

TROCAR_COLOURS = ((0.10, 0.35, 0.85), (0.95, 0.75, 0.10), (0.95, 0.45, 0.10), (0.15, 0.65, 0.40))
PAD_COLOURS = ((0.98, 0.98, 0.97), (0.93, 0.76, 0.64), (0.76, 0.58, 0.46), (0.86, 0.90, 0.95))
TABLES = ('table_breadboard', 'table_wood', 'table_drape', 'table_laminate')


@dataclass(frozen=True)
class SceneRanges:
    """How far a seed may move things: half ranges, uniform. Zero holds a thing still."""

    opening_m: tuple[float, float, float] = (0.025, 0.040, 0.004)
    tilt_rad: float = float(np.radians(12.0))
    yaw_rad: float = float(np.radians(8.0))
    tissue_m: float = 0.0035
    camera_m: float = 0.0015
    camera_rad: float = float(np.radians(0.3))
    light: float = 0.25
    looks: bool = True  # colours, table, props

    def jittered(self, times: float) -> 'SceneRanges':
        """Return these with camera poses that are off by `times` as much."""
        return replace(self, camera_m=self.camera_m * times, camera_rad=self.camera_rad * times)


DEFAULT_RANGES = SceneRanges()
WIDE_JITTER = 3.0  # times the usual jitter of camera poses, where training widens it


@dataclass(frozen=True)
class Scene:
    """One drawn scene. Poses in the base frame, lengths in m."""

    seed: int
    phantom_position_m: Array  # (3,) the eye's centre
    phantom_rotation: Array  # (3, 3)
    tissue_depth_m: float  # opening to tissue along the trocar's axis
    puncture_n: float  # force at which the trocar's valve gives way
    camera_shift_m: Array  # (5, 3)
    camera_turn_rad: Array  # (5, 3)
    light_gain: float
    table: int
    pad: int
    trocar: int
    prop_shift_m: Array = field(repr=False)  # (PROPS, 2)
    prop_rgb: Array = field(repr=False)  # (PROPS, 3)

    @cached_property
    def opening_m(self) -> Array:
        """Centre of the trocar's opening (3,)."""
        return self.phantom_position_m - OPENING_FROM_EYE_CENTRE_M * self.axis

    @cached_property
    def axis(self) -> Array:
        """Unit vector into the eye along the trocar (3,)."""
        return self.phantom_rotation @ INWARD

    @cached_property
    def trocar_rotation(self) -> Array:
        """Rotation of the trocar frame (3, 3): z inward."""
        return kin.frame_along(self.axis)


INWARD = np.array([np.cos(ENTRY_PITCH_RAD), 0.0, -np.sin(ENTRY_PITCH_RAD)])
PROPS = 6


def draw_scene(seed: int, ranges: SceneRanges = DEFAULT_RANGES) -> Scene:
    """Draw the scene of a seed; the same seed and ranges give the same scene on every host."""
    rng = np.random.default_rng([seed, 0x5CE7E])
    tilt = rng.uniform(-1, 1, 2) * ranges.tilt_rad
    yaw = rng.uniform(-1, 1) * ranges.yaw_rad
    rotation = kin.rotation_z(yaw) @ kin.rotation_y(tilt[0]) @ kin.rotation_x(tilt[1])
    opening = NOMINAL_OPENING_M + rng.uniform(-1, 1, 3) * np.array(ranges.opening_m)
    looks = rng.integers(0, 4, 3) if ranges.looks else np.zeros(3, dtype=int)
    return Scene(
        seed=seed,
        phantom_position_m=opening + OPENING_FROM_EYE_CENTRE_M * (rotation @ INWARD),
        phantom_rotation=rotation,
        tissue_depth_m=MEAN_TISSUE_M + rng.uniform(-1, 1) * ranges.tissue_m,
        puncture_n=0.25 * (1 + 0.2 * rng.uniform(-1, 1)),
        camera_shift_m=rng.uniform(-1, 1, (5, 3)) * ranges.camera_m,
        camera_turn_rad=rng.uniform(-1, 1, (5, 3)) * ranges.camera_rad,
        light_gain=1 + ranges.light * rng.uniform(-1, 1),
        table=int(looks[0]),
        pad=int(looks[1]),
        trocar=int(looks[2]),
        prop_shift_m=rng.uniform(-0.05, 0.05, (PROPS, 2)) * ranges.looks,
        prop_rgb=rng.uniform(0.15, 0.9, (PROPS, 3)),
    )
