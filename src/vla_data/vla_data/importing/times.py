"""Times of legacy files: seconds to integer ns, their resolution, their order, their clock.

Called by the readers of the layouts. The one rule: a time that cannot carry alignment to a
millisecond is refused, not used.
"""

from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.clock_model import EstimatedClock
from vla_core.timebase import NS
from vla_core.wire.times import EARLIEST_S, LATEST_S
from vla_data.importing.options import ImportOptions
from vla_data.importing.report import ImportReport, LegacyDataError
from vla_data.importing.streams import Stamps

# A float32 of today's Unix time steps by 128 s; anything coarser than this cannot align a sample.
COARSEST_S = 1e-3
# The lab's own figures: offsets up to 20 ms are normal, above 100 ms bad.
NORMAL_OFFSET_S = 0.020
BAD_OFFSET_S = 0.100
MIN_OBSERVATIONS = 20  # fewer receive times say nothing about a least delay


def resolution_s(seconds: NDArray[Any]) -> float:
    """Step, s, between neighbouring times that `seconds` (N,) can tell apart.

    Also sees float32 times that were later stored as float64: every value is a float32 then.
    """
    finite = seconds[np.isfinite(seconds)]
    if not len(finite):
        return 0.0
    largest = float(np.abs(finite).max())
    as_single = finite.astype(np.float32)
    coarse = float(np.spacing(np.float32(largest)))
    if finite.dtype.itemsize <= 4 or (
        coarse > COARSEST_S and np.array_equal(as_single.astype(np.float64), finite)
    ):
        return coarse if finite.dtype.itemsize >= 4 else float(np.spacing(finite.max()))
    return math.ulp(largest)


def is_too_coarse(seconds: NDArray[Any]) -> bool:
    """Say whether these times cannot align anything to a millisecond."""
    return resolution_s(seconds) > COARSEST_S


def is_unix(seconds: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of (N,) are Unix times of the years 2000 to 2100; NaN is not."""
    good: NDArray[np.bool_] = (seconds >= EARLIEST_S) & (seconds < LATEST_S)
    return good


def to_ns(seconds: NDArray[Any]) -> Stamps:
    """(N,) float64 s to int64 ns, rounded to the microsecond a float64 Unix time can carry."""
    whole = np.floor(np.asarray(seconds, np.float64))
    micros = np.rint((seconds - whole) * 1e6)
    result: Stamps = whole.astype(np.int64) * NS + micros.astype(np.int64) * 1000
    return result


def in_order(
    stamps_ns: Stamps, stream: str, report: ImportReport, what: str = 'items'
) -> NDArray[np.intp]:
    """Indices (M,) that sort stamps (N,) and leave out all but the first of equal ones."""
    order = np.argsort(stamps_ns, kind='stable')
    late = int((np.diff(stamps_ns) < 0).sum())
    report.changed('out_of_order', stream, late, f'{what} stored out of order were sorted by time')
    ordered = stamps_ns[order]
    first = np.concatenate(([True], np.diff(ordered) > 0)) if len(ordered) else np.zeros(0, bool)
    report.dropped(
        'duplicate_stamp', stream, int((~first).sum()), f'{what} with the stamp of another one'
    )
    kept: NDArray[np.intp] = order[first]
    return kept


@dataclass(frozen=True)
class Received:
    """Capture, send and receive times (N,) of a source, ns, in the order of arrival."""

    capture_ns: Stamps
    send_ns: Stamps
    receive_ns: Stamps


def settle_clock(
    source: str, times: Received | None, capture_ns: Stamps, options: ImportOptions,
    report: ImportReport,
) -> Stamps:  # fmt: skip
    """Turn capture stamps (N,) of a source into the receiver's time, as the user's options say.

    `times` is None where the recording holds no receive times: then only 'trusted' is possible.
    LegacyDataError when the choice cannot be met, or is needed and missing.
    """
    kind = options.clocks.get(source)
    if times is None or len(times.send_ns) < MIN_OBSERVATIONS:
        if kind in ('estimated', 'receive'):
            raise LegacyDataError(
                report.source,
                f'--clock {source}={kind} needs send and receive times and the files hold none',
            )
        report.assumed(
            'clock_trusted', source,
            'stamps taken as they are: without receive times the offset of its clock cannot be '
            f'told; state one with --offset {source}=SECONDS if it is known',
        )  # fmt: skip
        return _shift(source, capture_ns, options, report)
    return _shift(source, _by_kind(source, kind, times, report), options, report)


def _by_kind(source: str, kind: str | None, times: Received, report: ImportReport) -> Stamps:
    clock, corrected = _estimate(times)
    offset_s = clock.offset_ns / NS
    told = (
        f'measured against the receiver: offset {offset_s * 1e3:+.2f} ms (least transport delay '
        f'included), drift {clock.drift_ppm:+.0f} ppm, jitter {clock.jitter_ns / 1e6:.2f} ms, '
        f'{clock.steps} steps'
    )
    if kind == 'receive':
        report.changed('clock_receive', source, len(times.receive_ns), f'time of arrival; {told}')
        return times.receive_ns
    if kind == 'estimated':
        report.changed('clock_estimated', source, len(corrected), told)
        return corrected
    if kind is None and abs(offset_s) > BAD_OFFSET_S:
        raise LegacyDataError(
            report.source,
            f'the clock of the {source} is off by {offset_s * 1e3:+.0f} ms: choose '
            f'--clock {source}=estimated (correct it), =receive or =trusted (keep it)',
        )
    if abs(offset_s) > NORMAL_OFFSET_S:
        told += f'; more than {NORMAL_OFFSET_S * 1e3:.0f} ms: consider --clock {source}=estimated'
    report.noted('clock_trusted', source, f'stamps kept as they are; {told}')
    return times.capture_ns


def _estimate(times: Received) -> tuple[EstimatedClock, Stamps]:
    """Clock model after the whole recording, and the capture stamps by it."""
    clock = EstimatedClock(window_s=86_400.0)
    streamed = []
    for capture, send, receive in zip(
        times.capture_ns.tolist(), times.send_ns.tolist(), times.receive_ns.tolist()
    ):
        clock.observe(send, receive)
        streamed.append(clock.to_local(capture))
    if clock.steps:  # the model after the last step says nothing about what was before it
        return clock, np.array(streamed, np.int64)
    whole = [clock.to_local(capture) for capture in times.capture_ns.tolist()]
    return clock, np.array(whole, np.int64)


def _shift(source: str, stamps_ns: Stamps, options: ImportOptions, report: ImportReport) -> Stamps:
    offset_s = options.offsets_s.get(source, 0.0)
    if not offset_s:
        return stamps_ns
    report.changed('offset', source, len(stamps_ns), f'{offset_s:+.6f} s added, as stated')
    shifted: Stamps = stamps_ns + round(offset_s * NS)
    return shifted


def facts(stamps_ns: Stamps) -> dict[str, Any]:
    """Count, length and rate of a stream, for the report."""
    if not len(stamps_ns):
        return {'count': 0}
    span_s = (int(stamps_ns[-1]) - int(stamps_ns[0])) / NS
    rate = (len(stamps_ns) - 1) / span_s if span_s > 0 else 0.0
    return {
        'count': len(stamps_ns),
        'first_ns': int(stamps_ns[0]),
        'last_ns': int(stamps_ns[-1]),
        'span_s': span_s,
        'mean_hz': rate,
    }
