"""Layout of v4: one HDF5 file an episode, whose float32 times cannot align anything.

Called by `layouts`. All of a frame (images, joints, pose, action) was taken in one pass of a loop
and shares a row, so the row rules their alignment; when the row was taken, the file does not tell.
Times are rebuilt from the row only at a rate the user states, and the sensor's likewise.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
from numpy.typing import NDArray

from vla_core.timebase import NS
from vla_data.importing import robot, sensor, times
from vla_data.importing.actions import read_actions
from vla_data.importing.images import is_whole_jpeg
from vla_data.importing.options import ImportOptions
from vla_data.importing.report import ImportReport, LegacyDataError
from vla_data.importing.streams import ImageStream, LegacyEpisode, SensorStream, Stamps

SUFFIXES = ('.h5', '.hdf5')
# Above this a JPEG is no all-black placeholder (640x480 of black is 5 to 10 kB).
_PLACEHOLDER_BYTES = 20_000


def is_v4(path: Path) -> bool:
    """Say whether a file has this layout, by its name's ending."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def read_v4(path: Path, options: ImportOptions) -> LegacyEpisode:
    """Read one file; LegacyDataError names what is missing or must be stated."""
    report = ImportReport(str(path), 'v4 HDF5')
    with _open(path) as file:
        observations = _group(path, file, 'observations')
        frames = _frames(path, file, observations)
        stamps, kept = _frame_stamps(path, file, frames, options, report)
        views = _views(path, observations, stamps, kept, options, report)
        arm = robot.make_stream(
            stamps, _rows(observations, 'qpos', kept), _rows(observations, 'ee_pose', kept), report
        )
        action = read_actions(_rows(file, 'action', kept), _rows(observations, 'ee_pose', kept),
                              stamps, report)  # fmt: skip
        samples = _sensor(path, observations, stamps, options, report)
        attributes = {key: str(value) for key, value in file.attrs.items()}
    return LegacyEpisode(
        path.stem, report, views, arm, samples, action, {'attributes': attributes}
    )


def _frames(path: Path, file: Any, observations: Any) -> int:
    sizes = {
        name: len(group[name])
        for group, name in ((file, 'timestamp'), (observations, 'qpos'), (observations, 'ee_pose'))
        if name in group
    }
    if not sizes:
        raise LegacyDataError(path, 'neither timestamp nor observations/qpos nor ee_pose')
    if len(set(sizes.values())) > 1:
        raise LegacyDataError(path, f'rows do not fit each other: {sizes}')
    return next(iter(sizes.values()))


def _frame_stamps(
    path: Path, file: Any, frames: int, options: ImportOptions, report: ImportReport
) -> tuple[Stamps, NDArray[np.intp]]:
    """Stamps (M,) of the rows that are used, and which rows they are."""
    seconds = np.array(file['timestamp'][:]) if 'timestamp' in file else np.zeros(0, 'f4')
    coarse = len(seconds) == 0 or times.is_too_coarse(seconds)
    if coarse and options.rebuild_hz is None:
        step = times.resolution_s(seconds) if len(seconds) else 0.0
        what = f'its times are float32 ({step:g} s resolution)' if step else 'it holds no times'
        raise LegacyDataError(
            path,
            f'{what}: nothing can be aligned by them. If the frames are known to be evenly '
            'spaced, state their rate with --rebuild-times HZ (that of the sensor with '
            '--sensor-rate HZ)',
        )
    if coarse:
        start_ns = _start(seconds, report)
        stamps = start_ns + np.rint(np.arange(frames) * (NS / options.rebuild_hz)).astype(np.int64)
        report.assumed(
            'rebuilt_times', 'episode',
            f'float32 times replaced: frame n at start + n / {options.rebuild_hz:g} Hz, as stated',
            frames,
        )  # fmt: skip
        return stamps, np.arange(frames)
    if options.rebuild_hz is not None:
        raise LegacyDataError(path, '--rebuild-times given, but its times are fine: leave it out')
    good = np.flatnonzero(np.isfinite(seconds))
    report.dropped('bad_time', 'episode', frames - len(good), 'rows without a finite time')
    stamps = times.to_ns(_unix(seconds[good].astype(np.float64), report))
    kept = times.in_order(stamps, 'episode', report, 'rows')
    return stamps[kept], good[kept]


def _start(seconds: NDArray[Any], report: ImportReport) -> int:
    """A start for rebuilt times: the first float32 time, right within its resolution."""
    first = float(seconds[0]) if len(seconds) else 0.0
    if times.is_unix(np.array([first]))[0]:
        step = times.resolution_s(seconds)
        report.assumed(
            'start', 'episode', f'date and time of day are right within {step:g} s only'
        )
        return int(times.to_ns(np.array([first]))[0])
    return int(times.to_ns(_unix(np.array([first]), report))[0])


def _unix(seconds: NDArray[np.float64], report: ImportReport) -> NDArray[np.float64]:
    """Relative times become times from 2000-01-01 on: their distances are what counts."""
    if not len(seconds) or times.is_unix(seconds).all():
        return seconds
    report.assumed(
        'relative_times', 'episode', 'times count from the start of the file: dated 2000-01-01'
    )
    return seconds + times.EARLIEST_S


