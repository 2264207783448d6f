"""Memory shared by the simulator's processes: recent states, clock, stop flag and counters.

The supervisor makes one `SharedState` before it forks. Only the world process writes the ring;
each stream writes its own row of the counters; everyone reads. Anonymous memory: nothing to clean
up, whoever dies.

Consistency without locks: a ring slot is written before `head` moves past it and is overwritten
only after a whole turn (8 s); a counter row carries a sequence number that is odd while it is
being written.
"""

import mmap
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP_NS = 2_000_000  # PHYSICS_STEP_S
RING_STATES = 4096

STREAMS = ('robot', 'sensor', 'view1', 'view2', 'view3', 'view4', 'view5')
COUNTERS = (
    'sent', 'lost', 'duplicated', 'reordered', 'corrupted', 'delayed', 'frozen', 'dropped',
    'send_errors', 'skipped', 'out_of_ring',
)  # fmt: skip
_SEQUENCE, _FIRST_CAPTURE, _LAST_CAPTURE, _FIRST_COUNTER = 0, 1, 2, 3

# Columns of a state.
COLUMNS = SimpleNamespace(
    joint=slice(0, 6),
    joint_speed=slice(6, 12),
    tip=slice(12, 15),
    phantom_position=slice(15, 18),
    phantom_quat=slice(18, 22),
    phantom=slice(15, 22),
    contact=slice(22, 31),
    distance=22,
    force=23,
    depth=24,
    radial=25,
    side=26,
    surface=27,  # from here on: not to be interpolated
    phase=28,
    cycle=29,
    flags=30,
)
_CONTINUOUS = 27
WIDTH = 31

_CONTROL = SimpleNamespace(stop=0, go=1, start_ns=2, offset_ns=3, head=4, clock_steps=5)
_CONTROL_WORDS = 16
LIVE_FAULTS, LIVE_FAULT_WORDS = 32, 6  # switched while running, see `faults.LiveFaults`
ROBOT_COUNTERS = (
    'commands', 'refused', 'velocity_while_paused', 'second_user_refused', 'control_lost',
    'watchdog', 'ignored_on_monitor_port',
)  # fmt: skip


