"""The monitor's and the benchmark's ROS side on real messages, and the reporter of processes."""

from pathlib import Path
import subprocess
import sys
import time

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import pytest
import rclpy
from sensor_msgs.msg import CompressedImage, JointState

from vla_cli.bench.listener import Listener
from vla_cli.monitor.model import Model
from vla_cli.monitor.node import MonitorNode
from vla_cli.reporter import process_item, stack_items
from vla_cli.supervisor.status import ProcessStatus, StackStatus, write_status
from vla_core.contract import load_contract
from vla_core.health import Level
from vla_msgs.msg import ActionChunk, RobotStatus, SensorBatch, VLFeatureInfo
from vla_ros import convert, qos
from vla_ros.testing import ros_domain, wait_for

CONTRACT = (
    Path(__file__).resolve().parents[3] / 'launch' / 'config' / 'contract' / 'insertion.yaml'
)
STAMP = 1_700_000_000_000_000_000


@pytest.fixture
def contract():
    ros_domain()
    return load_contract(CONTRACT)


@pytest.fixture
def other():
    """A node in a context of its own, as another process would have."""
    ros_domain()
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('other', context=context)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def publisher(node, kind, topic, profile):
    made = node.create_publisher(kind, topic, profile)
    wait_for(lambda: made.get_subscription_count() > 0, 10, f'a subscription to {topic}')
    return made


def test_monitor_shows_what_the_nodes_publish_without_an_executor(contract, other):
    model = Model(contract)
    with MonitorNode(model, contract, '') as node:
        chunk = ActionChunk(
            chunk_id=7, reaction=ActionChunk.HOLD, reasons=['images: none'], task='t'
        )
        chunk.published_stamp = chunk.header.stamp = convert.to_time(time.time_ns())
        chunk.lineage.sensor_fill = 1.0
        info = VLFeatureInfo(feature_id=3, total_s=0.2, images_overwritten_total=2)
        info.published_stamp = convert.to_time(time.time_ns())
        joints = JointState(position=[0.5, 0.0])
        status = RobotStatus(device='legacy', state=RobotStatus.CONNECTED)
        publisher(other, ActionChunk, 'action/chunk', qos.CHUNKS).publish(chunk)
        publisher(other, VLFeatureInfo, 'vlm/info', qos.CHUNKS).publish(info)
        publisher(other, JointState, 'robot/joint_states', qos.SENSOR_STREAM).publish(joints)
        publisher(other, RobotStatus, 'robot/status', qos.STATUS).publish(status)

        def complete():
            node.poll(time.time_ns())
            shot = model.snapshot(time.time_ns())
            return (
                shot
                if shot.reaction and shot.vl.updates and shot.robot and shot.joint1_deg
                else None
            )

        shot = wait_for(complete, 10, 'all four messages')
    assert (shot.reaction, shot.reasons, shot.actions.actions) == ('HOLD', ('images: none',), 7)
    assert (shot.vl.updates, shot.vl.avg_ms, shot.images_unused) == (3, pytest.approx(200), 2)
    assert (shot.robot, shot.joint1_deg) == ('legacy connected', pytest.approx(28.648, abs=1e-3))


def test_images_are_subscribed_to_only_while_watched(contract, other):
    with MonitorNode(Model(contract), contract, '') as node:
        camera = other.create_publisher(CompressedImage, contract.views[0].topic, qos.IMAGES)
        node.watch_images(True)
        wait_for(lambda: camera.get_subscription_count() == 1, 10, 'the subscription')
        camera.publish(convert.compressed_image(STAMP, 'view1', b'\xff\xd8'))

        def arrived():
            node.poll(time.time_ns())
            return node.images

        assert wait_for(arrived, 10, 'the image') == {'view1': (1, b'\xff\xd8')}
        node.watch_images(False)
        wait_for(lambda: camera.get_subscription_count() == 0, 10, 'the end of the subscription')
        assert node.images == {}


def test_benchmark_gathers_every_stamp_of_batches_and_images(contract, other):
    listener = Listener(contract)
    try:
        batches = publisher(other, SensorBatch, contract.sensor.topic, qos.SENSOR_STREAM)
        images = publisher(other, CompressedImage, contract.views[1].topic, qos.IMAGES)
        stamps = STAMP + np.arange(15, dtype=np.int64) * 1_538_461
        for part in np.split(stamps, 3):
            zeros = np.zeros((5, 1025), np.float32)
            batches.publish(convert.sensor_batch(part, zeros[:, 0], zeros))
        images.publish(convert.compressed_image(STAMP, 'view2', b'jpeg'))

        def complete():
            listener.poll()
            return len(listener.stamps_ns['sensor']) >= 15 and listener.stamps_ns.get('view2')

        wait_for(complete, 10, 'all stamps')
    finally:
        listener.close()
    assert listener.stamps_ns['sensor'] == stamps.tolist()
    assert listener.stamps_ns['view2'] == [STAMP]


def status_of(*processes):
    return StackStatus(1, 'running', time.time_ns(), time.time_ns(), '/run', processes=processes)


def test_restarted_process_is_a_warning_for_a_while_and_a_stopped_one_an_error():
    young = ProcessStatus('a', 'drivers', 'running', 1, time.time_ns(), 2, 'killed by SIGKILL')
    old = ProcessStatus('a', 'drivers', 'running', 1, time.time_ns() - 60 * 10**9, 2)
    down = ProcessStatus('a', 'drivers', 'waiting', None, 0, 2, 'exit code 1', 'ValueError: x')
    assert process_item(young, time.time_ns()).level is Level.WARN
    assert 'killed by SIGKILL' in process_item(young, time.time_ns()).message
    assert process_item(old, time.time_ns()).level is Level.OK
    assert process_item(down, time.time_ns()).level is Level.ERROR
    assert 'ValueError: x' in process_item(down, time.time_ns()).message


def test_status_nobody_writes_any_more_is_stale():
    old = StackStatus(1, 'running', 0, time.time_ns() - 60 * 10**9, '/run')
    assert stack_items(old, time.time_ns())[0].level is Level.STALE
    assert stack_items(None, time.time_ns())[0].level is Level.STALE


def test_reporter_puts_crashes_on_diagnostics(other, tmp_path):
    path = tmp_path / 'status.json'
    write_status(
        path, status_of(ProcessStatus('driver', 'drivers', 'waiting', exit_reason='exit code 3'))
    )
    heard = []
    other.create_subscription(DiagnosticArray, '/diagnostics', heard.append, qos.STATUS)
    reporter = subprocess.Popen([sys.executable, '-m', 'vla_cli.reporter', str(path)])
    try:
        executor = rclpy.executors.SingleThreadedExecutor(context=other.context)
        executor.add_node(other)

        def told():
            executor.spin_once(timeout_sec=0.1)
            return [s for array in heard for s in array.status if s.name.endswith(': driver')]

        status = wait_for(told, 20, 'the diagnostics')[0]
        executor.shutdown()
    finally:
        reporter.terminate()
        assert reporter.wait(10) == 0
    assert status.message.startswith('not running (waiting): exit code 3')
