"""What every device offers to the reader thread, and the readings they hand over.

Used by reader.py and the nodes. Deliberately no clock models, no filtering, no ROS: a reading is
what came, decoded, with the time it was received.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from vla_core.counters import Counters
from vla_core.wire.camera_frame import CameraFrame
from vla_core.wire.oct_force import SensorRecords
from vla_core.wire.robot_state import RobotState


@dataclass(frozen=True)
class RobotReading:
    """One robot state; receive_ns by this machine's clock."""

    state: RobotState
    receive_ns: int


@dataclass(frozen=True)
class CameraReading:
    """One JPEG; receive_ns by this machine's clock."""

    frame: CameraFrame
    receive_ns: int


@dataclass(frozen=True)
class SensorReading:
    """The records of one datagram; receive_ns is the kernel's time stamp of it."""

    records: SensorRecords
    receive_ns: int


class Device(Protocol):
    """A source of readings. One thread calls `read`; `counters` and `describe` are for any thread.

    `open` and `read` raise DeviceError. Whatever is wrong with the input itself is counted in
    `counters` by kind and never raised.
    """

    counters: Counters

    def open(self) -> None:
        """Take the port or the device."""
        ...

    def read(self, timeout_s: float) -> list[Any]:
        """Return all readings that are there; wait at most `timeout_s` for the first one."""
        ...

    def discard_pending(self) -> int:
        """Throw away what came while nobody read; return the number of messages."""
        ...

    def close(self) -> None:
        """Give everything back; may be called twice."""
        ...

    def describe(self) -> dict[str, str]:
        """Return what a person wants to know about it, for the diagnostics."""
        ...
