"""The collector's overlapping sensor windows made into one stream without duplicates.

A window holds the newest 650 samples at the time of saving, about every 0.2 s, and one stamp: the
capture time of its LAST sample. How many samples of a window are new is found by content, exactly;
their times lie on the line between two neighbouring stamps. Where samples were lost between two
stamps nothing says where, so times that could be off by more than a millisecond are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_data.importing import times
from vla_data.importing.npz import NpzFile
from vla_data.importing.options import ImportOptions
from vla_data.importing.report import ImportReport, LegacyDataError
from vla_data.importing.robot import refuse_coarse
from vla_data.importing.sensor import describe, scale_of
from vla_data.importing.streams import SensorBlock, SensorStream, Stamps

MAX_ERROR_NS = 1_000_000  # of a sample's time


@dataclass(frozen=True)
class Piece:
    """The rows of one window that go into the stream, with their times."""

    window: int  # index into the file
    rows: NDArray[np.intp]  # (n,)
    stamps_ns: Stamps  # (n,)


def read_windows(
    path: Path, nominal_hz: float, options: ImportOptions, report: ImportReport
) -> SensorStream | None:
    """Read sensor_data.npz {timestamps (N,), data (N, W, 1 + bins)}."""
    with NpzFile(path) as archive:
        seconds = np.array(archive.array('timestamps', 1))
        data = archive.array('data', 3)
        if len(data) != len(seconds) or data.shape[2] < 2:
            raise LegacyDataError(path, f'data {data.shape} do not fit {len(seconds)} times')
        refuse_coarse(path, 'timestamps', seconds)
        if not times.is_unix(seconds).all():
            raise LegacyDataError(path, 'timestamps that are no Unix times of 2000..2100')
        stamps = times.settle_clock('sensor', None, times.to_ns(seconds), options, report)
        pieces = _plan(stamps, data, nominal_hz, report)
        bins = data.shape[2] - 1
    if not pieces:
        report.absent('no_sensor', 'sensor', 'no sensor data: recorded as absent, not as zeros')
        return None
    describe(np.concatenate([piece.stamps_ns for piece in pieces]), report)
    scale = scale_of(options)

    def blocks() -> Iterator[SensorBlock]:
        with NpzFile(path) as again:
            windows = again.array('data', 3)
            for piece in pieces:
                rows = np.asarray(windows[piece.window], np.float32)[piece.rows]
                yield scale((piece.stamps_ns, rows[:, 0].copy(), rows[:, 1:].copy()))

    return SensorStream(sum(len(piece.rows) for piece in pieces), bins, blocks)


def _plan(
    stamps: Stamps, data: NDArray[Any], nominal_hz: float, report: ImportReport
) -> list[Piece]:
    """Which rows of which window are new, and when they were captured."""
    order = [index for index in times.in_order(stamps, 'sensor', report, 'windows')]
    usable = [index for index in order if np.any(data[index]) and np.isfinite(data[index]).all()]
    text = 'windows of zeros only or with values not finite: placeholders, not data'
    report.dropped('zero_window', 'sensor', len(order) - len(usable), text)
    if not usable:
        return []
    new = _new_rows(stamps[usable], [data[index] for index in usable], nominal_hz, report)
    period_ns = _period(stamps[usable], new, nominal_hz, data.shape[1], report)
    pieces, last_ns, lost_time, extrapolated = [], -1, 0, 0
    for place, index in enumerate(usable):
        before_ns = None if place == 0 else int(stamps[usable[place - 1]])
        rows, when, exact = _piece(
            data.shape[1], new[place], before_ns, int(stamps[index]), period_ns
        )
        fresh = when > last_ns
        lost_time += 0 if exact else new[place] - int(fresh.sum())
        extrapolated += int(fresh.sum()) - 1 if new[place] == data.shape[1] else 0
        fresh &= np.any(data[index][rows], axis=1)  # a padded window begins with rows of zeros
        if fresh.any():
            pieces.append(Piece(int(index), rows[fresh], when[fresh]))
            last_ns = int(when[fresh][-1])
    _tell(report, len(usable), lost_time, extrapolated, len(usable) * data.shape[1], pieces)
    return pieces


def _piece(
    width: int, new: int, before_ns: int | None, stamp_ns: int, period_ns: float
) -> tuple[NDArray[np.intp], Stamps, bool]:
    """Rows (n,) of a window that are new, their times, and whether all new ones are among them."""
    rows = np.arange(width - new, width)
    back = np.arange(new - 1, -1, -1, dtype=np.float64)
    if before_ns is None or new == width:  # no overlap: only the window's own stamp is known
        return rows, stamp_ns - np.rint(back * period_ns).astype(np.int64), True
    span_ns = stamp_ns - before_ns
    lost_ns = span_ns - new * period_ns
    if abs(lost_ns) / 2 > MAX_ERROR_NS:
        return rows[-1:], np.array([stamp_ns], np.int64)[: len(rows)], False
    if abs(lost_ns) < period_ns / 2:
        return rows, stamp_ns - np.rint(back * span_ns / max(new, 1)).astype(np.int64), True
    # The loss may lie right after the stamp before or right before this one: half way between.
    earlier_ns = back * period_ns + np.where(back > 0, lost_ns / 2, 0.0)
    return rows, stamp_ns - np.rint(earlier_ns).astype(np.int64), True


def _new_rows(
    stamps: Stamps, windows: list[NDArray[Any]], nominal_hz: float, report: ImportReport
) -> list[int]:
    """How many rows at the end of each window are not in the one before."""
    width = windows[0].shape[0]
    result, unmatched = [width], 0
    before = _digests(windows[0])
    for place in range(1, len(windows)):
        now = _digests(windows[place])
        span_s = (int(stamps[place]) - int(stamps[place - 1])) / 1e9
        new = _shift(before, now, round(span_s * nominal_hz))
        if new == width and span_s * nominal_hz < width - 1:
            unmatched += 1
        result.append(new)
        before = now
    if unmatched:
        text = 'windows closer than their length without a common sample'
        report.noted('no_overlap', 'sensor', text, unmatched)
    return result


def _digests(window: NDArray[Any]) -> NDArray[np.uint64]:
    """One number (W,) per row; equal rows give equal numbers, whatever their place."""
    bits = np.ascontiguousarray(window, np.float32).view(np.uint32).astype(np.uint64)
    weights = np.arange(1, bits.shape[1] + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    digests: NDArray[np.uint64] = (bits * weights).sum(axis=1, dtype=np.uint64)
    return digests


def _shift(before: NDArray[np.uint64], now: NDArray[np.uint64], expected: int) -> int:
    """Rows by which `now` went on from `before`: the match nearest to the expected number."""
    width = len(now)
    for new in sorted(range(width), key=lambda candidate: abs(candidate - expected)):
        if np.array_equal(before[new:], now[: width - new]):
            return new
    return width


def _period(
    stamps: Stamps, new: list[int], nominal_hz: float, width: int, report: ImportReport
) -> float:
    """Measured time between two samples, ns, from the windows that overlap."""
    steps = np.diff(stamps)
    counts = np.array(new[1:], np.float64)
    good = (counts > 0) & (counts < width)
    if not good.any():
        report.assumed(
            'nominal_rate',
            'sensor',
            f'no two windows overlap: {nominal_hz:g} Hz taken as its rate',
        )
        return 1e9 / nominal_hz
    # Loss only ever lengthens a period, so the short ones are right.
    return float(np.quantile(steps[good] / counts[good], 0.1, method='lower'))


def _tell(
    report: ImportReport, windows: int, lost_time: int, extrapolated: int, rows: int,
    pieces: list[Piece],
) -> None:  # fmt: skip
    kept = sum(len(piece.rows) for piece in pieces)
    report.changed(
        'overlapping_windows', 'sensor', windows,
        f'windows of {rows} rows in all merged into one stream of {kept} samples',
    )  # fmt: skip
    report.dropped(
        'uncertain_time', 'sensor', lost_time,
        'samples beside lost ones: where the loss lies, and so their time, is not recorded',
    )  # fmt: skip
    if extrapolated:
        report.assumed(
            'extrapolated_time', 'sensor',
            'samples before the first stamp of a run, dated back at the measured rate',
            extrapolated,
        )  # fmt: skip
