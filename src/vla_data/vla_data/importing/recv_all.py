"""Layout of the receiver: recv_all_* sessions of View*/ folders, one CSV and npz files.

Called by `layouts`. Reads facts only; what they become is `write`.
"""

from pathlib import Path

from vla_data.importing import images, robot, sensor
from vla_data.importing.options import ImportOptions
from vla_data.importing.report import ImportReport, LegacyDataError
from vla_data.importing.streams import LegacyEpisode, RobotStream


def is_recv_all(path: Path) -> bool:
    """Say whether a folder has this layout."""
    return any(path.glob('robot_state_*.csv')) or any(
        folder.is_dir() for folder in path.glob('View[0-9]*')
    )


def read_recv_all(path: Path, options: ImportOptions) -> LegacyEpisode:
    """Read one session folder; LegacyDataError names the file and what to do."""
    report = ImportReport(str(path), 'recv_all')
    views = sorted(folder for folder in path.glob('View[0-9]*') if folder.is_dir())
    streams = [
        images.read_view(
            images.view_of(folder.name, options),
            [folder, folder / 'left', folder / 'right'], options, report,
        )
        for folder in views
    ]  # fmt: skip
    _unknown_camera(path, report)
    return LegacyEpisode(
        path.name, report, tuple(stream for stream in streams if stream is not None),
        _robot(path, options, report),
        sensor.read_npz(sorted(path.glob('sensor_data*.npz')), options, report),
    )  # fmt: skip


def _robot(path: Path, options: ImportOptions, report: ImportReport) -> RobotStream | None:
    files = sorted(path.glob('robot_state*.csv'))
    if not files:
        report.absent('no_robot', 'robot', 'no robot_state_*.csv')
        return None
    if len(files) > 1:
        names = ', '.join(file.name for file in files)
        raise LegacyDataError(path, f'several robot CSV files ({names}): leave one')
    return robot.read_csv(files[0], options, report)


def _unknown_camera(path: Path, report: ImportReport) -> None:
    """Images the receiver could not assign to a view."""
    unknown = path / 'Unknown'
    if unknown.is_dir():
        count = sum(1 for file in unknown.rglob('*.jpg') if file.is_file())
        report.dropped('unknown_camera', 'episode', count, 'images in the folder Unknown')
