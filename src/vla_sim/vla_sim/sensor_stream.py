"""The OCT/force sensor on the wire: UDP datagrams at 650 samples a second, smooth and complete.

Body of the sensor process, which does nothing else: no rendering, no physics. Samples are made
ahead (see `world`) and sent when the last of a datagram has been captured, on an absolute
schedule. After a stall every missed datagram follows, a little faster than real time, each sample
with its own capture time.
"""

from collections import deque
from collections.abc import Callable
import gc
import signal
import socket
import time

import numpy as np

from vla_core.errors import DeviceError
from vla_core.timebase import NS
from vla_core.wire import oct_force
from vla_sim.faults import Channel, FaultPlan, LiveFaults, Message
from vla_sim.oct_signal import OctSignal
from vla_sim.options import SimOptions
from vla_sim.shared import COLUMNS, SharedState

# The ring of states holds 8 s; what a longer stall has lost cannot be made any more and is counted
# as skipped.
LONGEST_STALL_S = 7.0
CATCH_UP = 4  # times real time, so that a burst does not overrun the receiver's buffer
_BLOCK = 6  # datagrams made at once
_LONGEST_NAP_NS = 100_000_000
_POLL_NS = 1_000_000  # while the physics has not come so far
_WORLD_LATE_NS = 10_000_000

Datagram = tuple[np.ndarray, np.ndarray, np.ndarray]


class SensorStream:
    """Makes and sends datagrams; single-threaded."""

    def __init__(self, options: SimOptions, shared: SharedState) -> None:
        """Open the socket; DeviceError if the target's name means nothing."""
        self._shared = shared
        self._counters = shared.counters('sensor')
        self._rate_hz = options.sensor_rate
        self._variant = options.variant
        self._commanded = options.commanded
        self.batch = 1 if options.variant == 'b' else options.batch
        self._signal = OctSignal(options.seed)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        try:
            self._address = (socket.gethostbyname(options.target), options.sensor_port)
        except OSError as error:
            raise DeviceError(
                f'sensor: unknown host {options.target!r}: give --target a name or address'
            ) from error
        self._channel = Channel(
            FaultPlan('sensor', options.faults, LiveFaults(shared)),
            self._counters,
            self._send,
            corrupt,
            (options.seed, 3),
        )
        self._start_ns = 0
        self._index = 0
        self._ready: deque[Datagram] = deque()
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def start(self, start_ns: int) -> None:
        """Lay the schedule."""
        self._start_ns = start_ns

    def capture_ns(self, index: np.ndarray) -> np.ndarray:
        """Steady capture times of samples (N,)."""
        return self._start_ns + capture_offsets_ns(index, self._rate_hz)

    @property
    def due_ns(self) -> int:
        """Steady time at which the next datagram's last sample has been captured."""
        return self._due_ns(0) if not self._ready else int(self._ready[0][0][-1])

    def _due_ns(self, ahead: int) -> int:
        last = self._index + (ahead + 1) * self.batch - 1
        return self._start_ns + int(last * NS / self._rate_hz)

    @property
    def patience_ns(self) -> int:
        """How late a datagram may be before the stream is catching up.

        A commanded scene is known only up to now, in blocks of the world's, so each is a little
        late.
        """
        return self.gap_ns + _WORLD_LATE_NS * self._commanded

    @property
    def gap_ns(self) -> int:
        """Least time between two datagrams while catching up."""
        return int(self.batch * NS / self._rate_hz / CATCH_UP)

    def skip_lost(self, now_ns: int) -> None:
        """After a stall longer than the ring, go on with what can be made, and count the rest."""
        behind = now_ns - self.due_ns
        if not self._ready and behind > LONGEST_STALL_S * NS:
            batches = int(behind * self._rate_hz / NS) // self.batch
            self._counters.add('skipped', batches * self.batch)
            self._index += batches * self.batch

    def next_datagram(self) -> Datagram:
        """The next samples: steady capture times (N,), force (N,), A-scans (N, 1025)."""
        if not self._ready:
            self._prepare()
        return self._ready.popleft()

    def _prepare(self) -> None:
        """Make a few datagrams at once, as far as the physics has come (at least one)."""
        count = 1
        while count < _BLOCK and self._shared.has_state(self._due_ns(count)):
            count += 1
        index = np.arange(self._index, self._index + count * self.batch)
        self._index += len(index)
        capture_ns = self.capture_ns(index)
        time_s = (capture_ns - self._start_ns) / NS
        force, profile, outside = samples_at(self._signal, self._shared, index, capture_ns, time_s)
        if outside:
            self._counters.add('out_of_ring', outside)
        for first in range(0, len(index), self.batch):
            part = slice(first, first + self.batch)
            self._freeze(time_s[first], force[part], profile[part])
            self._ready.append((capture_ns[part], force[part], profile[part]))

    def _freeze(self, time_s: float, force: np.ndarray, profile: np.ndarray) -> None:
        """Overwrite a datagram's samples with the last one's, while the sensor is frozen."""
        if self._last is not None and self._channel.frozen(time_s):
            self._counters.add('frozen', self.batch)
            force[:], profile[:] = self._last
        self._last = (force[-1], profile[-1])

    def send(self, capture_ns: np.ndarray, force: np.ndarray, profile: np.ndarray) -> None:
        """Send one datagram now."""
        now_ns = time.monotonic_ns()
        stamps = self._shared.unix_ns(capture_ns)
        send_ns = np.full(len(stamps), self._shared.unix_ns(now_ns))
        records = oct_force.SensorRecords(stamps, send_ns, force, profile)
        data = oct_force.encode_b(records) if self._variant == 'b' else oct_force.encode_a(records)
        self._counters.sent(len(stamps), int(stamps[0]), int(stamps[-1]))
        self._channel.push(
            (data,), len(stamps), now_ns, (int(capture_ns[0]) - self._start_ns) / NS
        )

    def poll(self, now_ns: int) -> int | None:
        """Send what was delayed and is due; return when the next is."""
        return self._channel.poll(now_ns)

    def _send(self, message: Message) -> bool:
        try:
            self._socket.sendto(message[0], self._address)
        except OSError:
            self._counters.add('send_errors')
            return False
        return True

    def close(self) -> None:
        """Send what is held back and close the socket."""
        self._channel.drain()
        self._socket.close()


