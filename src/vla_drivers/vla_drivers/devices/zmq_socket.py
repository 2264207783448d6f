"""One ZMQ socket for reading, with its connections watched.

Used by zmq_robot.py and zmq_cameras.py. ZMQ reconnects by itself and tells nobody, and drops a
peer that does not speak ZMQ in silence; the socket's monitor makes both visible as counts.
Deliberately knows no message format.
"""

from collections.abc import Callable
import socket as sockets
import time

import zmq
from zmq.utils.monitor import recv_monitor_message

from vla_core.counters import Counters
from vla_core.errors import DeviceError

MAX_DRAIN = (
    64  # messages per read: bounds how long a flood keeps the reader from looking at `stop`
)
# Above this ZMQ drops the sender; twice the largest image that the codec accepts.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_JOINED = zmq.EVENT_HANDSHAKE_SUCCEEDED
_LEFT = zmq.EVENT_DISCONNECTED
_FOREIGN = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class ZmqReader:
    """Opens the socket with `attach(socket)`, then reads whole messages. One thread at a time."""

    def __init__(
        self, kind: int, attach: Callable[[zmq.Socket], None], counters: Counters, hwm: int
    ):
        self._kind = kind
        self._attach = attach
        self._counters = counters
        self._hwm = hwm
        self._context: zmq.Context | None = None
        self._socket: zmq.Socket | None = None
        self._monitor: zmq.Socket | None = None
        self._poller = zmq.Poller()
        self.peers = 0

    def open(self) -> None:
        """Create and attach the socket; what `attach` raises leaves nothing open."""
        self._context = zmq.Context()
        self._socket = self._context.socket(self._kind)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, self._hwm)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        self._monitor = self._socket.get_monitor_socket(_JOINED | _LEFT | _FOREIGN)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self.peers = 0
        try:
            self._attach(self._socket)
        except (zmq.ZMQError, DeviceError):
            self.close()
            raise

    def close(self) -> None:
        """Close the socket; the port is free afterwards."""
        if self._socket is not None:
            self._socket.disable_monitor()
            self._monitor.close(linger=0)
            self._socket.close(linger=0)
        if self._context is not None:
            self._context.term()
        self._context = self._socket = self._monitor = None
        self.peers = 0

    def read(self, timeout_s: float) -> list[tuple[list[bytes], int]]:
        """Return [(parts, receive_ns)] of what is there, at most MAX_DRAIN messages."""
        if self._socket is None or self._monitor is None:
            raise DeviceError('socket is not open')
        ready = dict(self._poller.poll(timeout_s * 1000))
        if self._monitor in ready:
            self._watch()
        messages: list[tuple[list[bytes], int]] = []
        while len(messages) < MAX_DRAIN:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            messages.append((parts, time.time_ns()))
        return messages

    def discard_pending(self) -> int:
        """Throw away what waits in the socket."""
        count = 0
        while self._socket is not None and (messages := self.read(0.0)):
            count += len(messages)
        return count

    def _watch(self) -> None:
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)['event']
            if event == _JOINED:
                self.peers += 1
                self._counters.add('connected')
            elif event == _LEFT:
                # A peer that failed the handshake leaves without having joined.
                self.peers = max(0, self.peers - 1)
                self._counters.add('disconnected')
            else:
                self._counters.add('foreign_peer')


def check_host(host: str, parameter: str) -> None:
    """Raise DeviceError if a host name cannot be resolved; ZMQ would wait in silence."""
    try:
        sockets.getaddrinfo(host, None)
    except OSError as error:
        raise DeviceError(
            f'host {host!r} cannot be resolved ({error.strerror}): set parameter {parameter}'
        ) from error
