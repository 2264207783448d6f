"""Clock models: from a remote source's stamps to this machine's time.

One per source, fed by the device's reading thread with (send time by the remote clock, receive
time by ours). Deliberately one-way: without a reply the least transport delay cannot be told from
the offset, so an estimated clock is late by that delay (well under a millisecond on a wired
network).
"""

from collections import deque
from dataclasses import dataclass
import threading
from typing import Literal, Protocol

from vla_core.errors import ConfigError
from vla_core.timebase import s_to_ns

# Quartz is within 100 ppm and NTP slews by 500 at most; a steeper line is noise.
MAX_DRIFT_PPM = 500.0
_RECENT = 512  # delays that jitter is told from
_PPM = 1e6


class ClockModel(Protocol):
    """Maps a source's stamps to this machine's clock. Times are Unix ns."""

    def observe(self, send_ns: int, receive_ns: int) -> None:
        """Take in one message: sent by the remote clock, received by ours."""
        ...

    def to_local(self, remote_ns: int) -> int:
        """Return the time of this machine's clock at a stamp of the remote one."""
        ...

    @property
    def offset_ns(self) -> int:
        """Our clock minus the remote one, now, with the least transport delay; 0 before any."""
        ...

    @property
    def jitter_ns(self) -> int:
        """95th percentile of the recent delays above the least one."""
        ...

    @property
    def drift_ppm(self) -> float:
        """How much faster our clock runs than the remote one; 0 until it can be told."""
        ...

    @property
    def steps(self) -> int:
        """Steps of either clock that were detected."""
        ...


@dataclass(frozen=True)
class _Line:
    """Least (receive - send), ns, as a line over the remote time."""

    origin_ns: int
    offset_ns: float
    slope: float = 0.0

    def at(self, remote_ns: int) -> int:
        return round(self.offset_ns + self.slope * (remote_ns - self.origin_ns))


@dataclass(frozen=True)
class _Observation:
    send_ns: int
    receive_ns: int

    @property
    def delay_ns(self) -> int:
        return self.receive_ns - self.send_ns


class EstimatedClock:
    """Offset and drift from the least (receive - send) delay over a sliding window.

    Queueing only ever adds delay, so the points of least delay, one kept per `bin_s` of remote
    time, lie on a line from below: the clock's offset and drift (Moon, Skelly, Towsley, INFOCOM
    1999). A step of either clock shows as `confirm_count` messages in a row more than `step_s`
    below that line, or, since congestion looks alike, as messages above it for `confirm_s`; until
    then they do not enter the estimate, so one garbled time does no harm. After a step the
    estimate starts anew with those messages.

    One thread observes and converts; the properties may be read from any other. One lock guards
    all.
    """

    def __init__(
        self,
        window_s: float = 30.0,
        bin_s: float = 1.0,
        step_s: float = 0.02,
        confirm_count: int = 5,
        confirm_s: float = 2.0,
        drift_after_s: float = 10.0,
    ) -> None:
        if not 0 < bin_s <= window_s or step_s <= 0 or confirm_count < 1:
            raise ValueError('expected 0 < bin_s <= window_s, step_s > 0, confirm_count >= 1')
        self._bin_ns = s_to_ns(bin_s)
        self._bins_kept = max(1, round(window_s / bin_s))
        self._step_ns = s_to_ns(step_s)
        self._confirm_count = confirm_count
        self._confirm_ns = s_to_ns(confirm_s)
        self._drift_after_ns = s_to_ns(drift_after_s)
        self._lock = threading.Lock()
        self._bins: deque[tuple[int, _Observation]] = deque()
        self._line: _Line | None = None
        self._suspects: list[_Observation] = []
        self._excess_ns: deque[int] = deque(maxlen=_RECENT)
        self._last: _Observation | None = None
        self._agreeing = 0
        self._steps = 0

    def observe(self, send_ns: int, receive_ns: int) -> None:
        """Take in one message; see the class."""
        seen = _Observation(send_ns, receive_ns)
        with self._lock:
            if self._silent_for_long(seen):
                self._forget()
            self._last = seen
            if self._line is None:
                self._add(seen)
                return
            excess_ns = seen.delay_ns - self._line.at(send_ns)
            if abs(excess_ns) <= self._step_ns:
                self._suspects.clear()
                self._agreeing += 1
                self._add(seen)
                self._excess_ns.append(max(0, excess_ns))
            elif self._confirms(seen, excess_ns):
                self._restart()

    def to_local(self, remote_ns: int) -> int:
        """Return our time at a remote stamp; what was sent is never dated after its receipt."""
        with self._lock:
            if self._line is None:
                return remote_ns
            local_ns = remote_ns + self._line.at(remote_ns)
            if self._last is not None and remote_ns <= self._last.send_ns:
                return min(local_ns, self._last.receive_ns)
            return local_ns

    @property
    def offset_ns(self) -> int:
        """Our clock minus the remote one at the newest message."""
        with self._lock:
            if self._line is None or not self._bins:
                return 0
            return self._line.at(self._bins[-1][1].send_ns)

    @property
    def jitter_ns(self) -> int:
        """95th percentile of the recent delays above the least one."""
        with self._lock:
            ordered = sorted(self._excess_ns)
        return ordered[int(0.95 * (len(ordered) - 1))] if ordered else 0

    @property
    def drift_ppm(self) -> float:
        """How much faster our clock runs than the remote one."""
        line = self._line
        return 0.0 if line is None else line.slope * _PPM

    @property
    def steps(self) -> int:
        """Steps of either clock that were detected."""
        return self._steps

    def _confirms(self, seen: _Observation, excess_ns: int) -> bool:
        """Gather messages that lie off the line to the same side; True when they are a step."""
        assert self._line is not None
        if self._suspects:
            first = self._suspects[0]
            if (first.delay_ns > self._line.at(first.send_ns)) != (excess_ns > 0):
                self._suspects.clear()
        self._suspects.append(seen)
        if len(self._suspects) < self._confirm_count:
            return False
        if excess_ns < 0:
            return True
        span_ns = abs(seen.send_ns - self._suspects[0].send_ns)
        # Only the first (its time) and the newest matter while waiting: the memory stays bounded.
        del self._suspects[1 : -2 * self._confirm_count]
        return span_ns >= self._confirm_ns

    def _restart(self) -> None:
        # Of a run below the line all are good; one above it may have begun as congestion.
        recent = self._suspects[-self._confirm_count :]
        # A line that no message ever agreed with came from one bad first message: no step of a
        # clock.
        if self._agreeing >= self._confirm_count:
            self._steps += 1
        self._forget()
        for seen in recent:
            self._add(seen)

    def _forget(self) -> None:
        self._suspects.clear()
        self._bins.clear()
        self._excess_ns.clear()
        self._line = None
        self._agreeing = 0

    def _silent_for_long(self, seen: _Observation) -> bool:
        """After so long a silence drift may have added up to what looks like a step."""
        if self._last is None:
            return False
        window_ns = self._bin_ns * self._bins_kept
        return (
            seen.send_ns - self._last.send_ns > window_ns
            and seen.receive_ns - self._last.receive_ns > window_ns
        )

    def _add(self, seen: _Observation) -> None:
        index = seen.send_ns // self._bin_ns
        if not self._bins or index > self._bins[-1][0]:
            self._bins.append((index, seen))
        elif index == self._bins[-1][0] and seen.delay_ns < self._bins[-1][1].delay_ns:
            self._bins[-1] = (index, seen)
        else:
            return  # no less delay than known, or out of order: nothing to learn
        while self._bins[0][0] <= index - self._bins_kept:
            self._bins.popleft()
        self._line = self._fit()

    def _fit(self) -> _Line:
        points = [seen for _, seen in self._bins]
        origin_ns, base_ns = points[0].send_ns, points[0].delay_ns
        flat = [(seen.send_ns - origin_ns, seen.delay_ns - base_ns) for seen in points]
        slope = 0.0
        if flat[-1][0] - flat[0][0] >= self._drift_after_ns:
            limit = MAX_DRIFT_PPM / _PPM
            slope = min(max(_lower_slope(flat), -limit), limit)
        least = min(delay - slope * send for send, delay in flat)
        return _Line(origin_ns, base_ns + least, slope)


