"""What every device offers to the reader thread, and the readings they hand over.

Used by reader.py, command_path.py and the nodes. Deliberately no clock models, no filtering, no
ROS: a reading is what came, decoded, with the time it was received.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_core.counters import Counters
from vla_core.wire.camera_frame import CameraFrame
from vla_core.wire.oct_force import SensorRecords
from vla_core.wire.robot_state import RobotState


@dataclass(frozen=True)
class RobotReading:
    """One robot state; receive_ns by this machine's clock; joint_rad_s (6,) where measured."""

    state: RobotState
    receive_ns: int
    joint_rad_s: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class RobotReport:
    """What a robot that takes commands says about itself.

    `recovery_needed` is latched by the device: an error, a stop, a pause, a deactivation or a lost
    connection sets it, and only the operator's `recover` takes it away.
    """

    connected: bool = False
    activated: bool = False
    homed: bool = False
    paused: bool = False
    emergency_stop: bool = False
    error_code: int = 0
    error: str = ''  # the robot's own error, its emergency stop, or the loss of it; '' when none
    recovery_needed: bool = True
    detail: str = ''  # one line for a person: what it is and what to do

    @property
    def ready(self) -> bool:
        """Whether it would follow a command now."""
        well = self.connected and self.activated and self.homed and not self.paused
        return well and not (self.emergency_stop or self.error or self.recovery_needed)


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


class CommandDevice(Device, Protocol):
    """A robot that can be moved. It must stop by itself when commands cease.

    Threads: `send_velocity` belongs to the command thread and never waits for the robot;
    `report` and `stop` are for any thread; `recover` blocks and belongs to a worker.
    """

    def report(self) -> RobotReport:
        """Return what the robot last said about itself; cheap."""
        ...

    def send_velocity(self, velocity: NDArray[np.float64]) -> bool:
        """Move with (6,) linear (m/s) and angular (rad/s) velocity, base frame; False: not sent,
        since the robot is not ready.
        """
        ...

    def stop(self) -> None:
        """Bring the robot to rest at once. Raises nothing."""
        ...

    def recover(self) -> None:
        """Clear the robot's error, activate, home, resume: on the operator's word only. Blocks
        for as long as the robot takes; DeviceError says why it did not work.
        """
        ...
