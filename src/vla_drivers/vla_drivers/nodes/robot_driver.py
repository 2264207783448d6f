"""Robot driver node: states of the robot as JointState, PoseStamped and RobotStatus, and the only
way to move it.

Started by stack.yaml and the launch files. Device `mecademic` is read and moved: command_node.py
has that part. Device `legacy` is a host that sends its state and takes no commands, so every
action/chunk is answered REFUSED. Logic is in devices/, robot_stream.py and command_path.py.
"""

import time

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from vla_core.health import HealthItem
from vla_core.robot_services import ROBOT_SERVICES
from vla_core.rotation import euler_to_quat
from vla_core.safety.values import GateState
from vla_drivers.command_health import condition_of, robot_item
from vla_drivers.devices.base import RobotReport
from vla_drivers.devices.mecademic import MecademicRobot, MecademicSettings
from vla_drivers.devices.zmq_robot import ZmqRobot
from vla_drivers.nodes.command_node import CommandNode
from vla_drivers.nodes.device_node import DeviceNode, NICE
from vla_drivers.nodes.robot_messages import robot_status, state_only_status
from vla_drivers.nodes.robot_parameters import check, Parameters
from vla_drivers.nodes.state_messages import StateMessages
from vla_drivers.robot_stream import Condition, RobotLimits, RobotStream
from vla_msgs.msg import ActionChunk, CommandStatus, RobotStatus
from vla_ros import qos
from vla_ros.spin import run_node

STATUS_PERIOD_S = 1.0
CHANGE_PERIOD_S = 0.05  # how soon a change of state is noticed
BENIGN = ('connected', 'discarded_at_start', 'sent')
# Counts of the connection and of accepted states, not of refused messages.
NOT_REJECTED = frozenset(
    (
        *BENIGN,
        *('disconnected', 'foreign_peer', 'late', 'device_errors', 'reopened'),
        *('not_sent', 'send_failures', 'robot_errors', 'library_messages'),
    )
)


