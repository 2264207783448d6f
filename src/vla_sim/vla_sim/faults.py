"""What can go wrong on purpose between a device and its receiver: loss, delay, disorder and so on.

The streams send through a `Channel`. Options are written `[STREAM=]VALUE[@START[:SECONDS]]`.
Seeded: the same options give the same faults in the same messages. Every fault is counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import heapq
import itertools
import re

import numpy as np

from vla_core.errors import ConfigError, DeviceError, did_you_mean
from vla_sim.shared import LIVE_FAULT_WORDS, LIVE_FAULTS, SharedState, StreamCounters, STREAMS

KINDS = ('loss', 'duplicate', 'reorder', 'corrupt', 'freeze', 'delay_ms')
TARGETS = ('robot', 'cameras', 'sensor', *(name for name in STREAMS if name.startswith('view')))
_SYNTAX = re.compile(
    r'^(?:(?P<target>[A-Za-z_]\w*)(?:=|(?=@)|$))?(?P<value>[\d.eE+-]+)?'
    r'(?:@(?P<start>[\d.]+)(?::(?P<length>[\d.]+))?)?$'
)
Message = Sequence[bytes]


@dataclass(frozen=True)
class Fault:
    """One fault of one kind, active for length_s from start_s after the simulator's start."""

    kind: str
    target: str | None  # None: every stream
    value: float  # a probability, or milliseconds for delay_ms
    start_s: float = 0.0
    length_s: float = float('inf')

    def strikes(self, stream: str) -> bool:
        """Whether this fault is about `stream`."""
        return self.target in (None, stream) or (
            self.target == 'cameras' and stream.startswith('view')
        )

    def active(self, time_s: float) -> bool:
        """Whether it is on at `time_s`."""
        return self.start_s <= time_s < self.start_s + self.length_s


def parse_fault(kind: str, text: str) -> Fault:
    """Read one option value such as `0.01`, `sensor=0.05`, `view3@10:5`; ConfigError if wrong."""
    option = '--' + kind.replace('_', '-')
    found = _SYNTAX.match(text)
    if not found or (found['value'] is None and kind != 'freeze'):
        raise ConfigError(
            '', option, text, 'expected [STREAM=]VALUE[@START[:SECONDS]], e.g. sensor=0.01@10:5'
        )
    target = found['target']
    if target is not None and target not in TARGETS:
        hint = did_you_mean(target, TARGETS)
        raise ConfigError('', option, text, f'{target} is not one of {", ".join(TARGETS)}{hint}')
    try:
        value = float(found['value'] or 1.0)
        start, length = float(found['start'] or 0.0), float(found['length'] or 'inf')
    except ValueError:
        raise ConfigError('', option, text, 'expected numbers') from None
    limit = 60_000.0 if kind == 'delay_ms' else 1.0
    if not 0.0 <= value <= limit:
        raise ConfigError('', option, text, f'expected a value from 0 to {limit:g}')
    return Fault(kind, target, value, start, length)


class LiveFaults:
    """Faults switched on and off while the simulator runs, in the memory its processes share.

    The world process switches (on an order of `control`); every stream reads. A row is written
    before the generation moves on, and readers look at the generation first.
    """

    def __init__(self, shared: SharedState) -> None:
        self._generation = shared.live_faults[:1]
        self._rows = shared.live_faults[1:].reshape(LIVE_FAULTS, LIVE_FAULT_WORDS)
        self._numbers = self._rows.view(np.float64)

    @property
    def generation(self) -> int:
        """Changes with every switching; 0 while nothing was ever switched."""
        return int(self._generation[0])

    def switch(self, fault: Fault) -> None:
        """Put a fault in the place of the one of its kind and target; value 0 takes it away.

        DeviceError when there are too many.
        """
        target = -1 if fault.target is None else TARGETS.index(fault.target)
        key = (KINDS.index(fault.kind), target)
        same = [row for row in self._rows if row[0] and (int(row[1]), int(row[2])) == key]
        free = [row for row in self._rows if not row[0]]
        if not same and not free:
            raise DeviceError(f'more than {LIVE_FAULTS} live faults: take some away first')
        row = (same or free)[0]
        row[0] = 0
        row[1:3] = key
        row[3:].view(np.float64)[:] = fault.value, fault.start_s, fault.start_s + fault.length_s
        row[0] = fault.value > 0.0
        self._generation += 1

    def clear(self) -> None:
        """Take all away."""
        self._rows[:, 0] = 0
        self._generation += 1

    def read(self) -> list[Fault]:
        """All that are on."""
        faults = []
        for row, numbers in zip(self._rows.copy(), self._numbers.copy()):
            if row[0]:
                target = None if row[2] < 0 else TARGETS[int(row[2])]
                value, start_s, end_s = (float(number) for number in numbers[3:])
                faults.append(Fault(KINDS[int(row[1])], target, value, start_s, end_s - start_s))
        return faults


