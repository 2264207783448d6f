"""The replay's side of a lockstep: inputs and /clock out, chunks and the VLM node's answers in.

Used by `vla replay --lockstep`. One thread spins and publishes. It deliberately decides nothing
about time: vla_data.lockstep does.
"""

from collections.abc import Callable
import hashlib
import time

from builtin_interfaces.msg import Time
import rclpy
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock

from vla_core.contract import Contract
from vla_core.errors import VlaError
from vla_data.lockstep import Step
from vla_msgs.msg import ActionChunk, VLFeatureInfo
from vla_ros import qos
from vla_ros.convert import to_ns, to_time
from vla_ros.serialized import message_class

ACK_S = 0.2
FELLOWS = ('vlm_node', 'action_expert_node')
COMPARED = (
    'header', 'chunk_id', 'step_stamps', 'dims', 'delta', 'committed_steps', 'reaction', 'reasons',
    'task', 'checkpoint_hash', 'contract_hash', 'lineage',
)  # fmt: skip
"""Fields of a chunk that two replays must share; the others tell durations."""

Keep = Callable[[str, int, bytes], None]


def same_part(chunk: ActionChunk) -> bytes:
    """Return what two replays must share of a chunk, as bytes. Floats keep every bit."""
    parts = [getattr(chunk, name) for name in COMPARED if name != 'delta']
    return repr(parts).encode() + chunk.delta.tobytes()


class LockstepNode:
    """A context manager; `vla_data.lockstep.Nodes`. `keep` gets every chunk and pass info, in
    order: topic, simulated time, serialized message.
    """

    def __init__(
        self,
        contract: Contract,
        keep: Keep = lambda topic, now_ns, data: None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`check` is called while waiting; it raises when a node has ended."""
        self._contract, self._keep, self._check = contract, keep, check
        self._digest = hashlib.blake2b(digest_size=8)
        self.chunks = self.passes = 0
        self._heard: list[tuple[str, bytes]] = []
        self._chunk_ns = self._reached_ns = 0
        self._sent: set[str] = set()
        rclpy.init(args=[])
        self._node = Node('vla_replay', enable_rosout=False, start_parameter_services=False)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._clock = self._node.create_publisher(Clock, '/clock', 10)
        self._publishers = {
            topic: self._node.create_publisher(message_class(kind), topic, profile)
            for topic, (kind, profile) in inputs(contract).items()
        }
        self._slow = {view.topic for view in contract.views} | {'task'}
        action = contract.action.topic
        self._hear(ActionChunk, action, self._on_chunk)
        self._hear(VLFeatureInfo, 'vlm/info', self._on_info)
        self._node.create_subscription(Time, 'vlm/time_reached', self._on_reached, qos.IN_STEP)

    def __enter__(self) -> 'LockstepNode':
        return self

    def __exit__(self, *exc_info) -> None:
        self._executor.shutdown(timeout_sec=0)
        self._node.destroy_node()
        rclpy.try_shutdown()

    @property
    def digest(self) -> str:
        """Hash of what all chunks so far have to share with another replay's."""
        return self._digest.hexdigest()

    def refuse_company(self) -> None:
        """VlaError when somebody else tells the time or publishes an input."""
        for topic in ('/clock', *self._publishers):
            if self._node.count_publishers(topic) > 1:
                raise VlaError(
                    f'{topic}: somebody else publishes it here; end the other stack or replay in '
                    'another ROS_DOMAIN_ID'
                )

    def wait_for_readers(self, timeout_s: float) -> None:
        """Wait until the nodes hear every input. VlaError names what they do not."""
        end_s = time.monotonic() + timeout_s
        while lonely := self._lonely():
            if time.monotonic() > end_s:
                raise VlaError(f'no node of the policy listens to {", ".join(lonely)}')
            self._executor.spin_once(0.02)

    def send(self, topic: str, data: bytes) -> None:
        """Publish one message; topic is the contract's."""
        self._publishers[topic].publish(data)
        self._sent.add(topic)

    def undelivered(self, is_tick: bool) -> list[str]:
        """Wait for readers of what was sent; between ticks only for what the VLM node hears."""
        wanted = sorted(self._sent if is_tick else self._sent & self._slow)
        for topic in wanted:
            if not self._publishers[topic].wait_for_all_acked(Duration(seconds=ACK_S)):
                return [topic]
            self._sent.discard(topic)
        return []

    def advance(self, time_ns: int) -> None:
        """Publish /clock."""
        self._clock.publish(Clock(clock=to_time(time_ns)))

    def unanswered(self, step: Step, timeout_s: float) -> list[str]:
        """Spin until both nodes have answered; keep what they said."""
        end_s = time.monotonic() + timeout_s
        while missing := self._missing(step):
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                self._check()
                return missing
            self._executor.spin_once(left_s)
        for topic, data in sorted(self._heard):  # two topics of one step come in any order
            self._keep(topic, step.time_ns, data)
        self._heard.clear()
        return []

    def _missing(self, step: Step) -> list[str]:
        reached = (self._reached_ns, self._chunk_ns if step.is_tick else step.time_ns)
        return [name for name, at_ns in zip(FELLOWS, reached) if at_ns != step.time_ns]

    def _lonely(self) -> list[str]:
        return [
            topic
            for topic, publisher in self._publishers.items()
            if publisher.get_subscription_count() < (2 if topic == 'task' else 1)
        ]

    def _hear(self, message_type, topic: str, callback) -> None:
        self._node.create_subscription(message_type, topic, callback, qos.IN_STEP, raw=True)

    def _on_chunk(self, data: bytes) -> None:
        chunk = deserialize_message(data, ActionChunk)
        self._chunk_ns = to_ns(chunk.header.stamp)
        self._digest.update(same_part(chunk))
        self.chunks += 1
        self._heard.append((self._contract.action.topic, data))

    def _on_info(self, data: bytes) -> None:
        self.passes += 1
        self._heard.append(('vlm/info', data))

    def _on_reached(self, message: Time) -> None:
        self._reached_ns = to_ns(message)


def inputs(contract: Contract) -> dict[str, tuple]:
    """Return type and QoS of everything the two nodes hear, by the contract's topics."""
    sensor, state = contract.sensor, contract.state
    return {
        'task': ('std_msgs/msg/String', qos.LATCHED),
        **{view.topic: (contract.images.type, qos.IMAGES) for view in contract.views},
        sensor.topic: (sensor.type, qos.SENSOR_STREAM),
        state.joint_topic: (state.joint_type, qos.SENSOR_STREAM),
        state.pose_topic: (state.pose_type, qos.SENSOR_STREAM),
    }
