"""OCT/force samples from readings to batches: local stamps, scale, duplicates, order, losses.

Used by sensor_driver. A datagram of several records becomes one batch; datagrams of one record are
gathered into batches. Samples that come late are passed on in a batch of their own: whoever builds
windows puts them in their place by their stamps. Deliberately keeps no samples and fills no gaps.
"""

from collections.abc import Iterable
from dataclasses import dataclass
import time

import numpy as np

from vla_core.clock_model import ClockModel
from vla_core.counters import Counters
from vla_core.health import HealthItem, Level, rate_item, RateMeter
from vla_core.timebase import NS
from vla_core.wire.oct_force import SensorRecords
from vla_drivers.devices.base import SensorReading
from vla_drivers.timeline import Novelty, Timeline


@dataclass(frozen=True)
class SensorSettings:
    """Nominal rate, calibration (value x scale + offset), limits."""

    rate_hz: float
    force_scale: float
    force_offset: float
    profile_scale: float
    profile_offset: float
    late_s: float
    warn_share: float
    error_share: float
    batch_records: int  # records of single-record datagrams gathered into one batch, at most


@dataclass(frozen=True)
class Batch:
    """Samples of one message, oldest first; stamps by this machine's clock, values calibrated."""

    stamps_ns: np.ndarray  # (N,) int64
    force_n: np.ndarray  # (N,) float32
    profile: np.ndarray  # (N, P) float32
    receive_ns: int

    @property
    def receive_delay_s(self) -> float:
        """Receive time minus the newest sample's time, s."""
        return (self.receive_ns - int(self.stamps_ns[-1])) / NS


class SensorStream:
    """`accept` belongs to the reader's thread; totals and `health` may be read from any."""

    def __init__(self, settings: SensorSettings, clock: ClockModel, counters: Counters):
        self._settings = settings
        self._clock = clock
        self._counters = counters
        self._timeline = Timeline()
        self._rate = RateMeter()
        self._newest_ns: int | None = None  # newest stamp by the source's clock
        self._steps = 0
        self._delay_s = 0.0
        self.received_total = 0
        self.lost_total = 0

    def accept(self, readings: Iterable[SensorReading]) -> list[Batch]:
        """Return the batches to publish; what is not in them is counted."""
        batches, gathered = [], []
        for reading in readings:
            records = self._filter(reading)
            if len(records) == 0:
                continue
            if len(reading.records) > 1:
                batches += self._finish(gathered)
                batches += self._finish([(records, reading.receive_ns)])
                gathered = []
                continue
            gathered.append((records, reading.receive_ns))
            if len(gathered) == self._settings.batch_records:
                batches += self._finish(gathered)
                gathered = []
        return batches + self._finish(gathered)

    def health(self) -> HealthItem:
        """The item 'samples': rate, losses, delay."""
        settings = self._settings
        values = {
            'received_total': str(self.received_total),
            'lost_total': str(self.lost_total),
            'receive_delay_ms': f'{self._delay_s * 1e3:.2f}',
            'source_clock_steps': str(self._timeline.steps),
        }
        return rate_item(
            'samples',
            self._rate.hz(time.monotonic_ns()),
            settings.rate_hz * settings.warn_share,
            settings.rate_hz * settings.error_share,
            values,
        )

    def _filter(self, reading: SensorReading) -> SensorRecords:
        """Drop and count what is not finite, repeated or impossible; the rest is oldest first."""
        records = reading.records
        good = np.isfinite(records.force) & np.isfinite(records.profile).all(axis=1)
        for index, stamp_ns in enumerate(records.capture_ns.tolist()):
            if not good[index]:
                self._counters.add('not_finite')
                continue
            novelty = self._timeline.judge(stamp_ns, reading.receive_ns)
            if novelty is Novelty.NEW:
                self._count_gap(stamp_ns)
            elif novelty is Novelty.REORDERED:
                self._counters.add('reordered')
                self.lost_total = max(0, self.lost_total - 1)  # it was taken for lost
            else:
                self._counters.add(novelty.value)
                good[index] = False
        return _sorted(records, good)

    def _count_gap(self, stamp_ns: int) -> None:
        """Estimate losses from the time between neighbours; jitter below half a period is none."""
        newest_ns, self._newest_ns = self._newest_ns, stamp_ns
        steps, self._steps = self._steps, self._timeline.steps
        if (
            newest_ns is None or steps != self._steps
        ):  # the first one, or the source's clock was set
            return
        missing = round((stamp_ns - newest_ns) * self._settings.rate_hz / NS) - 1
        if missing > 0:
            self.lost_total += missing
            self._counters.add('gaps')  # makes the item 'input' warn; a late sample mends the loss

    def _finish(self, gathered: list[tuple[SensorRecords, int]]) -> list[Batch]:
        if not gathered:
            return []
        records = _joined([records for records, _ in gathered])
        for part, receive_ns in gathered:
            self._clock.observe(int(part.send_ns[-1]), receive_ns)
        to_local, settings, receive_ns = self._clock.to_local, self._settings, gathered[-1][1]
        stamps_ns = np.array([to_local(stamp) for stamp in records.capture_ns.tolist()], np.int64)
        batch = Batch(
            stamps_ns,
            _scaled(records.force, settings.force_scale, settings.force_offset),
            _scaled(records.profile, settings.profile_scale, settings.profile_offset),
            receive_ns,
        )
        self._delay_s = batch.receive_delay_s
        if self._delay_s > settings.late_s:
            self._counters.add('late', len(stamps_ns))
        self.received_total += len(stamps_ns)
        self._rate.tick(time.monotonic_ns(), len(stamps_ns))
        return [batch]


def buffer_item(buffer_bytes: int, wanted_bytes: int) -> HealthItem:
    """The item 'receive buffer': WARN when the kernel gave less than was asked for."""
    values = {'bytes': str(buffer_bytes), 'wanted_bytes': str(wanted_bytes)}
    if buffer_bytes < wanted_bytes:
        return HealthItem(
            'receive buffer',
            Level.WARN,
            (
                f'{buffer_bytes} bytes < {wanted_bytes}: samples may be lost under load; run '
                f'sysctl -w net.core.rmem_max={wanted_bytes}'
            ),
            values,
        )
    return HealthItem('receive buffer', Level.OK, f'{buffer_bytes} bytes', values)


def _sorted(records: SensorRecords, keep: np.ndarray) -> SensorRecords:
    times = records.capture_ns
    if keep.all() and (times[1:] > times[:-1]).all():
        return records
    order = np.flatnonzero(keep)
    order = order[np.argsort(times[order], kind='stable')]
    return SensorRecords(
        times[order], records.send_ns[order], records.force[order], records.profile[order]
    )


def _joined(parts: list[SensorRecords]) -> SensorRecords:
    if len(parts) == 1:
        return parts[0]
    joined = SensorRecords(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ('capture_ns', 'send_ns', 'force', 'profile')
        )
    )
    return _sorted(joined, np.ones(len(joined), bool))


def _scaled(values: np.ndarray, scale: float, offset: float) -> np.ndarray:
    if scale == 1.0 and offset == 0.0:
        return values
    return (values * np.float32(scale) + np.float32(offset)).astype(np.float32, copy=False)
