"""task_node with fakes of robot driver, sensor and expert, in a ROS domain of its own."""

import math
import threading
import time

from geometry_msgs.msg import PoseStamped
import numpy as np
import pytest
from rclpy.action import ActionClient
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_inference.nodes.task_node import ACTION, TaskNode
from vla_msgs.action import ExecuteTask
from vla_msgs.msg import ActionChunk, CommandStatus, SensorBatch
from vla_ros import convert, qos
from vla_ros.testing import overrides, ros_context, spinning, wait_for

DEFAULTS = {
    'timeout_s': 20.0, 'disable_at_end': True, 'target_distance_m': 0.001, 'tolerance_m': 0.0004,
    'standing_m': 0.00025,
    'hold_s': 0.3, 'insertion_travel_m': 0.012, 'free_s': 10.0, 'status_stale_s': 1.0,
    'sensor_stale_s': 0.5, 'force_zero_n': 1.0, 'depth_per_bin_m': 0.0037 / 1025,
    'blind_m': 6e-5, 'contrast': 45.0, 'peak_width_m': 4e-5,
}  # fmt: skip
IN, OUT = 'insert the needle into the trocar', 'retract the needle'
DOWN = np.array([1.0, 0.0, 0.0, 0.0])  # tool's z along -z of the base


class World(Node):
    """Publishes at 50 Hz what `self` says; answers robot/disable."""

    def __init__(self):
        super().__init__('world')
        self.gate, self.reasons = 'enabled', []
        self.depth_m, self.seen_m, self.delta = 0.0, math.nan, np.zeros((8, 6))
        self.force_n = 1.1
        self.disabled = 0
        self.tasks = []
        self.status = self.create_publisher(CommandStatus, 'robot/command_status', qos.STATUS)
        self.samples = self.create_publisher(SensorBatch, 'sensor/samples', qos.SENSOR_STREAM)
        self.pose = self.create_publisher(PoseStamped, 'robot/tcp_pose', qos.SENSOR_STREAM)
        self.chunks = self.create_publisher(ActionChunk, 'action/chunk', qos.CHUNKS)
        self.create_subscription(String, 'task', self.tasks.append, qos.LATCHED)
        self.create_service(Trigger, 'robot/disable', self._on_disable)
        self.create_timer(0.02, self._publish)
        self.silent = False

    def _on_disable(self, request, response):
        self.disabled += 1
        self.gate = 'disabled'
        response.success = True
        return response

    def _publish(self):
        now_ns = self.get_clock().now().nanoseconds
        if not self.silent:
            self.status.publish(
                CommandStatus(
                    gate=self.gate,
                    reasons=self.reasons,
                    values=[2.0] * len(self.reasons),
                    limits=[1.0] * len(self.reasons),
                )
            )
        profile = np.full((1, 1025), 46.0, np.float32)
        if not math.isnan(self.seen_m):
            profile[0, round(self.seen_m / (0.0037 / 1025))] = 200.0
        force = np.array([self.force_n], np.float32)
        self.samples.publish(convert.sensor_batch(np.array([now_ns]), force, profile))
        self.pose.publish(
            convert.pose_stamped(now_ns, 'base_link', np.array([0.2, 0.0, -self.depth_m]), DOWN)
        )
        chunk = ActionChunk(task=self.tasks[-1].data if self.tasks else '')
        convert.set_chunk_steps(chunk, [now_ns + k for k in range(8)], self.delta)
        self.chunks.publish(chunk)


class Client(Node):
    """Sends goals and keeps what comes back."""

    def __init__(self):
        super().__init__('client')
        self.client = ActionClient(self, ExecuteTask, ACTION)
        self.feedback = []

    def send(self, instruction=IN, timeout_s=0.0):
        assert self.client.wait_for_server(10.0)
        future = self.client.send_goal_async(
            ExecuteTask.Goal(instruction=instruction, timeout_s=timeout_s),
            feedback_callback=lambda message: self.feedback.append(message.feedback),
        )
        wait_for(future.done, what='acceptance')
        return future.result()

    def result(self, handle, timeout_s=10.0):
        future = handle.get_result_async()
        wait_for(future.done, timeout_s, 'result')
        return future.result().result


@pytest.fixture(scope='module', autouse=True)
def ros():
    with ros_context():
        yield


@pytest.fixture
def stage():
    """(world, client, node) while spinning, the node active and hearing the world."""
    world, client = World(), Client()
    node = TaskNode(parameter_overrides=overrides(**DEFAULTS))
    with spinning(world), spinning(client), spinning(node):
        wait_for(lambda: node.state_label == 'active')
        wait_for(lambda: node._watch.refusal(IN, 0.0, node.now_ns()) in ('',), what='status')
        yield world, client, node


def insert(world):
    """Let the world's needle see a valve and come in, in a thread."""

    def move():
        for depth_m in np.arange(-0.0027, 0.0181, 0.0006):
            distance_m = (0.001 if depth_m < 0.0008 else 0.019) - depth_m
            world.depth_m = float(depth_m)
            world.seen_m = float(distance_m) if distance_m < 0.0036 else math.nan
            time.sleep(0.06)
        world.seen_m = 0.001

    thread = threading.Thread(target=move)
    thread.start()
    return thread


