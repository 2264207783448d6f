"""What the node tests share: parameters, fake models, publishers of every input."""

from fakes import (
    CHECKPOINT,
    CONTRACT,
    FakeEncoder,
    FakeExpert,
    jpeg,
    MS,
    sample_stamps,
    sample_values,
)
from geometry_msgs.msg import PoseStamped
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, JointState
from std_msgs.msg import String

from vla_core.timebase import NS
from vla_inference.nodes.loading import LoadedExpert, LoadedVlm
from vla_msgs.msg import SensorBatch
from vla_ros import convert, qos
from vla_ros.testing import overrides

VLM = {
    'checkpoint': 'unused', 'contract': '', 'device': 'cpu', 'dtype': 'float32', 'mode': 'eager',
    'verify_checkpoint': True, 'num_threads': 1, 'nice': 0, 'task': 'insert the needle',
    'vl_reuse': 0, 'max_rate_hz': 0.0, 'image_width': 64, 'image_height': 36,
    'image_wait_s': 0.3, 'image_settle_s': 0.0, 'warn_total_ms': 500.0, 'warn_rate_hz': 1.0,
    'lockstep': False, 'lockstep_latency_ms': 80.0,
}  # fmt: skip
EXPERT = {
    'checkpoint': 'unused', 'contract': '', 'device': 'cpu', 'num_threads': 1, 'seed': 0,
    'nice': 0, 'task': 'insert the needle', 'sensor_window': 65, 'chunk_steps': 8,
    'publish_phase_ms': 0.0, 'publish_phase_shared_ms': 0.0, 'robot_must_change': True,
    'realtime_priority': 0, 'chunk_policy': 'independent', 'actuation_delay_s': 0.0,
    'shadow': False, 'lockstep': False, 'warn_rate_hz': 9.0,
}  # fmt: skip


def vlm_overrides(**changes):
    return overrides(**{**VLM, **changes})


def expert_overrides(**changes):
    return overrides(**{**EXPERT, **changes})


def load_fake_vlm(parameters, encoder=None):
    return LoadedVlm(encoder or FakeEncoder(), CONTRACT, CHECKPOINT, 'cpu')


def load_fake_expert(parameters, expert=None):
    return LoadedExpert(expert or FakeExpert(), CONTRACT, CHECKPOINT, 'cpu', (6, 4))


class Lab(Node):
    """Publishes every input of both nodes, stamped with its clock."""

    def __init__(self, contract=CONTRACT, **kwargs):
        super().__init__('lab', **kwargs)
        self.contract = contract
        self.images = {
            view.name: self.create_publisher(CompressedImage, view.topic, qos.IMAGES)
            for view in contract.views
        }
        self.samples = self.create_publisher(SensorBatch, contract.sensor.topic, qos.SENSOR_STREAM)
        self.joints = self.create_publisher(
            JointState, contract.state.joint_topic, qos.SENSOR_STREAM
        )
        self.pose = self.create_publisher(
            PoseStamped, contract.state.pose_topic, qos.SENSOR_STREAM
        )
        self.task = self.create_publisher(String, 'task', qos.LATCHED)
        self._sampled_ns = self.now_ns()
        self._shots = 0

    def now_ns(self):
        return self.get_clock().now().nanoseconds

    def shoot(self, *views):
        """One new image of each view."""
        self._shots += 1
        now_ns = self.now_ns()
        for number, view in enumerate(views or self.images):
            data = jpeg(20 * self._shots + 7 * number)
            self.images[view].publish(convert.compressed_image(now_ns, view, data))
        return now_ns

    def sense(self):
        """All sensor samples since the last call, and a robot state."""
        now_ns = self.now_ns()
        stamps = sample_stamps(max(self._sampled_ns, now_ns - 200 * MS), now_ns)
        self._sampled_ns = now_ns
        values = sample_values(stamps, self.contract.sensor.channels)
        for start in range(0, len(stamps), 5):
            part = slice(start, start + 5)
            message = convert.sensor_batch(stamps[part], values[part, 0], values[part, 1:])
            self.samples.publish(message)
        self.move(now_ns)

    def move(self, stamp_ns):
        """A robot state whose first joint tells the time."""
        joints = np.array([stamp_ns % NS / NS, 0, 0, 0, 0, 0])
        names = [f'joint_{number}' for number in range(1, 7)]
        self.joints.publish(convert.joint_state(stamp_ns, names, joints))
        position, quat = np.array([0.2, 0, 0.3]), np.array([0, 0.5**0.5, 0, 0.5**0.5])
        self.pose.publish(convert.pose_stamped(stamp_ns, 'base_link', position, quat))

    def instruct(self, task):
        self.task.publish(String(data=task))
