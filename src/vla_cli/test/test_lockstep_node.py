"""The replay's side of a lockstep against publishers of the test's own."""

from builtin_interfaces.msg import Time
import pytest
import rclpy

from vla_cli import workspace
from vla_cli.episodes.lockstep_node import LockstepNode
from vla_core.contract import load_contract
from vla_core.errors import VlaError
from vla_data.lockstep import Step
from vla_msgs.msg import ActionChunk
from vla_ros import convert, qos
from vla_ros.testing import Listener, ros_domain

STEP = Step(1_700_000_000_000_000_000, (), is_tick=True)


@pytest.fixture
def contract():
    ros_domain()
    return load_contract(workspace.default_contract())


@pytest.fixture
def fellow():
    """A node in a context of its own, as the replay owns the default one."""
    ros_domain()
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = Listener(context=context)
    yield node
    node.destroy_node()
    context.shutdown()


def test_answers_given_before_the_replay_has_found_the_nodes_are_heard(contract, fellow):
    chunk = ActionChunk()
    chunk.header.stamp = convert.to_time(STEP.time_ns)
    fellow.create_publisher(ActionChunk, contract.action.topic, qos.IN_STEP).publish(chunk)
    fellow.create_publisher(Time, 'vlm/time_reached', qos.IN_STEP).publish(chunk.header.stamp)
    with LockstepNode(contract) as node:
        assert node.unanswered(STEP, 20.0) == []
        assert node.chunks == 1


def test_who_has_not_answered_is_named(contract):
    with LockstepNode(contract) as node:
        assert node.unanswered(STEP, 0.1) == ['vlm_node', 'action_expert_node']


def test_somebody_else_who_tells_the_time_is_refused(contract, fellow):
    from rosgraph_msgs.msg import Clock

    fellow.create_publisher(Clock, '/clock', 10)
    with LockstepNode(contract) as node:
        with pytest.raises(VlaError, match='somebody else publishes it'):
            for _ in range(200):
                node.refuse_company()
                node.unanswered(STEP, 0.05)
