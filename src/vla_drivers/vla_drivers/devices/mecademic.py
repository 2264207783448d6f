"""A Mecademic robot through the official library `mecademicpy`: its state, and velocity commands.

Used by robot_driver. Connecting and reading come back by themselves; moving does not: whatever
went wrong, and at the start, `recover` has to be called on the operator's word. The robot is
driven by MoveLinVelWrf only, which it obeys for the velocity time-out and no longer. Deliberately
no limits (vla_core.safety) and no protocol of its own.
"""

from collections import deque
from dataclasses import dataclass
import logging
import socket as sockets
import struct
import threading
import time

from mecademicpy.robot import Robot
from mecademicpy.robot_classes import MecademicException, RobotCallbacks
from numpy.typing import NDArray

from vla_core.arms import meca500
from vla_core.counters import Counters
from vla_core.errors import DeviceError
from vla_core.timebase import NS
from vla_core.wire.robot_state import RobotState
from vla_drivers.devices.base import RobotReading, RobotReport
from vla_drivers.devices.mecademic_cycle import CycleAssembler, MONITORED
from vla_drivers.devices.mecademic_recovery import MotionSetup, recover, wire_velocity
from vla_drivers.devices.mecademic_status import ErrorMemory, report_of
from vla_drivers.devices.zmq_socket import check_host

ACCEPTS_COMMANDS = True
CONNECT_S = 1.0
WAITING = 500  # states kept for a reader that is late: five seconds at 100 Hz
_STATUS_EVENTS = (
    'on_status_updated',
    'on_error',
    'on_error_reset',
    'on_activated',
    'on_deactivated',
    'on_homed',
    'on_motion_paused',
    'on_motion_resumed',
    'on_safety_stop_state_change',
)


@dataclass(frozen=True)
class MecademicSettings:
    """Where the robot is and how it is read and driven."""

    host: str
    port: int
    rate_hz: float  # of the state
    tool_m: float  # needle tip's distance from the flange along its z axis
    velocity_timeout_s: float
    silence_s: float  # nothing heard for this long: power or cable