class RobotDriver(DeviceNode):
    """Threads: `_on_readings` publishes from the reader's thread, the command thread is
    CommandNode's, everything else runs on the executor's.
    """

    def __init__(self, **kwargs):
        super().__init__('robot_driver', Parameters, 'robot', **kwargs)
        self._commands: CommandNode | None = None
        self._refused_total = 0

    def configure(self) -> None:
        """Prepare the device and create the topics."""
        params = self.params
        check(params)
        self._messages = StateMessages(params.base_frame, params.joint_names)
        self._joints = self.add_publisher(JointState, 'robot/joint_states', qos.SENSOR_STREAM)
        self._pose = self.add_publisher(PoseStamped, 'robot/tcp_pose', qos.SENSOR_STREAM)
        self._status = self.add_publisher(RobotStatus, 'robot/status', qos.STATUS)
        if params.device == 'legacy':
            self._open(ZmqRobot(params.host, params.port), BENIGN)
            self._refuse_commands()
        else:
            device = MecademicRobot(
                MecademicSettings(
                    host=params.host,
                    port=params.control_port,
                    rate_hz=params.state_rate_hz,
                    tool_m=params.tool_m,
                    velocity_timeout_s=params.velocity_timeout_s,
                    silence_s=params.silence_s,
                )
            )
            self._open(device, BENIGN)
            self._commands = CommandNode(self, device)
            self._commands.configure()
        self.add_timer(CHANGE_PERIOD_S, self._watch)

    def activate(self) -> None:
        """Begin to read, and to command where the device can be: disabled."""
        params = self.params
        limits = RobotLimits(params.stale_s, params.late_s, params.rest_warn_s)
        self._refused_total = 0
        self._published: tuple | None = None
        self._published_steady_s = 0.0
        self._read(lambda clock: RobotStream(clock, limits, self._device.counters))
        if self._commands is not None:
            self._commands.activate()

    def deactivate(self) -> None:
        """Bring the robot to rest, then stop reading."""
        if self._commands is not None:
            self._commands.deactivate()
        super().deactivate()
        if self._commands is not None:
            self._commands.forget()

    def cleanup(self) -> None:
        """Free the device."""
        commands, self._commands = self._commands, None
        if commands is not None:
            commands.cleanup()
        super().cleanup()

    def _clock_kind(self) -> str:
        # A Mecademic counts microseconds since it was switched on.
        return 'estimated' if self._commands is not None else self.params.clock

    def _report(self) -> RobotReport | None:
        return self._device.report() if self._commands is not None else None

    def _stream_health(self) -> list[HealthItem]:
        heard = self._stream.health(time.time_ns(), self._device.connected)
        if self._commands is None:
            return [heard]
        return [robot_item(heard, self._device.report()), *self._commands.health()]

    def _on_readings(self, readings: list) -> None:
        for stamped in self._stream.accept(readings):
            quat_xyzw = euler_to_quat(stamped.state.euler_rad)
            if self._commands is not None:
                self._commands.on_state(stamped, quat_xyzw)
            joints, pose = self._messages.fill(stamped, quat_xyzw)
            self._joints.publish(joints)
            self._pose.publish(pose)

    def _watch(self) -> None:
        """Publish the status once a second, and at once when the state changes."""
        if self._stream is None:
            return
        report, gate = self._report(), self._gate()
        seen = self._stream.judge(time.time_ns(), self._device.connected)
        condition, detail = condition_of(seen, report)
        now_s = time.monotonic()
        state = (condition, report and (report.detail, report.recovery_needed, report.homed), gate)
        changed = self._published != state
        if changed or now_s - self._published_steady_s >= STATUS_PERIOD_S:
            if self._published is None or self._published[:2] != state[:2]:
                self._log(condition, detail)
            self._published, self._published_steady_s = state, now_s
            self._publish_status(robot_status(condition, detail, seen, report), gate)

    def _log(self, condition: Condition, detail: str) -> None:
        text = f'robot {condition.name.lower()}: {detail}'
        if condition in (Condition.CONNECTED, Condition.NOT_READY):
            self.get_logger().info(text)
        else:
            self.get_logger().warning(text)

    def _gate(self) -> GateState:
        path = self._commands.path if self._commands is not None else None
        return path.gate.state if path is not None else GateState.DISABLED

    def _publish_status(self, message: RobotStatus, gate: GateState) -> None:
        counts = self._device.counters.snapshot()
        message.device = self.params.device
        message.gate, message.enabled = str(gate), gate is GateState.ENABLED
        message.received_total = self._stream.received_total
        message.rejected_total = sum(n for kind, n in counts.items() if kind not in NOT_REJECTED)
        message.header.stamp = self.get_clock().now().to_msg()
        message.header.frame_id = self.params.base_frame
        self._status.publish(message)

    # A device that only tells its state ----------------------------------------------------------

    def _refuse_commands(self) -> None:
        self._answers = self.add_publisher(CommandStatus, 'robot/command_status', qos.STATUS)
        self.add_subscription(ActionChunk, 'action/chunk', self._refuse, qos.CHUNKS)
        for name in ROBOT_SERVICES:
            self.add_service(Trigger, f'robot/{name}', self._cannot)

    def _refuse(self, chunk: ActionChunk) -> None:
        if self._stream is None:
            return
        self._refused_total += 1
        message = state_only_status(chunk.chunk_id, self._refused_total)
        message.header.stamp = self.get_clock().now().to_msg()
        message.header.frame_id = self.params.base_frame
        self._answers.publish(message)

    def _cannot(self, request, response):
        response.success = False
        response.message = (
            'device legacy only tells its state: start robot_driver with device:=mecademic'
        )
        return response


def main(args=None) -> int:
    """Entry point."""
    return run_node(RobotDriver, args, NICE)
