"""The chunk executor: which motion the chunks ask for at an instant.

`add` is called by the robot driver with chunks that the safety gate admitted, `at` by its command
thread at 100 Hz; `vla bench splice` and evaluation do the same in their own time. Deliberately
judges nothing (ages, limits, enabling are the gate's) and queues nothing: a step whose time has
passed is skipped and counted.
"""

from bisect import bisect_right
from dataclasses import dataclass
import threading
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vla_core.counters import Counters
from vla_core.errors import ConfigError
from vla_core.execution.ensemble import mean_step
from vla_core.execution.splice import SpliceMeter
from vla_core.execution.values import Motion, TimedChunk
from vla_core.freshness import Reaction
from vla_core.timebase import NS

Array = NDArray[np.float64]
ChunkPolicy = Literal['latest', 'ensemble', 'rtc']
POLICIES: tuple[ChunkPolicy, ...] = ('latest', 'ensemble', 'rtc')


@dataclass(frozen=True)
class ExecutorSettings:
    """How chunks are executed; ConfigError where a value cannot be used."""

    policy: ChunkPolicy = 'latest'
    period_ns: int = NS // 10  # of a step
    # ACT's m (arXiv 2304.13705): weight exp(-m i), i = 0 the oldest. From about 0.3 on nearly all
    # weight is on the oldest chunk, and its end is a jump: `vla bench splice --decay 0.5`.
    ensemble_decay: float = 0.01
    max_chunks: int = 64  # kept at a time; one a tick and H steps long, H of them can be in force
    max_ahead_s: float = 1.0  # a chunk that begins later than this is of another clock
    lever_m: float = 0.1  # turns rad into m for the splice meter: about the needle's length

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ConfigError('', 'policy', self.policy, POLICIES)
        for key, least in (('period_ns', 1), ('max_chunks', 2), ('max_ahead_s', 0)):
            if getattr(self, key) < least:
                raise ConfigError('', key, getattr(self, key), f'expected at least {least}')
        if not 0 <= self.ensemble_decay <= 100:
            allowed = 'expected 0 (all chunks count the same) to 100'
            raise ConfigError('', 'ensemble_decay', self.ensemble_decay, allowed)


@dataclass(frozen=True, eq=False)
class _Entry:
    """A chunk in force, with what `at` needs ready."""

    key: tuple[int, int]  # tick, id: the order of chunks
    stamps_ns: list[int]
    delta: Array  # (H, 6)
    holds: bool
    task: str

    def step_at(self, now_ns: int, period_ns: int) -> int | None:
        """Return the step whose period covers now."""
        step = bisect_right(self.stamps_ns, now_ns) - 1
        return step if step >= 0 and now_ns < self.stamps_ns[step] + period_ns else None


