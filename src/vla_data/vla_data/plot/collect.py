"""What the page of an episode is drawn from, gathered in one pass through the bag.

Called by `page`. Keeps numbers of every message but of pictures only those that will be shown, and
of the A-scans one mean per column of the picture, so that memory does not grow with them.
"""

from dataclasses import dataclass, field
import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.contract import Contract
from vla_core.errors import WireFormatError
from vla_core.rotation import apply_rotvec, relative_rotvec
from vla_core.sensor_batch import sensor_arrays
from vla_core.timebase import NS
from vla_data.bag_reader import Bag
from vla_data.samples.topics import pose_arrays, stamp_ns

COLUMNS = 1400  # of the M-mode picture
THUMBNAILS = 10  # pictures a view

Array = NDArray[np.float64]


@dataclass
class Track:
    """A stream of numbers: when acquired, when logged, s from the start of the episode."""

    time_s: list[float] = field(default_factory=list)
    log_s: list[float] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, time_s: float, log_s: float, value: Any) -> None:
        """Add one item."""
        self.time_s.append(time_s)
        self.log_s.append(log_s)
        self.values.append(value)

    def arrays(self) -> tuple[Array, Array]:
        """Return times (N,) and values (N, ...), in the order of time."""
        order = np.argsort(self.time_s, kind='stable')
        return np.array(self.time_s)[order], np.array(self.values, np.float64)[order]

    def ages(self, ticks_s: Array) -> Array:
        """Age (T,) s of the newest item known at each tick; NaN before the first."""
        if not self.time_s:
            return np.full(len(ticks_s), np.nan)
        order = np.argsort(self.log_s, kind='stable')
        newest = np.maximum.accumulate(np.array(self.time_s)[order])
        place = np.searchsorted(np.array(self.log_s)[order], ticks_s, side='right') - 1
        return np.where(place >= 0, ticks_s - newest[np.maximum(place, 0)], np.nan)


class MMode:
    """A-scans over time as a picture: each column the mean of its time."""

    def __init__(self, duration_s: float, columns: int = COLUMNS) -> None:
        self._scale = columns / max(duration_s, 1e-9)
        self._columns = columns
        self._sums: NDArray[np.float32] | None = None
        self._counts = np.zeros(columns, np.int64)

    def add(self, time_s: Array, profile: NDArray[np.float32]) -> None:
        """Take in A-scans (N, P) of times (N,)."""
        if self._sums is None:
            self._sums = np.zeros((self._columns, profile.shape[1]), np.float32)
        place = (time_s * self._scale).astype(np.int64)
        inside = (place >= 0) & (place < self._columns) & np.isfinite(profile).all(axis=1)
        if profile.shape[1] == self._sums.shape[1]:
            np.add.at(self._sums, place[inside], profile[inside])
            np.add.at(self._counts, place[inside], 1)

    def picture(self) -> NDArray[np.float32] | None:
        """Return (P, columns), NaN where nothing was measured; None without any A-scan.

        A column is filled from its neighbour where the samples are sparser than the columns, but
        no further: a gap in the data stays a gap.
        """
        if self._sums is None or not self._counts.any():
            return None
        known = self._counts > 0
        spacing = int(np.ceil(self._columns / max(1, self._counts.sum()))) + 1
        picture = self._sums / np.maximum(self._counts, 1)[:, None]
        picture[~known] = np.nan
        last = -spacing - 1
        for column in range(self._columns):
            if known[column]:
                last = column
            elif column - last < spacing:
                picture[column] = picture[last]
        result: NDArray[np.float32] = picture.T
        return result


