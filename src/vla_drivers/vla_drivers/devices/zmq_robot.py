"""The legacy robot host: a ZMQ PUB socket that sends its state; this side connects and subscribes.

Used by robot_driver. It is a source of state only: the legacy host takes no commands.
"""

import zmq

from vla_core.counters import Counters
from vla_core.errors import WireFormatError
from vla_core.wire import robot_state
from vla_drivers.devices.base import RobotReading
from vla_drivers.devices.zmq_socket import check_host, ZmqReader

ACCEPTS_COMMANDS = False
_HWM = 1000  # ten seconds at 100 Hz


class ZmqRobot:
    """Reads robot states from tcp://host:port."""

    def __init__(self, host: str, port: int):
        self.counters = Counters()
        self._host = host
        self._endpoint = f'tcp://{host}:{port}'
        self._reader = ZmqReader(zmq.SUB, self._attach, self.counters, _HWM)

    def open(self) -> None:
        """Begin to connect. An absent host is no error: ZMQ goes on trying, `connected` tells."""
        check_host(self._host, 'host')
        self._reader.open()

    @property
    def connected(self) -> bool:
        """True while the host is there."""
        return self._reader.peers > 0

    def read(self, timeout_s: float) -> list[RobotReading]:
        """Return the states that have come, oldest first."""
        readings = []
        for parts, receive_ns in self._reader.read(timeout_s):
            try:
                readings.append(RobotReading(_decode(parts), receive_ns))
            except WireFormatError as error:
                self.counters.add(error.kind)
        return readings

    def discard_pending(self) -> int:
        """Throw away old states."""
        return self._reader.discard_pending()

    def close(self) -> None:
        """Disconnect."""
        self._reader.close()

    def describe(self) -> dict[str, str]:
        """Endpoint and connection."""
        return {'endpoint': self._endpoint, 'connected': str(self.connected).lower()}

    def _attach(self, socket: zmq.Socket) -> None:
        socket.setsockopt(zmq.SUBSCRIBE, b'')  # everything, so that foreign topics are counted
        socket.connect(self._endpoint)


def _decode(parts: list[bytes]) -> robot_state.RobotState:
    if parts[0] != robot_state.TOPIC:
        raise WireFormatError('foreign_topic', f'topic {parts[0][:40]!r}')
    if len(parts) != 2:
        raise WireFormatError('bad_parts', f'robot message of {len(parts)} parts, not 2')
    return robot_state.decode(parts[1])
