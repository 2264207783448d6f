"""The driver nodes on real sockets and real topics."""

import socket
import threading
from types import SimpleNamespace

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, WrenchStamped
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, JointState
from std_srvs.srv import Trigger
from wire_helpers import (
    datagram,
    free_port,
    image_parts,
    NS,
    PERIOD_NS,
    records,
    state_parts,
    udp_sender,
    zmq_socket,
)
import zmq

from vla_core.rotation import euler_to_quat
from vla_core.safety.values import GateState, Intervention, Result
from vla_core.wire import oct_force
from vla_drivers.command_path import CommandReport
from vla_drivers.nodes.camera_driver import CameraDriver
from vla_drivers.nodes.command_node import CommandNode
from vla_drivers.nodes.robot_driver import RobotDriver
from vla_drivers.nodes.sensor_driver import SensorDriver
from vla_msgs.msg import ActionChunk, CommandStatus, RobotStatus, SensorBatch
from vla_ros import convert, qos
from vla_ros.testing import Listener, overrides, spinning, wait_for


def now_ns():
    import time

    return time.time_ns() // 1000 * 1000


@pytest.fixture
def listener(ros):
    node = Listener()
    node.diagnostics = node.hear(DiagnosticArray, '/diagnostics', qos.STATUS)
    return node


def item(listener, name):
    """The newest diagnostics item of a name: (level, message, values)."""
    for array in reversed(listener.diagnostics):
        for status in array.status:
            if status.name == name:
                values = {pair.key: pair.value for pair in status.values}
                return status.level, status.message, values
    return None


@pytest.fixture
def sensor():
    port = free_port(socket.SOCK_DGRAM)
    with udp_sender(port) as sender:
        yield port, sender


def start_sensor(port, **values):
    return SensorDriver(parameter_overrides=overrides(port=port, **values))


def ready(node, listener, topic):
    """Wait until the node is active and the listener hears it."""
    wait_for(lambda: node.state_label == 'active' and node.count_subscribers(topic))
    listener.wait_for_publisher(topic)


def test_each_sensor_datagram_becomes_one_batch(listener, sensor):
    port, sender = sensor
    node, heard = (
        start_sensor(port),
        listener.hear(SensorBatch, 'sensor/samples', qos.SENSOR_STREAM),
    )
    with spinning(node, listener):
        ready(node, listener, 'sensor/samples')
        start_ns = now_ns()
        for k in (0, 1, 3):
            sender.send(datagram(13, start_ns=start_ns + k * 13 * PERIOD_NS))
        sender.send(b'hello')
        wait_for(lambda: len(heard) == 3)
        wait_for(lambda: (item(listener, 'sensor_driver: input') or [0])[0] == b'\x01')
        assert 'bad_length 1' in item(listener, 'sensor_driver: input')[1]
        assert item(listener, 'sensor_driver: samples')[2]['lost_total'] == '13'
        assert item(listener, 'sensor_driver: receive buffer')[2]['bytes'].isdigit()
        assert item(listener, 'sensor_driver: clock')[2]['model'] == 'trusted'
    assert [message.sequence for message in heard] == [0, 1, 2]
    assert heard[-1].lost_total == 13
    assert heard[-1].received_total == 39
    assert heard[0].header.frame_id == 'needle_tip'
    stamps_ns, force_n, profile = convert.sensor_arrays(heard[0])
    assert stamps_ns.tolist() == records(13, start_ns=start_ns).capture_ns.tolist()
    assert force_n[0] == 0.0  # 1.0 on the wire, with the offset of the parameter file
    assert profile.shape == (13, 1025)


def test_single_record_datagrams_are_gathered_without_loss(listener, sensor):
    port, sender = sensor
    node = start_sensor(port, gather_s=0.05)
    heard = listener.hear(SensorBatch, 'sensor/samples', qos.SENSOR_STREAM)
    with spinning(node, listener):
        ready(node, listener, 'sensor/samples')
        start_ns = now_ns()
        for k in range(64):
            part = records(1, start_ns=start_ns + k * PERIOD_NS)
            sender.send(oct_force.encode_b(part))
        wait_for(lambda: heard and heard[-1].received_total == 64)
    assert len(heard) < 16
    assert heard[-1].lost_total == 0


def test_force_is_published_for_plots_when_asked(listener, sensor):
    port, sender = sensor
    node = start_sensor(port, publish_force=True, force_scale=2.0, force_offset=0.0)
    heard = listener.hear(WrenchStamped, 'sensor/force', qos.SENSOR_STREAM)
    with spinning(node, listener):
        ready(node, listener, 'sensor/force')
        sender.send(datagram(13, start_ns=now_ns()))
        wait_for(lambda: len(heard) == 13)
    assert heard[0].wrench.force.z == 2.0


