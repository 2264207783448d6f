"""The legacy camera host: a ZMQ PUSH socket that connects to our PULL socket and sends one JPEG a
message.

Used by camera_driver with device 'network'. Deliberately does not look into the JPEG and knows no
views.
"""

import errno

import zmq

from vla_core.counters import Counters
from vla_core.errors import DeviceError, WireFormatError
from vla_core.wire import camera_frame
from vla_drivers.devices.base import CameraReading
from vla_drivers.devices.zmq_socket import ZmqReader

_HWM = 50  # two seconds of five views; more would only be old pictures


class ZmqCameras:
    """Receives images on tcp://address:port."""

    def __init__(self, address: str, port: int):
        self.counters = Counters()
        self._port = port
        self._endpoint = f'tcp://{address}:{port}'
        self._reader = ZmqReader(zmq.PULL, self._attach, self.counters, _HWM)

    def open(self) -> None:
        """Bind the port; DeviceError if it is in use or the address is not ours."""
        self._reader.open()

    def read(self, timeout_s: float) -> list[CameraReading]:
        """Return the images that have come, oldest first."""
        readings = []
        for parts, receive_ns in self._reader.read(timeout_s):
            try:
                readings.append(CameraReading(camera_frame.decode(parts), receive_ns))
            except WireFormatError as error:
                self.counters.add(error.kind)
        return readings

    def discard_pending(self) -> int:
        """Throw away old images."""
        return self._reader.discard_pending()

    def close(self) -> None:
        """Free the port."""
        self._reader.close()

    def describe(self) -> dict[str, str]:
        """Endpoint and number of connected senders."""
        return {'endpoint': self._endpoint, 'senders': str(self._reader.peers)}

    def _attach(self, socket: zmq.Socket) -> None:
        try:
            socket.bind(self._endpoint)
        except zmq.ZMQError as error:
            raise DeviceError(
                bind_advice(error.errno, 'TCP', self._endpoint, self._port)
            ) from error


def bind_advice(number: int | None, protocol: str, endpoint: str, port: int) -> str:
    """Return what to do when a port cannot be bound."""
    if number == errno.EADDRINUSE:
        option = '-lunp' if protocol == 'UDP' else '-ltnp'
        return (
            f'{protocol} port {port} is in use ({endpoint}): stop the process that holds it '
            f'(ss {option} shows it) or set parameter port'
        )
    if number == errno.EACCES:
        return (
            f'{protocol} port {port} may not be opened ({endpoint}): set parameter port above 1023'
        )
    return (
        f'{endpoint} cannot be bound ({errno.errorcode.get(number or 0, number)}): set parameter '
        "bind to an address of this machine, such as '127.0.0.1' or '0.0.0.0'"
    )