class ChunkExecutor:
    """Executes by time. `add` and `at` may be called from any threads; one lock guards all.

    Policies: `latest`, the newest chunk whose step covers now; `ensemble`, the weighted mean of
    all of them made for the same instruction; `rtc`, like `latest`, for chunks whose first steps
    repeat what was committed (others are executed too, and counted). A chunk that holds or stops
    (reaction HOLD, STOP) drops every chunk made before it, also ones still to come, and its steps
    are zero whatever they say.

    Counters: chunks, duplicate_chunks, out_of_order_chunks, superseded_chunks (older than a hold),
    future_chunks, bad_chunks, evicted_chunks, late_chunks, holds, uncommitted_chunks (`rtc`),
    steps_begun, steps_late, clock_steps.
    """

    def __init__(self, settings: ExecutorSettings) -> None:
        self.settings = settings
        self.counters = Counters()
        self.splice = SpliceMeter(settings.lever_m)
        self._lock = threading.Lock()
        self._entries: list[_Entry] = []  # sorted by key
        self._hold_key: tuple[int, int] | None = None
        self._now_ns: int | None = None  # latest time seen
        self._last: tuple[tuple[int, int], int] | None = None  # key and step executed last

    def add(self, chunk: TimedChunk, now_ns: int) -> None:
        """Take in an admitted chunk; what of it is late is counted and never executed."""
        with self._lock:
            self._watch_clock(now_ns)
            self.counters.add('chunks')
            entry = self._entry(chunk)
            problem = 'bad_chunks' if entry is None else self._problem(entry, now_ns)
            if entry is None or problem:
                self.counters.add(problem)
                return
            if entry.holds:
                self._hold(entry)
            elif self.settings.policy == 'rtc' and chunk.committed_steps == 0:
                self.counters.add('uncommitted_chunks')
            self._insert(entry, now_ns)
        if not entry.holds:
            self.splice.inside(entry.delta)

    def at(self, now_ns: int) -> Motion | None:
        """Return the motion that the chunks ask for now; None when no step covers now."""
        period_ns = self.settings.period_ns
        with self._lock:
            self._watch_clock(now_ns)
            parts = [
                (entry, step)
                for entry in self._entries
                if (step := entry.step_at(now_ns, period_ns)) is not None
            ]
            if not parts:
                self.splice.pause()
                return None
            newest, step = parts[-1]
            delta = newest.delta[step]
            if self.settings.policy == 'ensemble' and not newest.holds:
                # A hold is no prediction, and one for another instruction not one for this.
                steps = [
                    entry.delta[k]
                    for entry, k in parts
                    if not entry.holds and entry.task == newest.task
                ]
                delta = mean_step(np.stack(steps), self.settings.ensemble_decay)
            self._note(newest, step, delta)
            velocity = delta * (NS / period_ns)
            return Motion(velocity, newest.key[1], step, made_ns=newest.key[0])

    def clear(self) -> None:
        """Forget every chunk; counters stay."""
        with self._lock:
            self._forget()

    def _entry(self, chunk: TimedChunk) -> _Entry | None:
        stamps_ns = [int(stamp) for stamp in np.asarray(chunk.step_stamps_ns).ravel()]
        delta = np.array(chunk.delta, np.float64)
        rising = all(a < b for a, b in zip(stamps_ns, stamps_ns[1:]))
        if not stamps_ns or not rising or delta.shape != (len(stamps_ns), 6):
            return None
        holds = chunk.reaction >= Reaction.HOLD
        if not holds and not np.isfinite(delta).all():
            return None
        key = (int(chunk.made_ns), int(chunk.chunk_id))
        return _Entry(key, stamps_ns, np.zeros_like(delta) if holds else delta, holds, chunk.task)

    def _problem(self, entry: _Entry, now_ns: int) -> str:
        """Return why a chunk has no part in anything, as a kind to count; '' if it may have."""
        if any(known.key == entry.key for known in self._entries):
            return 'duplicate_chunks'
        if entry.stamps_ns[0] > now_ns + round(self.settings.max_ahead_s * NS):
            return 'future_chunks'
        if self._hold_key is not None and entry.key <= self._hold_key:
            return 'superseded_chunks'
        return ''

    def _hold(self, entry: _Entry) -> None:
        self.counters.add('holds')
        self._hold_key = entry.key
        self._entries = [known for known in self._entries if known.key > entry.key]

    def _insert(self, entry: _Entry, now_ns: int) -> None:
        period_ns = self.settings.period_ns
        late = sum(stamp + period_ns <= now_ns for stamp in entry.stamps_ns)
        self.counters.add('steps_late', late)
        if self._entries and entry.key < self._entries[-1].key:
            self.counters.add('out_of_order_chunks')
        self._entries = [
            known for known in self._entries if known.stamps_ns[-1] + period_ns > now_ns
        ]
        if late == len(entry.stamps_ns):
            self.counters.add('late_chunks')
            return
        self._entries = sorted([*self._entries, entry], key=lambda known: known.key)
        while len(self._entries) > self.settings.max_chunks:
            del self._entries[0]
            self.counters.add('evicted_chunks')

    def _note(self, newest: _Entry, step: int, delta: Array) -> None:
        """Count a step when it begins, and those that nobody asked for in their time."""
        last, self._last = self._last, (newest.key, step)
        if last != self._last:
            self.counters.add('steps_begun')
            if last is not None and last[0] == newest.key and step > last[1] + 1:
                self.counters.add('steps_late', step - last[1] - 1)
        if newest.holds:
            self.splice.pause()
        else:
            self.splice.executed(newest.key, newest.stamps_ns[step], delta)

    def _watch_clock(self, now_ns: int) -> None:
        """Drop everything when the clock was set back: its chunks would be executed twice."""
        if self._now_ns is not None and now_ns < self._now_ns - self.settings.period_ns:
            self.counters.add('clock_steps')
            self._forget()
            self._now_ns = now_ns
        self._now_ns = now_ns if self._now_ns is None else max(self._now_ns, now_ns)

    def _forget(self) -> None:
        self._entries = []
        self._hold_key = self._last = None
        self.splice.pause()