def test_a_sensor_driver_goes_through_its_states_and_frees_its_port(listener, sensor):
    port, sender = sensor
    node = start_sensor(port, autostart=False)
    heard = listener.hear(SensorBatch, 'sensor/samples', qos.SENSOR_STREAM)
    with spinning(listener):
        node.trigger_configure()
        node.trigger_activate()
        ready(node, listener, 'sensor/samples')
        sender.send(datagram(1, start_ns=now_ns()))
        wait_for(lambda: len(heard) == 1)
        node.trigger_deactivate()
        sender.send(datagram(2, start_ns=now_ns()))  # waits in the kernel, is discarded
        node.trigger_activate()
        sender.send(datagram(3, start_ns=now_ns()))
        wait_for(lambda: len(heard) == 2)
        assert [len(message.stamp_ns) for message in heard] == [1, 3]
        assert heard[-1].sequence == 0  # counts since activation
        node.trigger_deactivate()
        node.trigger_cleanup()
        with socket.socket(type=socket.SOCK_DGRAM) as probe:
            probe.bind(('127.0.0.1', port))
    node.destroy_node()


def test_a_port_in_use_is_fatal_with_one_clear_error(ros, sensor):
    port, _ = sensor
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(('127.0.0.1', port))
        node, failures = start_sensor(port), []
        node.on_failure = failures.append
        with spinning(node):
            wait_for(lambda: failures)
    assert f'UDP port {port} is in use' in str(node.failure)


@pytest.fixture
def robot_host():
    port = free_port()
    with zmq_socket(zmq.PUB, f'tcp://127.0.0.1:{port}', bind=True) as sender:
        yield port, sender


def test_robot_states_become_joints_and_pose_and_the_status_follows(listener, robot_host):
    port, sender = robot_host
    node = RobotDriver(parameter_overrides=overrides(port=port, stale_s=0.3))
    joints = listener.hear(JointState, 'robot/joint_states', qos.SENSOR_STREAM)
    poses = listener.hear(PoseStamped, 'robot/tcp_pose', qos.SENSOR_STREAM)
    status = listener.hear(RobotStatus, 'robot/status', qos.STATUS)

    def send():
        sender.send_multipart(state_parts(origin_ns=now_ns(), joint_rad=0.25))

    with spinning(node, listener):
        ready(node, listener, 'robot/tcp_pose')
        wait_for(lambda: send() or (joints and poses))
        wait_for(lambda: send() or (status and status[-1].state == RobotStatus.CONNECTED))
        wait_for(lambda: status[-1].state == RobotStatus.STALE)
        stuck_ns = now_ns()
        wait_for(
            lambda: (
                sender.send_multipart(state_parts(origin_ns=stuck_ns))
                or status[-1].state == RobotStatus.FROZEN
            )
        )
        wait_for(
            lambda: (
                sender.send_multipart(state_parts(origin_ns=stuck_ns))
                or (item(listener, 'robot_driver: robot') or [0])[0] == b'\x02'
            )
        )
    assert joints[0].name == [f'joint_{k}' for k in range(1, 7)]
    assert np.allclose(joints[0].position, 0.25)
    position_m, quat_xyzw = convert.pose_arrays(poses[0])
    assert np.allclose(position_m, [0.1, 0.0, 0.3])
    assert np.allclose(quat_xyzw, euler_to_quat(np.array([0.0, np.pi / 2, 0.0])), atol=1e-6)
    assert poses[0].header.frame_id == 'base_link'
    assert not status[-1].accepts_commands


def test_a_robot_host_that_ends_is_shown_as_disconnected(listener, robot_host):
    port, sender = robot_host
    node = RobotDriver(parameter_overrides=overrides(port=port))
    status = listener.hear(RobotStatus, 'robot/status', qos.STATUS)
    with spinning(node, listener):
        wait_for(
            lambda: (
                sender.send_multipart(state_parts(origin_ns=now_ns()))
                or (status and status[-1].state == RobotStatus.CONNECTED)
            )
        )
        sender.close()
        wait_for(lambda: status[-1].state == RobotStatus.DISCONNECTED)


def test_every_chunk_is_refused_by_a_device_that_only_tells_its_state(listener, robot_host):
    node = RobotDriver(parameter_overrides=overrides(port=robot_host[0]))
    chunks = listener.create_publisher(ActionChunk, 'action/chunk', qos.CHUNKS)
    answers = listener.hear(CommandStatus, 'robot/command_status', qos.STATUS)
    with spinning(node, listener):
        ready(node, listener, 'robot/command_status')
        wait_for(chunks.get_subscription_count)
        for chunk_id in (7, 8):
            chunks.publish(ActionChunk(chunk_id=chunk_id))
        wait_for(lambda: len(answers) == 2)
    assert [answer.chunk_id for answer in answers] == [7, 8]
    assert answers[-1].result == CommandStatus.REFUSED
    assert list(answers[-1].reasons) == ['device_state_only']
    assert answers[-1].refused_total == 2


def test_an_operator_is_told_that_a_state_only_device_cannot_move(listener, robot_host):
    node = RobotDriver(parameter_overrides=overrides(port=robot_host[0]))
    clients = [
        listener.create_client(Trigger, f'robot/{name}')
        for name in ('enable', 'disable', 'emergency_stop', 'reset', 'withdraw', 'recover')
    ]
    with spinning(node, listener):
        for client in clients:
            assert client.wait_for_service(10.0)
            future = client.call_async(Trigger.Request())
            wait_for(future.done)
            assert not future.result().success
            assert 'device:=mecademic' in future.result().message


