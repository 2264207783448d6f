"""The OCT/force sensor: UDP datagrams of variant A or B, received into a large kernel buffer.

Used by sensor_driver. Receive times are the kernel's, so it does not matter when this process gets
to run. Deliberately does not look for lost or duplicated samples: see sensor_stream.py.
"""

import select
import socket
import struct
import time

from vla_core.counters import Counters
from vla_core.errors import DeviceError, WireFormatError
from vla_core.timebase import NS
from vla_core.wire import oct_force
from vla_drivers.devices.base import SensorReading
from vla_drivers.devices.zmq_cameras import bind_advice

MAX_DRAIN = (
    64  # datagrams per read: bounds how long a flood keeps the reader from looking at `stop`
)
_MAX_DATAGRAM = 65_536
# Linux socket options that Python's socket module does not name (asm-generic/socket.h).
_SO_RCVBUFFORCE = getattr(socket, 'SO_RCVBUFFORCE', 33)
_SO_TIMESTAMPNS = getattr(socket, 'SO_TIMESTAMPNS', 35)
_SO_RXQ_OVFL = getattr(socket, 'SO_RXQ_OVFL', 40)
_TIMESPEC = struct.Struct('@ll')
_COUNTER = struct.Struct('@I')
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) + socket.CMSG_SPACE(_COUNTER.size)


class UdpSensor:
    """Receives datagrams at address:port, from `sender` only unless that is empty."""

    def __init__(self, address: str, port: int, buffer_bytes: int, sender: str = ''):
        self.counters = Counters()
        self._address = address
        self._port = port
        self._sender = sender
        self._wanted_bytes = buffer_bytes
        self._socket: socket.socket | None = None
        self._poll = select.poll()
        self._overflows = 0
        self.buffer_bytes = 0

    def open(self) -> None:
        """Bind the port; DeviceError if it is in use or the address is not ours."""
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self.buffer_bytes = _enlarge_buffer(opened, self._wanted_bytes)
            opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            opened.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
            opened.bind((self._address, self._port))
        except (OSError, OverflowError) as error:
            opened.close()
            where = f'udp://{self._address}:{self._port}'
            number = getattr(error, 'errno', None)
            raise DeviceError(bind_advice(number, 'UDP', where, self._port)) from error
        # Never a socket timeout: Python would wait it out for every datagram of a burst.
        opened.setblocking(False)
        self._poll = select.poll()
        self._poll.register(opened, select.POLLIN)
        self._socket = opened
        self._overflows = 0

    @property
    def port(self) -> int:
        """The port in use; differs from the one asked for when that was 0."""
        return self._socket.getsockname()[1] if self._socket is not None else self._port

    def read(self, timeout_s: float) -> list[SensorReading]:
        """Return the datagrams that have come, in their order."""
        if self._socket is None:
            raise DeviceError('socket is not open')
        readings: list[SensorReading] = []
        if not self._poll.poll(timeout_s * 1000):
            return readings
        for _ in range(MAX_DRAIN):
            try:
                datagram, ancillary, _, source = self._socket.recvmsg(
                    _MAX_DATAGRAM, _ANCILLARY_BYTES
                )
            except BlockingIOError:
                break
            except OSError as error:
                raise DeviceError(f'sensor socket: {error.strerror}') from error
            self._take(readings, datagram, self._receive_time(ancillary), source[0])
        return readings

    def discard_pending(self) -> int:
        """Throw away what waits in the kernel."""
        count = 0
        while self._socket is not None:
            try:
                self._socket.recv(_MAX_DATAGRAM)
            except BlockingIOError:
                break
            count += 1
        return count

    def close(self) -> None:
        """Free the port."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def describe(self) -> dict[str, str]:
        """Address and the size of the kernel's buffer."""
        return {
            'endpoint': f'udp://{self._address}:{self.port}',
            'sender': self._sender or 'any',
            'receive_buffer_bytes': str(self.buffer_bytes),
            'receive_buffer_wanted_bytes': str(self._wanted_bytes),
        }

    def _take(self, readings: list, datagram: bytes, receive_ns: int, source: str) -> None:
        if self._sender and source != self._sender:
            self.counters.add('foreign_sender')
            return
        try:
            readings.append(SensorReading(oct_force.decode(datagram), receive_ns))
        except WireFormatError as error:
            self.counters.add(error.kind)

    def _receive_time(self, ancillary: list[tuple[int, int, bytes]]) -> int:
        receive_ns = 0
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack_from(data)
                receive_ns = seconds * NS + nanoseconds
            elif level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
                # Datagrams the kernel dropped because its buffer was full, since the socket is
                # open.
                total = _COUNTER.unpack_from(data)[0]
                if total != self._overflows:
                    self.counters.add('kernel_dropped', (total - self._overflows) % 2**32)
                    self._overflows = total
        return receive_ns or time.time_ns()


def _enlarge_buffer(opened: socket.socket, wanted_bytes: int) -> int:
    """Ask for a receive buffer, beyond the system's limit where that is permitted; return its
    size.
    """
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, wanted_bytes)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted_bytes)
    # The kernel books twice the size, for its own overhead (man 7 socket).
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