class FaultPlan:
    """The faults of one stream: those of the command line and, with `live`, the live ones."""

    def __init__(
        self, stream: str, faults: Sequence[Fault], live: LiveFaults | None = None
    ) -> None:
        self._stream, self._given, self._live = stream, faults, live
        self._seen = 0
        self._sort(faults)

    def _sort(self, faults: Sequence[Fault]) -> None:
        self._faults = {
            kind: [fault for fault in faults if fault.kind == kind and fault.strikes(self._stream)]
            for kind in KINDS
        }
        self._any = any(self._faults.values())

    @property
    def any(self) -> bool:
        """Whether there is any fault now or later."""
        if self._live is not None and self._seen != self._live.generation:
            self._seen = self._live.generation
            self._sort([*self._given, *self._live.read()])
        return self._any

    def value(self, kind: str, time_s: float) -> float:
        """The strongest active value of a kind; 0 if none is active."""
        return max(
            (fault.value for fault in self._faults[kind] if fault.active(time_s)), default=0.0
        )


class Channel:
    """The way from a device to the network, with its faults. Used by one thread.

    send: hands a message to the network and says whether it was accepted.
    corrupt: returns a damaged copy that no decoder should accept.
    """

    def __init__(
        self,
        plan: FaultPlan,
        counters: StreamCounters,
        send: Callable[[Message], bool],
        corrupt: Callable[[Message, np.random.Generator], Message],
        seed: tuple[int, ...],
    ) -> None:
        self._plan = plan
        self._counters = counters
        self._send = send
        self._corrupt = corrupt
        self._rng = np.random.default_rng(seed)
        self._queue: list[tuple[int, int, Message, int]] = []
        self._order = itertools.count()
        self._held: list[tuple[Message, int]] = []

    def frozen(self, time_s: float) -> bool:
        """Whether the device repeats its last content now."""
        return self._plan.any and self._plan.value('freeze', time_s) > 0.0

    def push(self, message: Message, units: int, now_ns: int, time_s: float) -> None:
        """Send a message of `units` samples or images, or do to it what the plan says.

        now_ns: steady clock; time_s: since the simulator started.
        """
        if not self._plan.any:
            self._deliver(message, units)
            return
        if self._strikes('loss', time_s):
            self._counters.add('lost', units)
            return
        corrupted = self._strikes('corrupt', time_s)
        if corrupted:
            self._counters.add('corrupted', units)
            message = self._corrupt(message, self._rng)
        delay_ms = self._plan.value('delay_ms', time_s)
        if delay_ms:
            self._counters.add('delayed', units)
        copies = 1
        if not corrupted and self._strikes('duplicate', time_s):
            self._counters.add('duplicated', units)
            copies = 2
        if copies == 1 and not self._held and self._strikes('reorder', time_s):
            self._counters.add('reordered', units)
            self._held.append((message, units))
            return
        due_ns = now_ns + round(delay_ms * 1e6)
        for held, held_units in (
            (message, units),
            *((message, units),) * (copies - 1),
            *self._held,
        ):
            heapq.heappush(self._queue, (due_ns, next(self._order), held, held_units))
        self._held.clear()
        self.poll(now_ns)

    def poll(self, now_ns: int) -> int | None:
        """Send what is due; return when the next message is (steady ns), or None."""
        while self._queue and self._queue[0][0] <= now_ns:
            _, _, message, units = heapq.heappop(self._queue)
            self._deliver(message, units)
        return self._queue[0][0] if self._queue else None

    def drain(self) -> None:
        """Send everything that is still held back: the end of the run is no loss."""
        for message, units in self._held:
            self._deliver(message, units)
        self._held.clear()
        self.poll(1 << 62)

    def _strikes(self, kind: str, time_s: float) -> bool:
        # Always draws, so that one kind's faults do not shift another's.
        return bool(self._rng.random() < self._plan.value(kind, time_s))

    def _deliver(self, message: Message, units: int) -> None:
        if not self._send(message):
            self._counters.add('dropped', units)