class MecademicRobot:
    """Threads: `open`, `read`, `close` of the reader; `send_velocity` of the command thread;
    `recover` of a worker; the library's callback thread hands messages over. One lock guards what
    they share. Counters: bad_values, incomplete_cycles, robot_errors, connected, disconnected,
    send_failures, not_sent, overflow, library_messages.
    """

    def __init__(self, settings: MecademicSettings):
        self.counters = Counters()
        self._settings = settings
        self._robot: Robot | None = None
        self._cycle = CycleAssembler(self.counters)
        self._errors = ErrorMemory()
        self._lock = threading.Condition()
        self._readings: deque[RobotReading] = deque(maxlen=WAITING)
        self._report = RobotReport(detail='not connected yet')
        self._reason = 'not recovered since the driver was started'
        self._recovery_needed = True
        self._recovering = False
        self._lost = ''
        self._tool_set = False
        self._heard_steady_ns = 0
        self._information = ''
        _quieten(self.counters)

    @property
    def connected(self) -> bool:
        """True while there is a connection that is not known to be dead."""
        return self.report().connected

    def open(self) -> None:
        """Resolve the host. The connection is made by `read`: a robot that is off is no error."""
        check_host(self._settings.host, 'host')

    def read(self, timeout_s: float) -> list[RobotReading]:
        """Return the states that have come, oldest first; connects where there is no connection.

        DeviceError when the connection cannot be made, was lost, or has gone silent.
        """
        if self._robot is None:
            self._connect()
        with self._lock:
            if not self._readings and not self._lost:
                self._lock.wait(timeout_s)
            readings = list(self._readings)
            self._readings.clear()
            lost, heard_ns = self._lost, self._heard_steady_ns
        silent_s = (time.monotonic_ns() - heard_ns) / NS
        if not readings and not lost and silent_s > self._settings.silence_s:
            lost = f'silent for {silent_s:.1f} s: is its power on, is the cable in?'
        if lost and not readings:
            self._give_up(lost)
            raise DeviceError(f'robot {self._endpoint}: {lost}')
        return readings

    def discard_pending(self) -> int:
        """Throw away old states."""
        with self._lock:
            count = len(self._readings)
            self._readings.clear()
        return count

    def close(self) -> None:
        """Disconnect; the robot stops by itself when its client goes."""
        robot, self._robot = self._robot, None
        if robot is not None:
            self._latch(self._lost or 'disconnected')
            robot.Disconnect()
            robot.UnregisterCallbacks()

    def describe(self) -> dict[str, str]:
        """Endpoint, what it is, and its state."""
        report = self.report()
        return {
            'endpoint': self._endpoint,
            'connected': str(report.connected).lower(),
            'robot': self._information,
            'detail': report.detail,
        }

    def report(self) -> RobotReport:
        """What the robot last said about itself."""
        return self._report

    def send_velocity(self, velocity: NDArray) -> bool:
        """Hand a velocity to the library's sender; see CommandDevice."""
        robot = self._robot
        if robot is None or not self._report.ready:
            self.counters.add('not_sent')
            return False
        try:
            robot.MoveLinVelWrf(*wire_velocity(velocity))
        except (MecademicException, OSError) as error:
            self.counters.add('send_failures')
            self._lose(f'{error}')
            return False
        return True

    def stop(self) -> None:
        """Command zero velocity, whatever the state is thought to be."""
        robot = self._robot
        if robot is None or not self._report.connected:
            return
        try:
            robot.MoveLinVelWrf(0, 0, 0, 0, 0, 0)
        except (MecademicException, OSError) as error:
            self.counters.add('send_failures')
            self._lose(f'{error}')

    def recover(self) -> None:
        """Clear errors, activate, home, resume, set the tool; on the operator's word only."""
        robot, settings = self._robot, self._settings
        if robot is None or not self._report.connected:
            raise DeviceError(
                f'recover: robot {self._endpoint} is not connected: {self._report.detail}'
            )
        with self._lock:
            if self._recovering:
                raise DeviceError('recover: already under way')
            self._recovering = True
        try:
            recover(robot, MotionSetup(settings.tool_m, settings.velocity_timeout_s))
            self._tool_set = True
            self._finish_recovery()
        finally:
            self._recovering = False
            self._refresh()

    @property
    def _endpoint(self) -> str:
        return f'{self._settings.host}:{self._settings.port}'

    def _finish_recovery(self) -> None:
        with self._lock:
            self._recovery_needed, self._reason = False, ''
            self._errors.forget()
        self._refresh()
        report = self._report
        if not report.ready:
            self._latch(report.detail)
            raise DeviceError(f'recover: carried out, but the robot is not ready: {report.detail}')

    def _connect(self) -> None:
        address = f'{sockets.gethostbyname(self._settings.host)}:{self._settings.port}'
        robot = Robot()
        robot.RegisterCallbacks(self._callbacks(), run_callbacks_in_separate_thread=True)
        self._errors.forget()
        with self._lock:
            self._lost, self._tool_set = '', False
            self._heard_steady_ns = time.monotonic_ns()
        try:
            robot.Connect(address, timeout=CONNECT_S, disconnect_on_exception=False)
            robot.SetRealTimeMonitoring(*MONITORED)
            robot.SetMonitoringInterval(round(1.0 / self._settings.rate_hz, 6))
        except (MecademicException, OSError, ValueError) as error:
            robot.Disconnect()
            robot.UnregisterCallbacks()
            self._latch(f'cannot connect: {error}')
            why = self._errors.text or f'{error}'
            raise DeviceError(
                f'robot {self._endpoint}: no connection ({why}): is it on, are host and port '
                'right, is no other client connected?'
            ) from error
        _send_at_once(robot)
        self._information = ' '.join(str(robot.GetRobotInfo()).split())
        self._robot = robot
        self.counters.add('connected')
        self._refresh()

    def _callbacks(self) -> RobotCallbacks:
        callbacks = RobotCallbacks()
        callbacks.on_command_message = self._on_message
        callbacks.on_monitor_message = self._on_message
        callbacks.on_disconnected = lambda: self._lose('the connection was closed')
        for name in _STATUS_EVENTS:
            setattr(callbacks, name, self._refresh)
        return callbacks

    def _on_message(self, message) -> None:
        receive_ns = time.time_ns()
        if self._errors.take(message.id, message.data):
            self.counters.add('robot_errors')
        reading = self._cycle.take(message.id, message.data, receive_ns)
        if reading is not None and not self._tool_set:
            reading = self._with_tool(reading)
        with self._lock:
            self._heard_steady_ns = time.monotonic_ns()
            if reading is not None:
                if len(self._readings) == WAITING:
                    self.counters.add('overflow')
                self._readings.append(reading)
                self._lock.notify_all()

    def _with_tool(self, reading: RobotReading) -> RobotReading:
        """Before `recover` the robot reports its flange or somebody else's tool: the pose of ours
        is then computed.
        """
        state = reading.state
        position_m, rotation = meca500.forward(state.joint_rad, self._settings.tool_m)
        euler_rad = meca500.euler_rad(rotation)
        with_tool = RobotState(
            state.origin_ns, state.send_ns, 0.0, state.joint_rad, position_m, euler_rad
        )
        return RobotReading(with_tool, reading.receive_ns, reading.joint_rad_s)

    def _refresh(self) -> None:
        """Take over the robot's status; anything amiss is latched until `recover`."""
        robot = self._robot
        if robot is None or self._lost:
            return
        status, safety = robot.GetStatusRobot(), robot.GetSafetyStatus()
        with self._lock:
            report = report_of(status, safety, self._errors, self._recovery_needed, self._reason)
            if not self._recovering and not self._recovery_needed and not report.ready:
                self._recovery_needed, self._reason = True, report.detail
                report = report_of(status, safety, self._errors, True, self._reason)
            self._report = report

    def _lose(self, why: str) -> None:
        with self._lock:
            if self._robot is None or self._lost:
                return
            self._lost = why
        self._latch(why)
        self.counters.add('disconnected')
        with self._lock:
            self._lock.notify_all()

    def _latch(self, why: str) -> None:
        with self._lock:
            self._recovery_needed, self._reason = True, why
            self._report = RobotReport(error=why, detail=why)

    def _give_up(self, why: str) -> None:
        """Leave nothing behind in the socket that the robot could still receive later."""
        self._lose(why)
        linger = getattr(self._robot, '_command_socket', None)
        if linger is not None:
            try:
                linger.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack('ii', 1, 0))
            except OSError:
                self.counters.add('send_failures')


def _send_at_once(robot: Robot) -> None:
    """Without this a small command waits for the robot's acknowledgement of the one before."""
    connection = getattr(robot, '_command_socket', None)
    if connection is not None:
        connection.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)


class _Quiet(logging.Handler):
    """Counts what the library logs: it writes a line per refused command, 100 a second."""

    def __init__(self, counters: Counters):
        super().__init__(logging.WARNING)
        self._counters = counters

    def emit(self, record: logging.LogRecord) -> None:
        self._counters.add('library_messages')


def _quieten(counters: Counters) -> None:
    logger = logging.getLogger('mecademicpy')
    logger.propagate = False
    logger.handlers[:] = [_Quiet(counters)]
