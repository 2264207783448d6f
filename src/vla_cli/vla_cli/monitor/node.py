"""The monitor's ROS side: small topics only, taken four times a second without an executor.

An executor wakes Python for every message; the monitor looks at its subscriptions when it draws,
and everything in between stays in the middleware. One thread calls everything. Images are
subscribed to only while `watch_images` is on.
"""

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, JointState

from vla_cli import ros_records
from vla_cli.monitor.model import Model
from vla_core.contract import Contract
from vla_msgs.action import ExecuteTask
from vla_msgs.msg import ActionChunk, CommandStatus, RobotStatus, VLFeatureInfo
from vla_ros import qos

# Until the next look: 10 Hz x 0.25 s, and room for a pause.
_NEWEST = QoSProfile(depth=1)
_SECONDS = QoSProfile(depth=50)
_DIAGNOSTICS = QoSProfile(depth=100)
_TAKE_LIMIT = 200  # messages of one topic at one look


class MonitorNode:
    """Feeds a Model. Use as a context manager."""

    def __init__(self, model: Model, contract: Contract, namespace: str):
        self._model = model
        self._contract = contract
        rclpy.init()
        self._node = Node(
            'vla_monitor', namespace=namespace, enable_rosout=False, start_parameter_services=False
        )
        state = contract.state
        self._sources = [
            (self._subscribe(VLFeatureInfo, 'vlm/info', _SECONDS), self._on_pass),
            (self._subscribe(ActionChunk, contract.action.topic, _SECONDS), self._on_chunk),
            (self._subscribe(RobotStatus, 'robot/status', qos.STATUS), self._on_robot),
            (self._subscribe(CommandStatus, 'robot/command_status', _SECONDS), self._on_command),
            (
                self._subscribe(
                    ExecuteTask.Impl.FeedbackMessage, 'execute_task/_action/feedback', _SECONDS
                ),
                self._on_feedback,
            ),
            (self._subscribe(JointState, state.joint_topic, _NEWEST), self._on_joints),
            (self._subscribe(PoseStamped, state.pose_topic, _NEWEST), self._on_pose),
            (self._subscribe(DiagnosticArray, '/diagnostics', _DIAGNOSTICS), self._on_diagnostics),
        ]
        self._cameras: dict[str, object] = {}
        self.images: dict[str, tuple[int, bytes]] = {}  # view -> (count, JPEG)

    def __enter__(self) -> 'MonitorNode':
        return self

    def __exit__(self, *exc_info) -> None:
        self._node.destroy_node()
        rclpy.try_shutdown()

    def poll(self, now_ns: int) -> None:
        """Take everything that has arrived."""
        self._now_ns = now_ns
        for subscription, handle in self._sources:
            for message in taken(subscription):
                handle(message)
        for view, subscription in self._cameras.items():
            for message in taken(subscription):
                count = self.images.get(view, (0, b''))[0] + 1
                self.images[view] = (count, bytes(message.data))

    def watch_images(self, wanted: bool) -> None:
        """Subscribe to the cameras, or cease."""
        if wanted and not self._cameras:
            self._cameras = {
                view.name: self._subscribe(CompressedImage, view.topic, _NEWEST)
                for view in self._contract.views
            }
        elif not wanted and self._cameras:
            for subscription in self._cameras.values():
                self._node.destroy_subscription(subscription)
            self._cameras = {}
            self.images = {}

    def _subscribe(self, kind, topic: str, profile: QoSProfile):
        return self._node.create_subscription(kind, topic, lambda message: None, profile)

    def _on_pass(self, message) -> None:
        self._model.add_pass(ros_records.pass_record(message))

    def _on_chunk(self, message) -> None:
        self._model.add_chunk(ros_records.chunk_record(message))

    def _on_robot(self, message) -> None:
        self._model.set_robot(ros_records.robot_record(message))

    def _on_command(self, message) -> None:
        self._model.operation.set_command(ros_records.command_record(message), self._now_ns)

    def _on_feedback(self, message) -> None:
        self._model.operation.set_goal(ros_records.goal_record(message.feedback, self._now_ns))

    def _on_joints(self, message) -> None:
        if message.position:
            self._model.set_pose(joint1_rad=message.position[0])

    def _on_pose(self, message) -> None:
        self._model.set_pose(position_x_m=message.pose.position.x)

    def _on_diagnostics(self, message) -> None:
        for record in ros_records.status_records(message):
            self._model.add_status(record, self._now_ns)


def taken(subscription):
    """Yield the messages that wait in a subscription."""
    for _ in range(_TAKE_LIMIT):
        with subscription.handle:
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
        if taken is None:
            return
        yield taken[0]
