"""The robot's state on the wire: ZMQ PUB, two frames, at a fixed rate.

Lives in the world process, which calls `emit_due`. Pose: needle tip (the robot's tool is set to
it) in the base frame. Deliberately takes no commands: the legacy sender has none.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray
import zmq

from vla_core.arms import meca500 as kin
from vla_core.errors import DeviceError
from vla_core.timebase import NS
from vla_core.wire import robot_state
from vla_sim.faults import Channel, FaultPlan, LiveFaults, Message
from vla_sim.options import SimOptions
from vla_sim.shared import COLUMNS, SharedState

Array = NDArray[np.float64]

_BLOCK = 10  # states computed at once, when that far
ENCODER_NOISE_RAD = 4e-6  # a still arm's readings are not constant


class RobotStream:
    """Publishes one state a period; single-threaded."""

    def __init__(self, options: SimOptions, shared: SharedState) -> None:
        """Bind the port; DeviceError with one clear line if it is taken."""
        self._shared = shared
        self._counters = shared.counters('robot')
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.SNDHWM, 1000)
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # every subscriber, also when it leaves
        address = f'tcp://{options.bind}:{options.robot_port}'
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise DeviceError(
                f'robot: cannot listen on {address}: {error.strerror}; stop what uses it, '
                'or choose another with --robot-port'
            ) from error
        self._rate_hz = options.robot_rate
        self._channel = Channel(
            FaultPlan('robot', options.faults, LiveFaults(shared)),
            self._counters,
            self._send,
            corrupt,
            (options.seed, 1),
        )
        self._rng = np.random.default_rng([options.seed, 0x20B0])
        self._index = 0
        self._listeners = 0
        self._start_ns = 0
        self._ready: deque[tuple[int, Array, Array, Array]] = deque()
        self._last: tuple[Array, Array, Array] | None = None

    def start(self, start_ns: int) -> None:
        """Lay the schedule."""
        self._start_ns = start_ns

    @property
    def due_ns(self) -> int:
        """Steady time of the next state."""
        return self._time_of(self._index)

    def _time_of(self, index: int) -> int:
        return self._start_ns + int(index * NS / self._rate_hz)

    def emit_due(self, now_ns: int) -> None:
        """Publish every state that is due; after a stall, all that were missed."""
        heard = self._is_heard()
        while self.due_ns <= now_ns and self._shared.has_state(self.due_ns):
            if not heard:
                self._skip()
                continue
            if not self._ready:
                self._prepare()
            self._emit(*self._ready.popleft(), now_ns)
            self._index += 1
        self._channel.poll(now_ns)

    def _is_heard(self) -> bool:
        """Whether somebody listens: without, a state costs nothing but its count."""
        while self._socket.poll(0):
            subscribed = self._socket.recv(zmq.NOBLOCK)[:1] == b'\1'
            self._listeners = max(0, self._listeners + (1 if subscribed else -1))
        return self._listeners > 0

    def _skip(self) -> None:
        """Count a state that goes to nobody."""
        origin_ns = int(self._shared.unix_ns(self.due_ns))
        self._counters.sent(1, origin_ns, origin_ns)
        self._ready.clear()
        self._index += 1

    def _prepare(self) -> None:
        """Compute the next few states at once, as far as the physics has come."""
        times = [self._time_of(self._index + i) for i in range(_BLOCK)]
        times = [time_ns for time_ns in times if self._shared.has_state(time_ns)]
        states, outside = self._shared.states_at(np.array(times))
        if outside:
            self._counters.add('out_of_ring', outside)
        joints = states[:, COLUMNS.joint] + ENCODER_NOISE_RAD * self._rng.standard_normal(
            (len(times), 6)
        )
        position, rotation = kin.forward(joints)
        self._ready.extend(zip(times, joints, position, kin.euler_rad(rotation)))

    def _emit(
        self, sample_ns: int, joints: Array, position: Array, euler: Array, now_ns: int
    ) -> None:
        time_s = (sample_ns - self._start_ns) / NS
        if self._last is not None and self._channel.frozen(time_s):
            self._counters.add('frozen')
            joints, position, euler = self._last
        self._last = (joints, position, euler)
        origin_ns, send_ns = (int(self._shared.unix_ns(stamp)) for stamp in (sample_ns, now_ns))
        state = robot_state.RobotState(origin_ns, send_ns, 0.0, joints, position, euler)
        self._counters.sent(1, origin_ns, origin_ns)
        self._channel.push((robot_state.TOPIC, robot_state.encode(state)), 1, now_ns, time_s)

    def _send(self, message: Message) -> bool:
        try:
            self._socket.send_multipart(message, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Send what is held back and close the socket."""
        if hasattr(self, '_channel'):
            self._channel.drain()
        self._context.destroy(linger=200)


def corrupt(message: Message, rng: np.random.Generator) -> Message:
    """A damaged robot state: cut, too long, or with a NaN among its joints."""
    topic, payload = message
    choice = rng.integers(0, 3)
    if choice == 0:
        return topic, payload[: rng.integers(0, len(payload))]
    if choice == 1:
        return topic, payload + b'\0' * int(rng.integers(1, 64))
    return topic, payload[:20] + np.array([np.nan], dtype='<f4').tobytes() + payload[24:]