def capture_offsets_ns(index: np.ndarray, rate_hz: float) -> np.ndarray:
    """Capture times (N,) int64 of samples (N,), from the start of the sensor."""
    return (index * NS / rate_hz).astype(np.int64)


def samples_at(
    signal: OctSignal,
    shared: SharedState,
    index: np.ndarray,
    capture_ns: np.ndarray,
    time_s: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Force (N,), A-scans (N, 1025) of the scene at (N,) times, and how many lay outside the ring.

    index: running numbers; capture_ns: on the clock of `shared`; time_s: since the start.
    """
    states, outside = shared.states_at(capture_ns)
    surface = states[:, COLUMNS.surface].astype(np.int64)
    force, profile = signal.synthesise(
        index, time_s, states[:, COLUMNS.distance], surface, states[:, COLUMNS.force]
    )
    return force, profile, outside


def corrupt(message: Message, rng: np.random.Generator) -> Message:
    """A damaged datagram: cut, too long, or with a NaN capture time in its first record."""
    (data,) = message
    choice = rng.integers(0, 3)
    if choice == 0:
        return (data[: rng.integers(1, 4000)],)
    if choice == 1:
        return (data + bytes(int(rng.integers(1, 100))),)
    first = len(data) % oct_force.RECORD_BYTES
    return (data[:first] + np.array([np.nan], dtype='<f8').tobytes() + data[first + 8 :],)


def run(options: SimOptions, shared: SharedState, ready: Callable[[], object]) -> None:
    """Body of the sensor process. ready(): call once everything that can fail has been set up."""
    signal.signal(signal.SIGTERM, lambda *_: shared.stop())
    stream = SensorStream(options, shared)
    ready()
    gc.freeze()
    try:
        start_ns = shared.wait_for_go()
        if start_ns is not None:
            stream.start(start_ns)
            _loop(stream, shared)
    finally:
        stream.close()


def _loop(stream: SensorStream, shared: SharedState) -> None:
    while not shared.stopped:
        now_ns = time.monotonic_ns()
        stream.skip_lost(now_ns)
        due_ns = stream.due_ns
        if not shared.has_state(due_ns):  # the physics is behind: it must catch up first
            if not _sleep_until(max(due_ns, now_ns + _POLL_NS), stream, shared):
                return
            continue
        behind = now_ns > due_ns + stream.patience_ns
        datagram = stream.next_datagram()
        due_ns = max(due_ns, now_ns + stream.gap_ns) if behind else due_ns
        if not _sleep_until(due_ns, stream, shared):
            return
        stream.send(*datagram)


def _sleep_until(due_ns: int, stream: SensorStream, shared: SharedState) -> bool:
    """Sleep, sending delayed datagrams on the way; False when stopped."""
    while True:
        now_ns = time.monotonic_ns()
        delayed_ns = stream.poll(now_ns)
        if now_ns >= due_ns:
            return True
        if shared.stopped:
            return False
        until_ns = due_ns if delayed_ns is None else min(due_ns, delayed_ns)
        time.sleep(min(max(until_ns - now_ns, 0), _LONGEST_NAP_NS) / NS)