class TrustedClock:
    """The remote clock is taken to be ours (synchronised by NTP or PTP, or the same machine).

    Stamps pass unchanged; offset, jitter, drift and steps are still estimated, for the
    diagnostics.
    """

    def __init__(self, window_s: float = 30.0) -> None:
        self._estimate = EstimatedClock(window_s)

    def observe(self, send_ns: int, receive_ns: int) -> None:
        """Take in one message, for the diagnostics only."""
        self._estimate.observe(send_ns, receive_ns)

    def to_local(self, remote_ns: int) -> int:
        """Return the stamp as it is."""
        return remote_ns

    @property
    def offset_ns(self) -> int:
        """Least (receive - send): should be the transport delay; more means clocks that differ."""
        return self._estimate.offset_ns

    @property
    def jitter_ns(self) -> int:
        """95th percentile of the recent delays above the least one."""
        return self._estimate.jitter_ns

    @property
    def drift_ppm(self) -> float:
        """How much faster our clock runs than the remote one."""
        return self._estimate.drift_ppm

    @property
    def steps(self) -> int:
        """Steps of either clock that were detected."""
        return self._estimate.steps


def make_clock(kind: Literal['trusted', 'estimated'] | str, window_s: float = 30.0) -> ClockModel:
    """Make the clock model a configuration names."""
    if kind == 'trusted':
        return TrustedClock(window_s)
    if kind == 'estimated':
        return EstimatedClock(window_s)
    raise ConfigError('', 'clock', kind, ['trusted', 'estimated'])


def _lower_slope(points: list[tuple[int, int]]) -> float:
    """Slope of the nearest line below all points: that of the lower hull's edge at their mean."""
    hull: list[tuple[int, int]] = []
    for x, y in points:
        while len(hull) >= 2:
            (x1, y1), (x2, y2) = hull[-2], hull[-1]
            if (x2 - x1) * (y - y1) > (y2 - y1) * (x - x1):
                break
            hull.pop()
        hull.append((x, y))
    mean = sum(x for x, _ in points) / len(points)
    for (x1, y1), (x2, y2) in zip(hull, hull[1:]):
        if x2 >= mean:
            return (y2 - y1) / (x2 - x1)
    return 0.0