class SharedState:
    """The shared block. Make it before forking; every process uses the same object afterwards."""

    def __init__(self) -> None:
        sizes = (
            _CONTROL_WORDS,
            RING_STATES * WIDTH,
            len(STREAMS) * (_FIRST_COUNTER + len(COUNTERS)),
            1 + LIVE_FAULTS * LIVE_FAULT_WORDS,
            len(ROBOT_COUNTERS),
        )
        self._memory = mmap.mmap(-1, 8 * sum(sizes))
        words = np.frombuffer(self._memory, dtype=np.int64)
        control, ring, counters, faults, self.robot_counts = np.split(words, np.cumsum(sizes)[:-1])
        self._control = control
        self._states = ring.view(np.float64).reshape(RING_STATES, WIDTH)
        self._counters = counters.reshape(len(STREAMS), -1)
        # Generation, then rows; only the world process writes.
        self.live_faults = faults
        self.update_clock()

    # -- life cycle

    def stop(self) -> None:
        """Tell every process to end."""
        self._control[_CONTROL.stop] = 1

    @property
    def stopped(self) -> bool:
        """True once everyone should end."""
        return bool(self._control[_CONTROL.stop])

    def go(self, start_ns: int) -> None:
        """Start all schedules at `start_ns` of the steady clock."""
        self._control[_CONTROL.start_ns] = start_ns
        self._control[_CONTROL.go] = 1

    def wait_for_go(self) -> int | None:
        """Wait for `go`; return its start_ns, or None when stopped before."""
        while not self._control[_CONTROL.go]:
            if self.stopped:
                return None
            time.sleep(0.005)
        return int(self._control[_CONTROL.start_ns])

    @property
    def start_ns(self) -> int:
        """Steady time at which all schedules start; 0 before `go`."""
        return int(self._control[_CONTROL.start_ns])

    # -- clock

    def update_clock(self) -> None:
        """Follow steps of the system clock, not its noise; called now and then."""
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        offset = wall - (before + after) // 2
        known = int(self._control[_CONTROL.offset_ns])
        if after - before < 100_000 and abs(offset - known) > 1_000_000:
            self._control[_CONTROL.offset_ns] = offset
            self._control[_CONTROL.clock_steps] += known != 0

    @property
    def clock_steps(self) -> int:
        """How often the system clock stepped by more than 1 ms."""
        return int(self._control[_CONTROL.clock_steps])

    def unix_ns(self, steady_ns: Any) -> Any:
        """Unix time of steady times (int or int64 array), ns."""
        return steady_ns + self._control[_CONTROL.offset_ns]

    # -- states of the scene

    @property
    def head(self) -> int:
        """Number of states written so far; state k is the scene at start_ns + k x STEP_NS."""
        return int(self._control[_CONTROL.head])

    def append(self, state: NDArray[np.float64]) -> None:
        """Write the next state (WIDTH,); only the world process."""
        head = self.head
        self._states[head % RING_STATES] = state
        self._control[_CONTROL.head] = head + 1

    def has_state(self, steady_ns: int) -> bool:
        """Whether the scene at `steady_ns` has been computed."""
        return steady_ns <= int(self._control[_CONTROL.start_ns]) + (self.head - 1) * STEP_NS

    def states_at(self, steady_ns: NDArray[np.int64]) -> tuple[NDArray[np.float64], int]:
        """States (M, WIDTH) at steady times (M,), and how many of them lay outside the ring.

        Interpolated; those outside get the nearest state there is.
        """
        position = (np.asarray(steady_ns) - int(self._control[_CONTROL.start_ns])) / STEP_NS
        head = self.head
        oldest = max(0, head - RING_STATES + 64)
        inside = np.clip(position, oldest, head - 1)
        outside = int(np.count_nonzero((position < oldest) | (position > head)))
        first = inside.astype(np.int64)
        second = np.minimum(first + 1, head - 1)
        before = self._states[first % RING_STATES]
        after = self._states[second % RING_STATES]
        weight = (inside - first) * (before[:, COLUMNS.surface] == after[:, COLUMNS.surface])
        before[:, :_CONTINUOUS] += weight[:, None] * (after - before)[:, :_CONTINUOUS]
        return before, outside

    # -- counters

    def counters(self, stream: str) -> 'StreamCounters':
        """The counters of one stream ('robot', 'sensor', 'view1' ..)."""
        return StreamCounters(self._counters[STREAMS.index(stream)])


class StreamCounters:
    """Counters of one stream; one process writes, any reads a consistent snapshot."""

    def __init__(self, row: NDArray[np.int64]) -> None:
        self._row = row

    def add(self, name: str, units: int = 1) -> None:
        """Add to one counter."""
        self._row[_FIRST_COUNTER + COUNTERS.index(name)] += units

    def sent(self, units: int, first_capture_ns: int, last_capture_ns: int) -> None:
        """Count units handed to the wire, with the Unix stamps of the first and last of them."""
        row = self._row
        row[_SEQUENCE] += 1
        if row[_FIRST_CAPTURE] == 0:
            row[_FIRST_CAPTURE] = first_capture_ns
        row[_LAST_CAPTURE] = last_capture_ns
        row[_FIRST_COUNTER] += units
        row[_SEQUENCE] += 1

    def snapshot(self) -> dict[str, int]:
        """All counters with first_capture_ns and last_capture_ns."""
        for _ in range(1000):
            before = int(self._row[_SEQUENCE])
            row = self._row.tolist()
            if before % 2 == 0 and before == int(self._row[_SEQUENCE]):
                break
        values = dict(zip(COUNTERS, row[_FIRST_COUNTER:]))
        return {
            **values,
            'first_capture_ns': row[_FIRST_CAPTURE],
            'last_capture_ns': row[_LAST_CAPTURE],
        }
