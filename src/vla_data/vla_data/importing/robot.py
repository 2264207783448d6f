"""Robot states of the legacy files: CSV or npz, degrees and millimetres in, SI out.

Called by the readers of all layouts. The force column is dropped: the legacy sender always wrote
0 there. Deliberately no inverse kinematics: a recording without joints stays without.
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.rotation import Array, euler_to_quat
from vla_data.importing import times
from vla_data.importing.npz import NpzFile
from vla_data.importing.options import ImportOptions
from vla_data.importing.report import ImportReport, LegacyDataError
from vla_data.importing.streams import RobotStream

_JOINTS = tuple(f'joint_{number}' for number in range(1, 7))
_POSE = ('pose_x', 'pose_y', 'pose_z', 'pose_a', 'pose_b', 'pose_r')
# Columns of times, as the two writers and older ones name them.
_TIMES = {
    'recv': ('recv_timestamp', 'recv_time', 'recv'),
    'origin': ('origin_timestamp', 'origin_time', 'origin', 'timestamp'),
    'send': ('send_timestamp', 'send_time', 'send'),
}
_MM_PER_M = 1000.0


def read_csv(path: Path, options: ImportOptions, report: ImportReport) -> RobotStream | None:
    """Read robot_states.csv or robot_state_*.csv; None, reported, when no row is usable."""
    header, rows = _table(path, report)
    columns = {name: index for index, name in enumerate(header)}
    missing = [name for name in (*_JOINTS, *_POSE) if name not in columns]
    when = {key: _column(names, columns) for key, names in _TIMES.items()}
    if missing or when['origin'] is None:
        what = ', '.join([*missing, *(['origin_timestamp'] if when['origin'] is None else [])])
        raise LegacyDataError(path, f'columns missing: {what} (has: {", ".join(header)})')
    origin = rows[:, when['origin']]
    good = np.isfinite(rows).all(axis=1) & times.is_unix(origin)
    report.dropped('bad_row', 'robot', int((~good).sum()), 'rows with a number or time not usable')
    _note_force(rows[good], columns, report)
    rows = rows[good]
    if not len(rows):
        report.absent('no_rows', 'robot', f'{path.name} holds no usable row')
        return None
    stamps = _stamps(path, rows, when, options, report)
    joints = rows[:, [columns[name] for name in _JOINTS]]
    pose = rows[:, [columns[name] for name in _POSE]]
    return make_stream(stamps, joints, pose, report)


def read_npz(path: Path, options: ImportOptions, report: ImportReport) -> RobotStream | None:
    """Read robot_states.npz {timestamps, poses}: poses only, or joints and poses side by side."""
    with NpzFile(path) as archive:
        seconds = np.asarray(archive.array('timestamps', 1))
        poses = np.asarray(archive.array('poses', 2), np.float64)
        joints = np.asarray(archive.array('joints', 2)) if 'joints' in archive else None
    if poses.shape[0] != len(seconds) or poses.shape[1] not in (6, 7, 12):
        raise LegacyDataError(path, f'poses {poses.shape} do not fit {len(seconds)} timestamps')
    refuse_coarse(path, 'timestamps', seconds)
    if poses.shape[1] == 12:
        joints, poses = poses[:, :6], poses[:, 6:]
    elif poses.shape[1] == 7:
        report.dropped('gripper', 'robot', 1, '7th number of the poses: there is no gripper')
    stamps = times.settle_clock('robot', None, times.to_ns(seconds), options, report)
    if joints is None:
        report.absent('no_joints', 'robot', 'the file holds poses only, joints are not recorded')
    return make_stream(stamps, joints, poses[:, :6], report)


def make_stream(
    stamps_ns: NDArray[np.int64],
    joint_deg: NDArray[Any] | None,
    pose_mm_deg: NDArray[Any] | None,
    report: ImportReport,
) -> RobotStream | None:
    """Convert stamps (N,) ns, joints (N, 6) deg, poses (N, 6) mm and deg to SI, in time order.

    A part that is zero in every row was never recorded and becomes absent, not a robot at zero.
    """
    kept = times.in_order(stamps_ns, 'robot', report, 'states')
    joints = _recorded(joint_deg, 'joints', report)
    pose = _recorded(pose_mm_deg, 'pose', report)
    if joints is None and pose is None:
        report.absent('no_robot', 'robot', 'neither joints nor poses were recorded')
        return None
    report.streams['robot'] = times.facts(stamps_ns[kept])
    return RobotStream(
        stamps_ns[kept],
        None if joints is None else _unwrapped(joints[kept], report),
        None if pose is None else pose[kept, :3] / _MM_PER_M,
        None if pose is None else _quaternions(pose[kept, 3:], report),
    )


def refuse_coarse(path: Path, name: str, seconds: NDArray[Any]) -> None:
    """LegacyDataError when these times cannot align anything to a millisecond."""
    if times.is_too_coarse(seconds):
        step = times.resolution_s(seconds)
        raise LegacyDataError(
            path,
            f'{name} are float32 times of {step:g} s resolution: nothing can be aligned by them',
        )


def _recorded(values: NDArray[Any] | None, what: str, report: ImportReport) -> Array | None:
    if values is None:
        return None
    array = np.asarray(values, np.float64)
    if len(array) and not array.any():
        report.absent('all_zero', 'robot', f'{what}: zero in every row, so never recorded')
        return None
    return array


def _unwrapped(joint_deg: Array, report: ImportReport) -> Array:
    unwrapped = np.unwrap(joint_deg, period=360.0, axis=0)
    jumps = int((np.abs(np.diff(joint_deg, axis=0)) > 180.0).sum())
    report.changed(
        'unwrapped', 'robot', jumps, 'joint angles that jumped by a turn were unwrapped'
    )
    return np.deg2rad(unwrapped)


def _quaternions(euler_deg: Array, report: ImportReport) -> Array:
    """Mecademic Euler angles (N, 3) to quaternions (N, 4) whose sign does not jump."""
    jumps = int((np.abs(np.diff(euler_deg, axis=0)) > 180.0).sum())
    report.changed('euler_wraps', 'robot', jumps, 'jumps of Euler angles vanish in quaternions')
    quats = euler_to_quat(np.deg2rad(euler_deg))
    flips = np.sign(np.einsum('ij,ij->i', quats[1:], quats[:-1]))
    signs = np.concatenate(([1.0], np.cumprod(np.where(flips < 0, -1.0, 1.0))))
    continuous: Array = quats * signs[:, None]
    return continuous


def _table(path: Path, report: ImportReport) -> tuple[list[str], Array]:
    try:
        with path.open(newline='', encoding='utf-8') as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LegacyDataError(path, f'cannot be read as CSV: {error}') from error
    header = [name.strip() for name in lines[0]] if lines else []
    rows = [row for row in lines[1:] if row]
    whole = [numbers for row in rows if (numbers := _numbers(row, len(header))) is not None]
    report.dropped(
        'broken_row', 'robot', len(rows) - len(whole), 'rows cut off or not numbers in the CSV'
    )
    return header, np.array(whole, np.float64).reshape(len(whole), len(header))


def _numbers(row: list[str], width: int) -> list[float] | None:
    if len(row) != width:
        return None
    try:
        return [float(cell) for cell in row]
    except ValueError:
        return None


def _column(names: tuple[str, ...], columns: dict[str, int]) -> int | None:
    return next((columns[name] for name in names if name in columns), None)


def _note_force(rows: Array, columns: dict[str, int], report: ImportReport) -> None:
    index = _column(('force_placeholder', 'force'), columns)
    if index is None or not len(rows):
        return
    used = int(np.count_nonzero(rows[:, index]))
    text = 'always 0' if not used else f'{used} values are not 0, of unknown meaning'
    report.dropped('force_placeholder', 'robot', len(rows), f'force column of the robot: {text}')


def _stamps(
    path: Path, rows: Array, when: dict[str, int | None], options: ImportOptions,
    report: ImportReport,
) -> NDArray[np.int64]:  # fmt: skip
    origin = rows[:, when['origin']]
    refuse_coarse(path, 'origin times', origin)
    capture_ns = times.to_ns(origin)
    if when['recv'] is None or when['send'] is None:
        return times.settle_clock('robot', None, capture_ns, options, report)
    send, receive = rows[:, when['send']], rows[:, when['recv']]
    if not (times.is_unix(send) & times.is_unix(receive)).all():
        report.noted('no_send_times', 'robot', 'send or receive times are not Unix times')
        return times.settle_clock('robot', None, capture_ns, options, report)
    received = times.Received(capture_ns, times.to_ns(send), times.to_ns(receive))
    return times.settle_clock('robot', received, capture_ns, options, report)