def test_insertion_is_announced_watched_and_ends_with_a_disabled_gate(stage):
    world, client, _ = stage
    thread = insert(world)
    handle = client.send()
    wait_for(lambda: world.tasks and world.tasks[-1].data == IN)
    result = client.result(handle, 20.0)
    thread.join()
    assert result.outcome == ExecuteTask.Result.SUCCESS, result.detail
    assert world.disabled == 1
    assert result.peak_force_n == pytest.approx(0.1, abs=1e-3)  # the zero is subtracted
    progress = [message.progress for message in client.feedback]
    assert len(progress) > 5 and progress[-1] > progress[0]


def test_goal_is_refused_while_the_gate_is_disabled(stage):
    world, client, _ = stage
    world.gate = 'disabled'
    wait_for(lambda: 'enable' in stage[2]._watch.refusal(IN, 0.0, stage[2].now_ns()))
    result = client.result(client.send())
    assert result.outcome == ExecuteTask.Result.REFUSED
    assert 'vla robot enable' in result.detail
    assert world.disabled == 0 and not world.tasks


def test_goal_right_after_the_enable_waits_for_the_news(stage):
    world, client, node = stage
    world.gate = 'disabled'
    wait_for(lambda: node._watch.gate_refusal(node.now_ns()))
    handle = client.send(OUT)
    world.gate = 'enabled'
    assert client.result(handle).outcome == ExecuteTask.Result.SUCCESS


def test_every_kind_of_end_leaves_the_server_ready_for_the_next_goal(stage):
    world, client, node = stage
    for timeout_s, outcome in ((0.2, 'TIMEOUT'), (0.0, 'SUCCESS'), (-1.0, 'REFUSED')) * 2:
        world.gate = 'enabled'
        result = client.result(client.send(OUT, timeout_s))
        assert result.outcome == getattr(ExecuteTask.Result, outcome), result.detail
    assert node.failure is None


def test_second_goal_is_refused_and_the_first_goes_on(stage):
    world, client, node = stage
    first = client.send()
    wait_for(lambda: node._watch.running)
    second = client.result(client.send(OUT))
    assert second.outcome == ExecuteTask.Result.REFUSED and 'busy' in second.detail
    assert node._watch.running
    first.cancel_goal_async()
    assert client.result(first).outcome == ExecuteTask.Result.CANCELED
    assert world.disabled == 1


def test_gate_stop_ends_the_goal_with_its_reason(stage):
    world, client, node = stage
    handle = client.send()
    wait_for(lambda: node._watch.running)
    world.reasons, world.gate = ['force_limit'], 'stopped'
    result = client.result(handle)
    assert result.outcome == ExecuteTask.Result.GATE_STOP
    assert 'force_limit 2/1' in result.detail
    assert world.disabled == 0  # a latched stop stays for the operator to look at


def test_time_out_ends_the_goal_and_disables(stage):
    world, client, _ = stage
    result = client.result(client.send(timeout_s=0.5))
    assert result.outcome == ExecuteTask.Result.TIMEOUT
    assert world.disabled == 1


def test_driver_that_falls_silent_ends_the_goal(stage):
    world, client, node = stage
    handle = client.send()
    wait_for(lambda: node._watch.running)
    world.silent = True
    result = client.result(handle)
    assert result.outcome == ExecuteTask.Result.GATE_STOP and 'driver' in result.detail


def test_retraction_ends_when_the_policy_rests_in_the_free(stage):
    world, client, _ = stage
    result = client.result(client.send(OUT))
    assert result.outcome == ExecuteTask.Result.SUCCESS, result.detail


def test_goal_after_a_goal_works(stage):
    world, client, _ = stage
    for _ in range(2):
        world.gate = 'enabled'
        wait_for(lambda: stage[2]._watch.refusal(OUT, 0.0, stage[2].now_ns()) == '')
        assert client.result(client.send(OUT)).outcome == ExecuteTask.Result.SUCCESS


def test_deactivation_ends_the_goal_and_disables_the_robot(stage):
    world, client, node = stage
    handle = client.send()
    wait_for(lambda: node._watch.running)
    node.executor.create_task(node.trigger_deactivate)
    result = client.result(handle)
    assert result.outcome == ExecuteTask.Result.CANCELED and 'deactivated' in result.detail
    wait_for(lambda: world.disabled)


def test_malformed_messages_are_counted_and_do_no_harm(stage):
    world, client, node = stage
    handle = client.send()
    wait_for(lambda: node._watch.running)
    broken = SensorBatch(stamp_ns=[1, 2], force_n=[0.0], profile_length=3)
    world.samples.publish(broken)
    wait_for(lambda: node._task_counters.get('bad_shape'))
    assert node._watch.running
    handle.cancel_goal_async()
    assert client.result(handle).outcome == ExecuteTask.Result.CANCELED