def test_a_stop_is_an_error_in_the_log_and_a_withdrawal_that_was_asked_for_is_not():
    lines = []
    logger = SimpleNamespace(
        error=lambda text: lines.append(('error', text)),
        info=lambda text: lines.append(('info', text)),
    )
    told = SimpleNamespace(_logged=None, _node=SimpleNamespace(get_logger=lambda: logger))
    for result, *kinds in (
        (Result.RETRACTING, 'withdrawal'),
        (Result.RETRACTING, 'withdrawal'),
        (Result.STOPPED, 'withdrawal', 'retracted'),
        (Result.STOPPED, 'withdrawal', 'retract_force'),
        (Result.STOPPED, 'force_limit', 'retracted'),
    ):
        causes = tuple(Intervention(kind) for kind in kinds)
        report = CommandReport(1, result, causes, GateState.STOPPED, np.zeros(6))
        CommandNode._log(told, report)
    assert lines == [
        ('info', 'gate stopped: withdrawal'),
        ('info', 'gate stopped: withdrawal, retracted'),
        ('error', 'gate stopped: withdrawal, retract_force'),
        ('error', 'gate stopped: force_limit, retracted'),
    ]


def test_images_pass_untouched_to_the_topic_of_their_view(listener):
    port = free_port()
    node = CameraDriver(parameter_overrides=overrides(port=port))
    topics = [f'cameras/view{k}/image_raw/compressed' for k in (1, 5)]
    first, fifth = (listener.hear(CompressedImage, topic, qos.IMAGES) for topic in topics)
    with zmq_socket(zmq.PUSH, f'tcp://127.0.0.1:{port}') as sender, spinning(node, listener):
        for topic in topics:
            ready(node, listener, topic)
        stamp_ns = now_ns()
        parts = image_parts(camera='zed_41182735_left', stamp_ns=stamp_ns, seed=1)
        sender.send_multipart(parts)
        sender.send_multipart(image_parts(camera='OAK', stamp_ns=stamp_ns, seed=2))
        sender.send_multipart(image_parts(camera='ZED_41182735_right', stamp_ns=stamp_ns))
        sender.send_multipart(image_parts(camera='webcam', stamp_ns=stamp_ns))
        sender.send_multipart([b'junk'])
        wait_for(lambda: first and fifth)
        wait_for(lambda: item(listener, 'camera_driver: unknown cameras'))
        wait_for(lambda: 'bad_parts' in item(listener, 'camera_driver: input')[2])
        assert item(listener, 'camera_driver: input')[2]['ignored'] == '1'
    assert bytes(first[0].data) == parts[1]
    assert convert.to_ns(first[0].header.stamp) == stamp_ns
    assert first[0].header.frame_id == 'view1'
    assert (len(first), len(fifth)) == (1, 1)


def test_a_frozen_camera_is_an_error_in_the_diagnostics(listener):
    port, stop = free_port(), threading.Event()
    node = CameraDriver(parameter_overrides=overrides(port=port, frozen_s=0.3))

    def send(sender):
        while not stop.wait(0.05):
            sender.send_multipart(image_parts(camera='OAK', stamp_ns=now_ns()))

    with zmq_socket(zmq.PUSH, f'tcp://127.0.0.1:{port}') as sender:
        thread = threading.Thread(target=send, args=(sender,))
        thread.start()
        try:
            with spinning(node, listener):
                wait_for(
                    lambda: 'frozen' in (item(listener, 'camera_driver: view5') or ' ' * 2)[1]
                )
                assert item(listener, 'camera_driver: view5')[0] == b'\x02'
                assert item(listener, 'camera_driver: view1')[0] == b'\x03'
        finally:
            stop.set()
            thread.join()


def test_a_camera_driver_can_be_cleaned_up_and_configured_again(ros):
    port = free_port()
    node = CameraDriver(parameter_overrides=overrides(port=port, autostart=False))
    for _ in range(2):
        node.trigger_configure()
        node.trigger_activate()
        assert node.state_label == 'active'
        node.trigger_deactivate()
        node.trigger_cleanup()
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(('127.0.0.1', port))
    node.destroy_node()


def test_local_cameras_are_published_as_jpeg(listener, tmp_path):
    path = str(tmp_path / 'film.avi')
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'MJPG'), 10.0, (64, 48))
    for k in range(4):
        writer.write(np.full((48, 64, 3), 60 * k, np.uint8))
    writer.release()
    node = CameraDriver(
        parameter_overrides=overrides(
            device='opencv', opencv_sources=[f'view2: {path}'], rate_hz=50.0
        )
    )
    heard = listener.hear(CompressedImage, 'cameras/view2/image_raw/compressed', qos.IMAGES)
    before_ns = now_ns()
    with spinning(node, listener):
        wait_for(lambda: len(heard) > 6)
    image = convert.compressed_to_rgb(heard[-1])
    assert image.shape == (48, 64, 3)
    assert before_ns < convert.to_ns(heard[0].header.stamp) < before_ns + 20 * NS
