"""What is measured of one stream: rate, jitter, gaps, duplicates, frozen content, clock, loss.

Fed by `check` with every message of a bag in the order of the log. Keeps the stamps (8 bytes an
item) and counts, never the content. Deliberately judges nothing: `rules` does.
"""

from array import array
from dataclasses import asdict, dataclass, field
import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import WireFormatError
from vla_core.sensor_batch import sensor_arrays
from vla_core.timebase import NS
from vla_data.samples.topics import stamp_ns

GAP_PERIODS = 1.8  # a longer interval than this many medians is a gap


@dataclass(frozen=True)
class StreamQuality:
    """One stream in numbers. Items are messages, of the sensor its samples. None: cannot be told.

    Times without unit in the name are s.
    """

    name: str
    topic: str
    count: int  # items
    rate_hz: float | None = None  # over the whole stream
    median_hz: float | None = None
    jitter_ms: float | None = None  # 95th percentile of |interval - median|
    gaps: int = 0  # intervals longer than GAP_PERIODS medians
    max_gap_s: float | None = None  # longest interval between two items
    max_stale_s: float | None = None  # longest time without NEW content
    duplicates: int = 0  # items with the stamp of another
    disordered: int = 0  # items older than one before them
    frozen: int = 0  # items with the content of the one before
    longest_frozen_s: float = 0.0
    clock_ms: float | None = None  # least (log time - stamp): transport and offset of the clock
    delay_ms: float | None = None  # median of the same
    broken: int = 0  # items that cannot be used: no JPEG, numbers not finite, wrong shape
    lost: int = 0  # missing by the counters of source, driver and recorder
    channels: int | None = None  # of the sensor

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@dataclass
class Meter:
    """Measures one stream. One thread."""

    name: str
    topic: str
    stamps: 'array[int]' = field(default_factory=lambda: array('q'))  # ns
    fresh: bytearray = field(default_factory=bytearray)  # 1 where it brought new content
    delays: 'array[int]' = field(default_factory=lambda: array('q'))  # log time - newest stamp, ns
    broken: int = 0
    lost: int = 0
    channels: int | None = None
    _digest: bytes = b''

    def add(self, log_ns: int, message: Any) -> None:
        """Take in one message with a header."""
        stamp = stamp_ns(message)
        content, good = content_of(message)
        digest = hashlib.blake2b(content, digest_size=16).digest()
        self.stamps.append(stamp)
        self.fresh.append(digest != self._digest)
        self.delays.append(log_ns - stamp)
        self.broken += not good
        self._digest = digest

    def quality(self) -> StreamQuality:
        """Return the numbers."""
        stamps = np.frombuffer(self.stamps, np.int64)
        if not len(stamps):
            return StreamQuality(self.name, self.topic, 0, broken=self.broken)
        fresh = np.frombuffer(self.fresh, np.bool_)
        delays = np.frombuffer(self.delays, np.int64) / 1e6
        return StreamQuality(
            self.name,
            self.topic,
            len(stamps),
            duplicates=len(stamps) - len(np.unique(stamps)),
            disordered=int((np.diff(stamps) < 0).sum()),
            frozen=int((~fresh).sum()),
            clock_ms=float(delays.min()),
            delay_ms=float(np.median(delays)),
            broken=self.broken,
            lost=self.lost,
            channels=self.channels,
            **_intervals(stamps),
            **_staleness(stamps, fresh),
        )