@dataclass
class Content:
    """Everything drawn."""

    start_ns: int
    duration_s: float
    views: tuple[str, ...]
    thumbnails: dict[str, list[bytes | None]] = field(default_factory=dict)  # view -> by cell
    images: dict[str, Track] = field(default_factory=dict)  # view -> new content only
    force: Track = field(default_factory=Track)
    sensor: Track = field(default_factory=Track)  # batches, for the age
    mmode: NDArray[np.float32] | None = None
    joints: Track = field(default_factory=Track)
    pose: Track = field(default_factory=Track)  # position m and quaternion
    chunks: Track = field(default_factory=Track)  # first step

    def motion(self, period_s: float) -> tuple[Array, Array] | None:
        """What the robot did a step: ticks (T,), displacement and turn (T, 6), base frame."""
        if len(self.pose.time_s) < 2:
            return None
        time_s, values = self.pose.arrays()
        ticks = np.arange(np.ceil(time_s[0] / period_s), time_s[-1] // period_s) * period_s
        if len(ticks) < 2:
            return None
        position = np.stack([np.interp(ticks, time_s, values[:, i]) for i in range(3)], axis=1)
        quats = _turn_at(ticks, time_s, values[:, 3:])
        moved = np.concatenate([np.diff(position, axis=0), relative_rotvec(quats[:-1], quats[1:])],
                               axis=1)  # fmt: skip
        return ticks[:-1], moved

    def turned_rad(self) -> tuple[Array, Array] | None:
        """Rotation vector (N, 3) rad from the first orientation, at times (N,)."""
        if not self.pose.time_s:
            return None
        time_s, values = self.pose.arrays()
        first = np.broadcast_to(values[0, 3:], values[:, 3:].shape)
        return time_s, relative_rotvec(first, values[:, 3:])


def collect(bag: Bag, contract: Contract) -> Content:
    """Read the bag once. BagError when it is damaged."""
    start_ns, duration_s = bag.start_ns, max((bag.last_ns - bag.start_ns) / NS, 1e-3)
    content = Content(start_ns, duration_s, contract.view_names)
    takers = _takers(contract, content, MMode(duration_s))
    topics = {bag.find(relative): taker for relative, taker in takers.items()}
    topics.pop(None, None)
    for topic, log_ns, message in bag.messages(list(topics)):
        topics[topic].take((log_ns - start_ns) / NS, message)
    for taker in takers.values():
        taker.finish()
    return content


class _Taker:
    """Takes one kind of message into the content."""

    def __init__(self, content: Content) -> None:
        self.content = content

    def when(self, message: Any) -> float:
        return (stamp_ns(message) - self.content.start_ns) / NS

    def take(self, log_s: float, message: Any) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        """Nothing to do at the end, by default."""


class _Images(_Taker):
    def __init__(self, content: Content, view: str) -> None:
        super().__init__(content)
        self._track = content.images.setdefault(view, Track())
        self._cells = content.thumbnails.setdefault(view, [None] * THUMBNAILS)
        self._best = np.full(THUMBNAILS, np.inf)
        self._digest = b''

    def take(self, log_s: float, message: Any) -> None:
        data, time_s = message.data.tobytes(), self.when(message)
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if digest != self._digest:
            self._track.add(time_s, log_s, 0)
        self._digest = digest
        width_s = self.content.duration_s / THUMBNAILS
        cell = int(np.clip(time_s / width_s, 0, THUMBNAILS - 1))
        distance = abs(time_s - (cell + 0.5) * width_s)
        if distance < self._best[cell]:
            self._best[cell], self._cells[cell] = distance, data


class _Sensor(_Taker):
    def __init__(self, content: Content, mmode: MMode) -> None:
        super().__init__(content)
        self._mmode = mmode

    def take(self, log_s: float, message: Any) -> None:
        try:
            stamps, force, profile = sensor_arrays(message)
        except (WireFormatError, ValueError):
            return  # `vla episodes check` counts them
        if not len(stamps):
            return
        times = (stamps - self.content.start_ns) / NS
        for time_s, value in zip(times.tolist(), force.tolist()):
            self.content.force.add(time_s, log_s, value)
        self.content.sensor.add(float(times[-1]), log_s, 0)
        self._mmode.add(times, profile)

    def finish(self) -> None:
        self.content.mmode = self._mmode.picture()


class _Joints(_Taker):
    def take(self, log_s: float, message: Any) -> None:
        if len(message.position) == 6:
            self.content.joints.add(self.when(message), log_s, np.array(message.position))


class _Pose(_Taker):
    def take(self, log_s: float, message: Any) -> None:
        position, quat = pose_arrays(message)
        if np.isfinite([*position, *quat]).all() and np.any(quat):
            self.content.pose.add(self.when(message), log_s, np.array([*position, *quat]))


class _Chunks(_Taker):
    def take(self, log_s: float, message: Any) -> None:
        delta = np.array(message.delta, np.float64)
        if len(delta) >= 6:
            self.content.chunks.add(self.when(message), log_s, delta[:6])


def _takers(contract: Contract, content: Content, mmode: MMode) -> dict[str, _Taker]:
    takers: dict[str, _Taker] = {
        view.topic: _Images(content, view.name) for view in contract.views
    }
    takers[contract.sensor.topic] = _Sensor(content, mmode)
    takers[contract.state.joint_topic] = _Joints(content)
    takers[contract.state.pose_topic] = _Pose(content)
    takers[contract.action.topic] = _Chunks(content)
    return takers


def _turn_at(ticks: Array, time_s: Array, quats: Array) -> Array:
    """Orientations (T, 4) at ticks, between the two nearest along the shortest arc."""
    after = np.clip(np.searchsorted(time_s, ticks), 1, len(time_s) - 1)
    before = after - 1
    span = np.maximum(time_s[after] - time_s[before], 1e-9)
    share = np.clip((ticks - time_s[before]) / span, 0, 1)
    turn = relative_rotvec(quats[before], quats[after])
    return apply_rotvec(turn * share[:, None], quats[before])
