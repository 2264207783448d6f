"""The OCT/force sensor of the legacy files with a stamp per sample: `recv_all_*` and v4 HDF5.

Called by those two readers; the collector's overlapping windows are `windows`. Samples are read
block by block. A sensor that is not there, or holds zeros only, is absent: it never becomes zeros.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vla_data.importing import times
from vla_data.importing.npz import NpzFile
from vla_data.importing.options import ImportOptions
from vla_data.importing.report import ImportReport, LegacyDataError
from vla_data.importing.robot import refuse_coarse
from vla_data.importing.streams import SensorBlock, SensorStream, Stamps

BLOCK = 520  # samples read at once: 0.8 s, 2 MB
NOMINAL_HZ = (650.0, 700.0)
# Opens a file's force (N,) and profiles (N, bins) for reading by slices.
Arrays: TypeAlias = tuple[Any, Any]
Opener: TypeAlias = Callable[[], AbstractContextManager[Arrays]]


@dataclass(frozen=True)
class SensorScale:
    """From the file's units to N and to the unit of the A-scan."""

    force_scale: float = 1.0
    force_offset: float = 0.0
    profile_scale: float = 1.0

    def __call__(self, block: SensorBlock) -> SensorBlock:
        """Scale one block."""
        stamps, force, profile = block
        force = force * np.float32(self.force_scale) + np.float32(self.force_offset)
        return stamps, force, profile * np.float32(self.profile_scale)


def scale_of(options: ImportOptions) -> SensorScale:
    """Return the scale the user stated."""
    return SensorScale(options.force_scale, options.force_offset, options.profile_scale)


def read_npz(
    paths: list[Path], options: ImportOptions, report: ImportReport
) -> SensorStream | None:
    """Read sensor_data_*.npz of one session, in the order of their first samples."""
    parts = [part for path in paths if (part := _part(path, report)) is not None]
    parts.sort(key=lambda part: int(part[0][0]))
    if not parts:
        report.absent('no_sensor', 'sensor', 'no sensor data: recorded as absent, not as zeros')
        return None
    stamps = np.concatenate([part[0] for part in parts])
    stamps = times.settle_clock('sensor', None, stamps, options, report)
    return indexed_stream(stamps, [part[1] for part in parts], [len(p[0]) for p in parts],
                          options, report)  # fmt: skip


def indexed_stream(
    stamps_ns: Stamps, openers: list[Opener], lengths: list[int], options: ImportOptions,
    report: ImportReport,
) -> SensorStream | None:  # fmt: skip
    """Make one stream of samples with stamps (N,), whose values lie in files of given lengths."""
    rows = Rows(openers, lengths)
    usable, bins = _usable(rows, report)
    where = np.flatnonzero(usable)
    if not len(where):
        report.absent('all_zero', 'sensor', 'every sample is zero or not finite: absent')
        return None
    kept = where[times.in_order(stamps_ns[where], 'sensor', report, 'samples')]
    ordered = stamps_ns[kept]
    describe(ordered, report)
    scale = scale_of(options)

    def blocks() -> Iterator[SensorBlock]:
        for start in range(0, len(kept), BLOCK):
            index = kept[start : start + BLOCK]
            force, profile = rows.take(index)
            yield scale((ordered[start : start + BLOCK], force, profile))

    return SensorStream(len(kept), bins, blocks)


class Rows:
    """Samples of several files as one array, read by index; a file is opened when it is needed."""

    def __init__(self, openers: list[Opener], lengths: list[int]) -> None:
        self._openers = openers
        self._starts = np.concatenate(([0], np.cumsum(lengths)))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, index: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return force (N,) and profiles (N, bins), float32, of these rows."""
        file = np.searchsorted(self._starts, index, side='right') - 1
        pieces: list[tuple[NDArray[np.intp], Any, Any]] = []
        for number in np.unique(file):
            mine = np.flatnonzero(file == number)
            local = index[mine] - self._starts[number]
            low, high = int(local.min()), int(local.max()) + 1
            with self._openers[number]() as (force, profile):
                pieces.append((mine, force[low:high][local - low], profile[low:high][local - low]))
        bins = pieces[0][2].shape[1]
        forces, profiles = np.empty(len(index), 'f4'), np.empty((len(index), bins), 'f4')
        for mine, force, profile in pieces:
            forces[mine], profiles[mine] = force, profile
        return forces, profiles


def describe(stamps_ns: Stamps, report: ImportReport) -> None:
    """Put count, rate and loss of the stream into the report."""
    facts = times.facts(stamps_ns)
    if len(stamps_ns) > 2:
        steps = np.diff(stamps_ns)
        period_ns = float(np.median(steps))
        facts['median_hz'] = 1e9 / period_ns
        lost = int(np.maximum(np.rint(steps / period_ns) - 1, 0).sum())
        if lost:
            report.noted('lost_samples', 'sensor', 'samples missing by the capture times', lost)
    report.streams['sensor'] = facts


def _part(path: Path, report: ImportReport) -> tuple[Stamps, Opener] | None:
    with NpzFile(path) as archive:
        force_name = 'forces' if 'forces' in archive else 'force'
        profile_name = 'alines' if 'alines' in archive else 'aline'
        seconds = np.array(archive.array('timestamps', 1))
        shapes = archive.array(force_name, 1).shape, archive.array(profile_name, 2).shape
        send = None
        if 'send_timestamps' in archive:
            send = np.array(archive.array('send_timestamps', 1))
    if shapes[0][0] != len(seconds) or shapes[1][0] != len(seconds):
        raise LegacyDataError(
            path, f'{len(seconds)} times, but force {shapes[0]}, A-scans {shapes[1]}'
        )
    refuse_coarse(path, 'timestamps', seconds)
    if not len(seconds):
        return None
    if not times.is_unix(seconds).all():
        raise LegacyDataError(path, 'timestamps that are no Unix times of the years 2000 to 2100')
    if send is not None and len(send) == len(seconds):
        waits = np.median(send - seconds) * 1e3
        report.noted('send_delay', 'sensor', f'sent {waits:.1f} ms after capture (median)')
    return times.to_ns(seconds), lambda: _NpzArrays(path, force_name, profile_name)


class _NpzArrays:
    """Context manager: force and profiles of one npz file."""

    def __init__(self, path: Path, force_name: str, profile_name: str) -> None:
        self._path, self._names = path, (force_name, profile_name)

    def __enter__(self) -> Arrays:
        self._file = NpzFile(self._path)
        return self._file.array(self._names[0], 1), self._file.array(self._names[1], 2)

    def __exit__(self, *exc: object) -> None:
        self._file.close()


def _usable(rows: Rows, report: ImportReport) -> tuple[NDArray[np.bool_], int]:
    """Which samples hold data: neither wholly zero (a placeholder) nor not finite."""
    good = np.zeros(len(rows), bool)
    zero = broken = bins = 0
    for start in range(0, len(rows), BLOCK):
        index = np.arange(start, min(start + BLOCK, len(rows)))
        force, profile = rows.take(index)
        bins = profile.shape[1]
        finite = np.isfinite(force) & np.isfinite(profile).all(axis=1)
        empty = (force == 0) & ~profile.any(axis=1)
        good[index] = finite & ~empty
        zero, broken = zero + int(empty.sum()), broken + int((~finite).sum())
    report.dropped('zero_sample', 'sensor', zero, 'samples of zeros only: placeholders, not data')
    report.dropped('not_finite', 'sensor', broken, 'samples with a value that is not finite')
    return good, bins