def _views(
    path: Path, observations: Any, stamps: Stamps, kept: NDArray[np.intp],
    options: ImportOptions, report: ImportReport,
) -> tuple[ImageStream, ...]:  # fmt: skip
    if 'images' not in observations:
        report.absent('no_images', 'episode', 'no observations/images')
        return ()
    result = []
    for camera in sorted(observations['images']):
        dataset = observations['images'][camera]
        view = options.views.get(camera, camera.lower().replace('camera', 'view'))
        if len(dataset) <= int(kept.max(initial=-1)):
            raise LegacyDataError(path, f'images/{camera} has {len(dataset)} rows, too few')
        if dataset.ndim != 1:
            raise LegacyDataError(
                path, f'images/{camera} holds raw pixels, not JPEG: not this layout'
            )
        if camera not in options.views:
            report.assumed(
                'view_by_number', view, f'{camera} taken as {view}; --view says otherwise'
            )
        usable = _usable_images(dataset, view, kept, report)
        if not len(usable):
            report.absent('no_images', view, 'no usable image')
            continue
        result.append(ImageStream(view, stamps[usable], _H5Images(path, camera, kept[usable])))
    return tuple(result)


def _usable_images(
    dataset: Any, view: str, kept: NDArray[np.intp], report: ImportReport
) -> NDArray[np.intp]:
    """Rows whose image is a whole JPEG and no black stand-in for one that was missing."""
    good, broken, black = [], 0, 0
    for place, row in enumerate(kept.tolist()):
        jpeg = np.asarray(dataset[row], np.uint8).tobytes()
        if not is_whole_jpeg(jpeg):
            broken += 1
        elif len(jpeg) < _PLACEHOLDER_BYTES and _is_black(jpeg):
            black += 1
        else:
            good.append(place)
    report.dropped('bad_jpeg', view, broken, 'images that are no whole JPEG')
    report.dropped('black_image', view, black, 'all-black stand-ins for images that were missing')
    return np.array(good, np.intp)


def _is_black(jpeg: bytes) -> bool:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    return image is not None and not image.any()


class _H5Images:
    """Loads images of one camera by place in the stream; keeps the file open while it is used."""

    def __init__(self, path: Path, camera: str, rows: NDArray[np.intp]) -> None:
        self._path, self._camera, self._rows = path, camera, rows
        self._file: Any = None

    def __call__(self, index: int) -> bytes | None:
        if self._file is None:
            self._file = h5py.File(self._path, 'r')
        dataset = self._file['observations']['images'][self._camera]
        jpeg = np.asarray(dataset[int(self._rows[index])], np.uint8).tobytes()
        if index == len(self._rows) - 1:
            self._file.close()
            self._file = None
        return jpeg


def _sensor(
    path: Path, observations: Any, frame_stamps: Stamps, options: ImportOptions,
    report: ImportReport,
) -> SensorStream | None:  # fmt: skip
    if 'sensor' not in observations or not len(observations['sensor'].get('force', ())):
        report.absent('no_sensor', 'sensor', 'no sensor data: recorded as absent, not as zeros')
        return None
    group = observations['sensor']
    count = len(group['force'])
    if 'aline' not in group or len(group['aline']) != count:
        raise LegacyDataError(path, 'observations/sensor: force and aline do not fit each other')
    if group['aline'].dtype == np.float16:
        report.noted('float16', 'sensor', 'stored as float16: 3 significant digits')
    seconds = np.array(group['timestamp'][:]) if 'timestamp' in group else np.zeros(0, 'f4')
    stamps = _sensor_stamps(path, seconds, count, frame_stamps, options, report)
    if stamps is None:
        return None
    return sensor.indexed_stream(stamps, [lambda: _H5Sensor(path)], [count], options, report)


def _sensor_stamps(
    path: Path, seconds: NDArray[Any], count: int, frame_stamps: Stamps, options: ImportOptions,
    report: ImportReport,
) -> Stamps | None:  # fmt: skip
    if len(seconds) == count and not times.is_too_coarse(seconds):
        return times.settle_clock(
            'sensor', None, times.to_ns(_unix(seconds.astype(np.float64), report)), options, report
        )
    if options.sensor_hz is None:
        report.dropped(
            'float32_times', 'sensor', count,
            'sensor times are float32 or missing and no --sensor-rate HZ was stated: left out',
        )  # fmt: skip
        report.absent('no_times', 'sensor', 'recorded as absent, not as zeros')
        return None
    report.assumed(
        'rebuilt_times', 'sensor',
        f'sample n at start of the frames + n / {options.sensor_hz:g} Hz, as stated; lost samples '
        'are not known, so the times drift by what was lost',
        count,
    )  # fmt: skip
    start_ns = int(frame_stamps[0]) if len(frame_stamps) else 0
    steps = np.rint(np.arange(count) * (NS / options.sensor_hz)).astype(np.int64)
    shift_ns = round(options.offsets_s.get('sensor', 0.0) * NS)
    return start_ns + steps + shift_ns


class _H5Sensor:
    """Context manager: force and profiles of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> tuple[Any, Any]:
        self._file = h5py.File(self._path, 'r')
        group = self._file['observations']['sensor']
        return group['force'], group['aline']

    def __exit__(self, *exc: object) -> None:
        self._file.close()


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        file = h5py.File(path, 'r')
    except OSError as error:
        raise LegacyDataError(path, f'not a readable HDF5 file ({error})') from error
    with file:
        try:
            yield file
        except (KeyError, OSError, RuntimeError) as error:
            raise LegacyDataError(path, f'cannot be read: {error}') from error


def _group(path: Path, file: Any, name: str) -> Any:
    if name not in file:
        raise LegacyDataError(path, f'no group {name!r} (has: {", ".join(file)})')
    return file[name]


def _rows(group: Any, name: str, kept: NDArray[np.intp]) -> NDArray[Any] | None:
    if name not in group:
        return None
    return np.asarray(group[name][:], np.float64)[kept]
