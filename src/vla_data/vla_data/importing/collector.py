"""Layout of the collector: episode_*/ with metadata.json, images/, sensor_data.npz, robot states.

Called by `layouts`. Reads facts only; what they become is `write`.
"""

import json
from pathlib import Path
from typing import Any

from vla_data.importing import images, robot, windows
from vla_data.importing.options import ImportOptions
from vla_data.importing.report import ImportReport, LegacyDataError
from vla_data.importing.streams import LegacyEpisode

NOMINAL_HZ = 650.0


def is_collector(path: Path) -> bool:
    """Say whether a folder has this layout."""
    return (path / 'images').is_dir() and (
        (path / 'metadata.json').is_file() or any(path.glob('robot_states.*'))
    )


def read_collector(path: Path, options: ImportOptions) -> LegacyEpisode:
    """Read one episode folder; LegacyDataError names the file and what to do."""
    report = ImportReport(str(path), 'collector')
    metadata = _metadata(path / 'metadata.json', report)
    views = sorted(folder for folder in (path / 'images').iterdir() if folder.is_dir())
    streams = [
        images.read_view(
            images.view_of(folder.name, options),
            [folder, folder / 'left', folder / 'right'], options, report,
        )
        for folder in views
    ]  # fmt: skip
    sensor_path = path / 'sensor_data.npz'
    sensor = None
    if sensor_path.is_file():
        hertz = _number(metadata.get('sensor_hz'), NOMINAL_HZ)
        sensor = windows.read_windows(sensor_path, hertz, options, report)
    else:
        report.absent('no_sensor', 'sensor', 'no sensor_data.npz: absent, not zeros')
    _actions(path, report)
    return LegacyEpisode(
        path.name, report, tuple(s for s in streams if s is not None),
        _robot(path, options, report), sensor, extra={'metadata': metadata},
    )  # fmt: skip


def _robot(path: Path, options: ImportOptions, report: ImportReport) -> Any:
    for name, read in (('robot_states.csv', robot.read_csv), ('robot_states.npz', robot.read_npz)):
        if (path / name).is_file():
            return read(path / name, options, report)
    report.absent('no_robot', 'robot', 'neither robot_states.csv nor robot_states.npz')
    return None


def _metadata(path: Path, report: ImportReport) -> dict[str, Any]:
    if not path.is_file():
        report.absent('no_metadata', 'episode', 'no metadata.json')
        return {}
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise LegacyDataError(path, f'not readable as JSON: {error}') from error
    if not isinstance(data, dict):
        raise LegacyDataError(path, 'not a JSON object')
    return data


def _actions(path: Path, report: ImportReport) -> None:
    if (path / 'actions.npz').is_file():
        report.dropped(
            'derived_actions', 'action', 1,
            'actions.npz is computed from the poses with Euler differences that are not wrapped, '
            'and a constant gripper number: actions are made anew from the poses',
        )  # fmt: skip


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, (int, float)) and value > 0 else default
