"""Robot driver node: states of the legacy robot host as JointState, PoseStamped and RobotStatus.

Started by stack.yaml and the launch files. It moves nothing: the legacy host sends its state and
takes no commands, so every action/chunk is answered REFUSED. Logic is in devices/zmq_robot.py and
robot_stream.py.
"""

from dataclasses import dataclass
import time

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState

from vla_core.errors import ConfigError
from vla_core.health import HealthItem
from vla_core.rotation import euler_to_quat
from vla_drivers.devices.zmq_robot import ACCEPTS_COMMANDS, ZmqRobot
from vla_drivers.nodes.device_node import DeviceNode
from vla_drivers.robot_stream import Judgement, RobotLimits, RobotStream
from vla_msgs.msg import ActionChunk, CommandStatus, RobotStatus
from vla_ros import convert, qos
from vla_ros.params import param
from vla_ros.spin import run_node

JOINTS = 6
STATUS_PERIOD_S = 1.0
CHANGE_PERIOD_S = 0.1  # how soon a change of state is noticed
BENIGN = ('connected', 'discarded_at_start')


@dataclass(frozen=True)
class Parameters:
    """Parameters; values in launch/config/robot_driver.yaml."""

    device: str = param('robot interface', one_of=('legacy',))
    host: str = param('robot host: name or address that publishes the state')
    port: int = param('TCP port of the robot host', low=1, high=65535)
    clock: str = param('clock model of the robot host', one_of=('trusted', 'estimated'))
    base_frame: str = param('frame_id of poses and joint states')
    joint_names: list[str] = param('names of the 6 joints, base first')
    stale_s: float = param('no new state for this long is STALE, s', low=0.01, high=60.0)
    late_s: float = param(
        'a state older than this on arrival counts as late, s', low=0.0, high=60.0
    )
    rest_warn_s: float = param(
        'warn when the pose rests for this long, s; 0: never', low=0.0, high=86400.0
    )
    clock_warn_s: float = param('warn when the clocks differ by more, s', low=0.0, high=60.0)


class RobotDriver(DeviceNode):
    """Threads: `_on_readings` publishes from the reader's thread, everything else from the
    executor's.
    """

    def __init__(self, **kwargs):
        super().__init__('robot_driver', Parameters, 'robot', **kwargs)
        self._refused_total = 0

    def configure(self) -> None:
        """Connect to the robot host and create the topics."""
        if len(self.params.joint_names) != JOINTS:
            raise ConfigError(
                'parameters of robot_driver',
                'joint_names',
                self.params.joint_names,
                f'expected {JOINTS} names',
            )
        self._open(ZmqRobot(self.params.host, self.params.port), BENIGN)
        self._joints = self.add_publisher(JointState, 'robot/joint_states', qos.SENSOR_STREAM)
        self._pose = self.add_publisher(PoseStamped, 'robot/tcp_pose', qos.SENSOR_STREAM)
        self._status = self.add_publisher(RobotStatus, 'robot/status', qos.STATUS)
        self._commands = self.add_publisher(CommandStatus, 'robot/command_status', qos.STATUS)
        self.add_subscription(ActionChunk, 'action/chunk', self._refuse, qos.CHUNKS)
        self.add_timer(CHANGE_PERIOD_S, self._watch)

    def activate(self) -> None:
        """Begin to read."""
        params = self.params
        limits = RobotLimits(params.stale_s, params.late_s, params.rest_warn_s)
        self._refused_total = 0
        self._published: tuple[int, str] | None = None
        self._published_steady_s = 0.0
        self._read(lambda clock: RobotStream(clock, limits, self._device.counters))

    def _stream_health(self) -> list[HealthItem]:
        return [self._stream.health(time.time_ns(), self._device.connected)]

    def _on_readings(self, readings: list) -> None:
        for stamped in self._stream.accept(readings):
            state = stamped.state
            joints = convert.joint_state(
                stamped.stamp_ns, self.params.joint_names, state.joint_rad
            )
            joints.header.frame_id = self.params.base_frame
            self._joints.publish(joints)
            self._pose.publish(
                convert.pose_stamped(
                    stamped.stamp_ns,
                    self.params.base_frame,
                    state.position_m,
                    euler_to_quat(state.euler_rad),
                )
            )

    def _watch(self) -> None:
        """Publish the status once a second, and at once when the state changes."""
        if self._stream is None:
            return
        seen = self._stream.judge(time.time_ns(), self._device.connected)
        now_s = time.monotonic()
        changed = self._published != seen.condition
        if changed or now_s - self._published_steady_s >= STATUS_PERIOD_S:
            if changed:
                self.get_logger().info(f'robot {seen.condition.name.lower()}: {seen.detail}')
            self._published, self._published_steady_s = seen.condition, now_s
            self._status.publish(self._status_message(seen))

    def _status_message(self, seen: Judgement) -> RobotStatus:
        counts = self._device.counters.snapshot()
        message = RobotStatus(
            device=self.params.device,
            state=int(seen.condition),
            detail=seen.detail,
            accepts_commands=ACCEPTS_COMMANDS,
            enabled=False,
            state_hz=seen.hz,
            state_age_s=float('nan') if seen.age_s is None else seen.age_s,
            received_total=self._stream.received_total,
            rejected_total=sum(n for kind, n in counts.items() if kind not in NOT_REJECTED),
        )
        message.header.stamp = self.get_clock().now().to_msg()
        message.header.frame_id = self.params.base_frame
        return message

    def _refuse(self, chunk: ActionChunk) -> None:
        if self._stream is None:
            return
        self._refused_total += 1
        message = CommandStatus(
            chunk_id=chunk.chunk_id,
            step=-1,
            result=CommandStatus.REFUSED,
            reasons=['device_state_only'],
            values=[float('nan')],
            limits=[float('nan')],
            refused_total=self._refused_total,
        )
        message.header.stamp = self.get_clock().now().to_msg()
        message.header.frame_id = self.params.base_frame
        self._commands.publish(message)


# Counts of the connection and of accepted states, not of refused messages.
NOT_REJECTED = (*BENIGN, 'disconnected', 'foreign_peer', 'late', 'device_errors', 'reopened')


def main(args=None) -> int:
    """Entry point."""
    return run_node(RobotDriver, args)
