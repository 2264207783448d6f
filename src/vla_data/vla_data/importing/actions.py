"""Recorded legacy actions: compared with the motion to tell what they are, never guessed.

The documented action is the next change of pose: dx, dy, dz (mm), da, db, dr (deg, differences of
Euler angles, not wrapped) and a constant 1.0 called gripper. Other recorders wrote the gamepad's
state under the same name. Called by the HDF5 reader; an action that is not the motion is left out,
as samples take theirs from the recorded poses anyway.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.rotation import Array, euler_to_quat, relative_rotvec
from vla_data.importing.report import ImportReport
from vla_data.importing.streams import ActionStream, Stamps

# Differences of float32 poses of some 300 mm and 180 deg, twice rounded.
TOLERANCE = 1e-3
AGREEING = 0.95  # share of the rows that must be the motion


def read_actions(
    action: NDArray[Any] | None, pose_mm_deg: NDArray[Any] | None, stamps_ns: Stamps,
    report: ImportReport,
) -> ActionStream | None:  # fmt: skip
    """Convert actions (N, 6 or 7) of rows with poses (N, 6) to SI; None, reported, if unknown."""
    if action is None:
        report.absent('no_action', 'action', 'no actions: they are made from the poses')
        return None
    if action.ndim != 2 or action.shape[1] not in (6, 7):
        report.dropped('bad_action', 'action', len(action), f'actions of shape {action.shape}')
        return None
    if action.shape[1] == 7:
        _drop_gripper(action[:, 6], report)
    if pose_mm_deg is None or len(action) < 2:
        report.dropped(
            'unknown_action', 'action', len(action), 'no poses to tell their meaning by'
        )
        return None
    pose, delta = pose_mm_deg[:, :6], action[:, :6]
    if not _is_motion(pose, delta):
        report.dropped(
            'unknown_action', 'action', len(action),
            'the numbers are not the change to the next pose in mm and deg (a gamepad\'s state, '
            'for one): unit unknown, left out; actions are made from the poses',
        )  # fmt: skip
        return None
    spikes = int((np.abs(delta[:, 3:]) > 180.0).sum())
    report.changed('euler_spikes', 'action', spikes, 'differences of Euler angles not wrapped')
    return ActionStream(stamps_ns, _to_si(pose, delta))


def _drop_gripper(column: NDArray[Any], report: ImportReport) -> None:
    constant = bool((column == column[0]).all()) if len(column) else True
    text = f'constant {column[0]:g}' if constant and len(column) else 'not even constant'
    report.dropped('gripper', 'action', len(column), f'7th number: there is no gripper ({text})')


def _is_motion(pose: NDArray[Any], delta: NDArray[Any]) -> bool:
    """Whether row i is pose[i + 1] - pose[i], angles up to whole turns."""
    error = delta[:-1] - np.diff(pose, axis=0)
    error[:, 3:] = (error[:, 3:] + 180.0) % 360.0 - 180.0
    agreeing: float = (np.abs(error) < TOLERANCE).all(axis=1).mean()
    return agreeing >= AGREEING and bool(delta.any())


def _to_si(pose: NDArray[Any], delta: NDArray[Any]) -> Array:
    before = euler_to_quat(np.deg2rad(pose[:, 3:]))
    after = euler_to_quat(np.deg2rad(pose[:, 3:] + delta[:, 3:]))
    moved: Array = np.concatenate([delta[:, :3] / 1000.0, relative_rotvec(before, after)], axis=1)
    return moved
