"""The account of every topic: what was received, and what must have been lost before.

Fed by the recorder with every message of an episode, on the thread that takes them from the
middleware. Three independent witnesses: the middleware's own sequence numbers, the counters inside
the messages, and the spacing of header stamps (an estimate, for topics that have no counter).
Deliberately decodes nothing and judges nothing: `vla episodes check` does.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
import math
import struct
import threading
from typing import Literal

from vla_data.recording import cdr
from vla_data.recording.byte_queue import Entry

Account = Literal['batch', 'chunk', 'feature', 'features', 'stamps', 'none']
# Bins of 2 % for intervals from 1 us: the median is good to 1 % after any number of messages.
_BIN = math.log(1.02)
_FLOOR_NS = 1000
_MISSING_FROM = 1.5  # intervals; a jitter of half a period is no loss


class Lanes:
    """Losses by the middleware's sequence numbers, one lane a publisher.

    The numbers do not say whose they are. With one publisher every gap is a loss; with several a
    number continues the lane it fits, and a gap is a loss once no lane can be new.
    """

    def __init__(self) -> None:
        self._last: list[int] = []

    def lost(self, number: int, publishers: int) -> int:
        """Return how many messages are missing before this one."""
        if number - 1 in self._last:
            self._last[self._last.index(number - 1)] = number
            return 0
        below = [last for last in self._last if last < number]
        if not below or (publishers > 1 and len(self._last) < publishers):
            self._new(number, publishers)
            return 0
        nearest = max(below)
        self._last[self._last.index(nearest)] = number
        return number - nearest - 1

    def _new(self, number: int, publishers: int) -> None:
        # A publisher that was started again takes the place of the one that is gone.
        if len(self._last) >= max(1, publishers):
            self._last.pop(0)
        self._last.append(number)


@dataclass
class Spacing:
    """Intervals of header stamps in a bounded histogram."""

    last_ns: int | None = None
    bins: Counter = field(default_factory=Counter)
    longest_ns: int = 0
    repeated: int = 0
    backward: int = 0

    def see(self, stamp_ns: int) -> None:
        """Take the next stamp."""
        if self.last_ns is not None:
            step_ns = stamp_ns - self.last_ns
            if step_ns <= 0:
                self.repeated += step_ns == 0
                self.backward += step_ns < 0
                return
            self.longest_ns = max(self.longest_ns, step_ns)
            self.bins[int(math.log(max(step_ns, _FLOOR_NS) / _FLOOR_NS) / _BIN)] += 1
        self.last_ns = stamp_ns

    def median_ns(self) -> float:
        """Return the median interval, 0 when there is none."""
        half, seen = sum(self.bins.values()) / 2, 0
        for number, count in sorted(self.bins.items()):
            seen += count
            if seen >= half:
                return _middle_ns(number)
        return 0.0

    def missing(self) -> int:
        """Estimate the messages that a steady stream would have had in its gaps."""
        median_ns = self.median_ns()
        if not median_ns:
            return 0
        return sum(
            count * (round(_middle_ns(number) / median_ns) - 1)
            for number, count in self.bins.items()
            if _middle_ns(number) > _MISSING_FROM * median_ns
        )


def _middle_ns(number: int) -> float:
    return _FLOOR_NS * math.exp((number + 0.5) * _BIN)


class TopicAccount:
    """The account of one topic over one episode. One thread."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._spacing = Spacing()
        self._last: int | None = None  # counter inside the message
        self._first_totals: tuple[int, int] | None = None  # of the sensor driver
        self._totals = (0, 0)
        self.counts: Counter = Counter()

    def see(self, data: bytes, transport_lost: int = 0) -> None:
        """Take one message; `transport_lost`: missing before it by the middleware's numbers."""
        self.counts['received'] += 1
        if transport_lost:
            self.counts['lost_transport'] += transport_lost
        if self._account == 'none':
            return
        try:
            if data[:2] != cdr.LITTLE_ENDIAN:
                raise ValueError('big-endian')
            self._read(data)
        except (struct.error, ValueError):
            self.counts['unreadable'] += 1

    def snapshot(self) -> dict[str, int]:
        """Return the counts; kinds that never happened are 0 where this account can tell them."""
        result = {'received': 0, 'lost_transport': 0, **self.counts}
        if self._account in _COUNTER:
            result.setdefault('lost_counter', 0)
        if self._account == 'batch' and self._first_totals is not None:
            received, lost = (now - then for now, then in zip(self._totals, self._first_totals))
            result.update(samples_received=received, lost_source=lost)
        if self._account == 'stamps':
            result.update(
                missing_by_stamps=self._spacing.missing(),
                repeated_stamps=self._spacing.repeated,
                backward_stamps=self._spacing.backward,
            )
        if self._account != 'none':
            result['longest_gap_ms'] = self._spacing.longest_ns // 1_000_000
        return result

    def _read(self, data: bytes) -> None:
        self._spacing.see(cdr.header_stamp_ns(data))
        if self._account == 'batch':
            number, *totals = cdr.sensor_counters(data)
            self._see_totals(totals[0], totals[1])
            self._see_counter(number)
        elif self._account in _COUNTER:
            self._see_counter(_COUNTER[self._account](data))

    def _see_counter(self, number: int) -> None:
        last, self._last = self._last, number
        if last is None or number == last + 1:
            return
        if number > last:
            self.counts['lost_counter'] += number - last - 1
        elif number == last:
            self.counts['repeated_counter'] += 1
        else:
            self.counts['source_restarts'] += 1

    def _see_totals(self, received: int, lost: int) -> None:
        if self._first_totals is None or received < self._totals[0]:
            carried = (0, 0)
            if self._first_totals is not None:  # the driver was started again: go on counting
                carried = tuple(
                    now - then for now, then in zip(self._totals, self._first_totals)
                )
            self._first_totals = (received - carried[0], lost - carried[1])
        self._totals = (received, lost)


class LossAccount:
    """The account of an episode. Any thread; one lock guards all."""

    def __init__(self, accounts: dict[str, Account]) -> None:
        """accounts: how losses are told, by topic."""
        self._lock = threading.Lock()
        self._topics = {name: TopicAccount(account) for name, account in accounts.items()}

    def see(self, entries: Iterable[Entry]) -> None:
        """Take messages of any topics, in the order of their coming."""
        with self._lock:
            for entry in entries:
                self._topics[entry.topic].see(entry.data, entry.lost_before)

    def snapshot(self) -> dict[str, dict[str, int]]:
        """Return the counts by topic."""
        with self._lock:
            return {name: topic.snapshot() for name, topic in self._topics.items()}


_COUNTER = {
    'batch': lambda data: cdr.sensor_counters(data)[0],
    'chunk': cdr.uint64_after_header,
    'feature': cdr.uint64_after_header,
    'features': cdr.uint64_after_two_headers,
}