class SensorMeter(Meter):
    """Measures the sensor sample by sample, across batches."""

    def __init__(self, name: str, topic: str) -> None:
        super().__init__(name, topic)
        self._last: tuple[float, NDArray[np.float32]] | None = None
        self._sequence: int | None = None
        self._first_lost: int | None = None
        self._missing_batches = 0

    def add(self, log_ns: int, message: Any) -> None:
        """Take in one SensorBatch."""
        try:
            stamps, force, profile = sensor_arrays(message)
        except (WireFormatError, ValueError):
            self.broken += 1
            return
        if not len(stamps):
            return
        self.channels = 1 + int(message.profile_length)
        self.stamps.extend(stamps.tolist())
        self.fresh.extend(self._fresh(force, profile))
        self.delays.append(log_ns - int(stamps[-1]))
        finite = np.isfinite(force) & np.isfinite(profile).all(axis=1)
        self.broken += int((~finite).sum())
        self._count_losses(message)

    def _fresh(self, force: NDArray[np.float32], profile: NDArray[np.float32]) -> list[bool]:
        same = (force[1:] == force[:-1]) & (profile[1:] == profile[:-1]).all(axis=1)
        first = self._last is not None and (
            force[0] == self._last[0] and np.array_equal(profile[0], self._last[1])
        )
        self._last = (float(force[-1]), profile[-1].copy())
        return [not first, *(~same).tolist()]

    def _count_losses(self, message: Any) -> None:
        total = int(message.lost_total)
        if self._first_lost is None:
            self._first_lost = 0 if self._sequence is None and not message.sequence else total
        sequence = int(message.sequence)
        if self._sequence is not None and sequence > self._sequence + 1:
            self._missing_batches += sequence - self._sequence - 1
        self._sequence = sequence
        self.lost = max(self.lost, total - self._first_lost)

    @property
    def missing_batches(self) -> int:
        """Batches that the driver published and that are not in the bag."""
        return self._missing_batches


def content_of(message: Any) -> tuple[bytes, bool]:
    """Return what makes a message's content, and whether it can be used."""
    if hasattr(message, 'format') and hasattr(message, 'data'):  # CompressedImage
        data = message.data.tobytes()
        whole = data.startswith(b'\xff\xd8\xff') and data[-16:].rstrip(b'\0').endswith(b'\xff\xd9')
        return data, whole or 'jp' not in message.format.lower()
    if hasattr(message, 'position') and hasattr(message, 'velocity'):  # JointState
        joints = np.asarray(message.position, np.float64)
        return joints.tobytes(), bool(len(joints)) and bool(np.isfinite(joints).all())
    if hasattr(message, 'pose'):
        point, turn = message.pose.position, message.pose.orientation
        pose = np.array([point.x, point.y, point.z, turn.x, turn.y, turn.z, turn.w])
        return pose.tobytes(), bool(np.isfinite(pose).all()) and bool(pose[3:].any())
    if hasattr(message, 'step_stamps'):  # ActionChunk
        return int(message.chunk_id).to_bytes(8, 'little'), bool(np.isfinite(message.delta).all())
    if hasattr(message, 'feature_id'):
        return int(message.feature_id).to_bytes(8, 'little'), True
    stamp = stamp_ns(message)
    return stamp.to_bytes(8, 'little', signed=True), True


def _intervals(stamps: NDArray[np.int64]) -> dict[str, Any]:
    ordered = np.unique(stamps)
    if len(ordered) < 3:
        return {}
    steps = np.diff(ordered)
    median = float(np.median(steps))
    return {
        'rate_hz': (len(ordered) - 1) * NS / float(ordered[-1] - ordered[0]),
        'median_hz': NS / median,
        'jitter_ms': float(np.percentile(np.abs(steps - median), 95)) / 1e6,
        'gaps': int((steps > GAP_PERIODS * median).sum()),
        'max_gap_s': float(steps.max()) / NS,
    }


def _staleness(stamps: NDArray[np.int64], fresh: NDArray[np.bool_]) -> dict[str, Any]:
    """Longest time without new content, and the longest run of equal content."""
    news = np.sort(stamps[fresh])
    ends = np.concatenate((news, [stamps.max()]))
    stale = float(np.diff(ends).max(initial=0)) / NS
    longest, begin = 0, int(stamps[0])
    for stamp, new in zip(stamps.tolist(), fresh.tolist()):
        if new:
            begin = stamp
        longest = max(longest, stamp - begin)
    return {'max_stale_s': stale, 'longest_frozen_s': longest / NS}
