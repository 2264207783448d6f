"""What a picture set shows, as numbers: the targets a backbone learns to see by.

Made by `scenes` from a MuJoCo state, read by `objective`. Deliberately pure geometry.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_core.arms import meca500 as kin
from vla_core.model_input import build_state
from vla_core.rotation import euler_to_quat
from vla_sim import mjcf_lab
from vla_sim import scene as sc
from vla_sim.engine import mujoco

Array = NDArray[np.float64]

_BACK_M = 0.010  # a second point on the needle and on the trocar's axis, for their directions
_MARKS = ((-0.034, 0.027, -0.0048), (-0.034, -0.027, -0.0048), (0.034, 0.027, -0.0048))
KEYPOINTS = 5 + len(_MARKS)
# How much each point counts, in an outer camera and in the close-up of the tool camera: there the
# needle is led into the bore. Opening, its axis, the needle's tip, its axis, then what helps.
_OUTER = (2.0, 1.0, 2.0, 1.0) + (1.0,) * (KEYPOINTS - 4)
_CLOSE_UP = (6.0, 2.0, 6.0, 2.0) + (1.0,) * (KEYPOINTS - 4)
TOOL_VIEW = mjcf_lab.VIEWS.index('view5')
IMPORTANCE = np.array(
    [_CLOSE_UP if index == TOOL_VIEW else _OUTER for index in range(len(mjcf_lab.VIEWS))]
)
POSE = 6  # opening from the needle's tip (m), trocar's axis minus needle's axis; base frame


@dataclass(frozen=True, eq=False)
class Labels:
    """Targets of one picture set."""

    state: NDArray[np.float32]  # (12,) vla_core.contract.STATE_KEYS
    pose: NDArray[np.float32]  # (6,) see POSE
    keypoints: NDArray[np.float32]  # (5, KEYPOINTS, 2) in half heights from the centre, x right


def make_labels(model: mujoco.MjModel, data: mujoco.MjData, scene: sc.Scene) -> Labels:
    """Labels of the state in `data` (kinematics and cameras computed) of `scene`."""
    joints = np.array(data.qpos)
    tip, rotation = kin.forward(joints)
    needle = rotation[:, 2]
    eye = scene.phantom_position_m
    marks = [eye + scene.phantom_rotation @ np.array(mark) for mark in _MARKS]
    points = np.stack(
        [
            scene.opening_m, scene.opening_m - _BACK_M * scene.axis, tip, tip - _BACK_M * needle,
            eye, *marks,
        ]
    )  # fmt: skip
    state = build_state(joints, tip, euler_to_quat(kin.euler_rad(rotation)))
    pose = relative_pose(tip, needle, scene.opening_m, scene.axis)
    views = [project(model, data, index, points) for index in range(len(mjcf_lab.VIEWS))]
    return Labels(state, pose.astype(np.float32), np.stack(views).astype(np.float32))


def relative_pose(tip_m: Array, needle: Array, opening_m: Array, axis: Array) -> Array:
    """Pose (6,) of the trocar from the needle, see POSE; directions are unit vectors (3,)."""
    return np.concatenate([opening_m - tip_m, axis - needle])


def project(
    model: mujoco.MjModel, data: mujoco.MjData, camera: int, points: Array
) -> Array:  # fmt: skip
    """Image positions (N, 2) of points (N, 3) in half heights from the centre, x right, y down.

    NaN behind the camera.
    """
    seen = (points - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)
    focal = 1.0 / np.tan(np.radians(model.cam_fovy[camera]) / 2)
    away = np.where(seen[:, 2] < -1e-3, -seen[:, 2], np.nan)
    return np.stack([seen[:, 0], -seen[:, 1]], -1) * focal / away[:, None]
