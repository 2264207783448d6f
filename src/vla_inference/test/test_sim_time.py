from fakes import START_NS
from rclpy.node import Node
from rclpy.qos import QoSProfile
from ros_fakes import EXPERT, load_fake_expert
from rosgraph_msgs.msg import Clock

from vla_inference.nodes.action_expert_node import ActionExpertNode
from vla_msgs.msg import ActionChunk
from vla_ros import convert, qos
from vla_ros.testing import Listener, overrides, ros_context, spinning, wait_for

STEP_NS = 20_000_000


class Player(Node):
    """Publishes /clock as fast as told, like a bag that is played."""

    def __init__(self):
        super().__init__('player')
        self.now_ns = START_NS
        self.playing = False
        self._publisher = self.create_publisher(Clock, '/clock', QoSProfile(depth=10))
        self.create_timer(0.005, self._step)

    def _step(self):
        if self.playing:
            self.now_ns += STEP_NS
            self._publisher.publish(Clock(clock=convert.to_time(self.now_ns)))


def test_under_use_sim_time_the_ticks_follow_the_clock_and_stand_still_with_it():
    with ros_context():
        values = overrides(**{**EXPERT, 'publish_phase_ms': 20.0}, use_sim_time=True)
        node = ActionExpertNode(load_fake_expert, parameter_overrides=values)
        player, ears = Player(), Listener()
        chunks = ears.hear(ActionChunk, 'action/chunk', qos.CHUNKS)
        with spinning(node, player, ears):
            wait_for(lambda: node.state_label == 'active')
            ears.wait_for_publisher('action/chunk')
            assert chunks == [], 'no clock, no tick'
            player.playing = True
            wait_for(lambda: len(chunks) >= 10)
            player.playing = False
    ticks = [convert.to_ns(chunk.header.stamp) for chunk in chunks]
    assert START_NS < ticks[0] and ticks[-1] <= player.now_ns
    ids = [chunk.chunk_id for chunk in chunks]
    steps = {(b - a) // (n - m) for a, b, m, n in zip(ticks, ticks[1:], ids, ids[1:])}
    assert all(abs(step - 100_000_000) < 2 * STEP_NS for step in steps), steps
