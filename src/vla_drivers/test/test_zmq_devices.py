"""The ZMQ robot and camera devices on real sockets: hostile messages, ports, connections."""

import socket
import struct

from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import pytest
from wire_helpers import free_port, image_parts, NS, read_until, state_parts, T0_NS, zmq_socket
import zmq

from vla_core.errors import DeviceError
from vla_core.wire import robot_state
from vla_drivers.devices.zmq_cameras import ZmqCameras
from vla_drivers.devices.zmq_robot import ZmqRobot
from vla_ros.testing import wait_for


@pytest.fixture
def cameras():
    port = free_port()
    device = ZmqCameras('127.0.0.1', port)
    device.open()
    with zmq_socket(zmq.PUSH, f'tcp://127.0.0.1:{port}') as sender:
        yield device, sender
    device.close()


@pytest.fixture
def robot():
    port = free_port()
    device = ZmqRobot('127.0.0.1', port)
    with zmq_socket(zmq.PUB, f'tcp://127.0.0.1:{port}', bind=True) as sender:
        device.open()
        # A PUB socket drops what it sends before the subscription has come.
        wait_for(lambda: sender.send_multipart(state_parts()) or device.read(0.05))
        while device.read(0.05):
            pass
        yield device, sender
    device.close()


def test_images_arrive_byte_for_byte(cameras):
    device, sender = cameras
    parts = image_parts(camera='OAK', seed=3)
    sender.send_multipart(parts)
    (reading,) = read_until(device, lambda readings: readings)
    assert reading.frame.jpeg == parts[1]
    assert reading.frame.camera == 'OAK'
    assert reading.frame.stamp_ns == T0_NS


GOOD = image_parts()


@pytest.mark.parametrize(
    ('parts', 'kind'),
    [
        ([b'hello'], 'bad_parts'),
        ([*GOOD, b'more'], 'bad_parts'),
        ([b'{', GOOD[1]], 'bad_header'),
        ([b'[' * 3000, GOOD[1]], 'bad_header'),
        ([GOOD[0], GOOD[1][:-5]], 'bad_size'),
        ([GOOD[0].replace(b'1700000000.0', b'NaN'), GOOD[1]], 'bad_time'),
        ([b'x' * 100_000, GOOD[1]], 'too_large'),
    ],
)
def test_hostile_camera_messages_are_counted_by_kind(cameras, parts, kind):
    device, sender = cameras
    sender.send_multipart(parts)
    sender.send_multipart(GOOD)
    assert len(read_until(device, lambda readings: readings)) == 1
    assert device.counters.get(kind) == 1


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4))
def test_no_camera_message_whatever_raises(cameras, parts):
    device, sender = cameras
    sender.send_multipart(parts)
    sender.send_multipart(GOOD)
    assert len(read_until(device, lambda readings: readings)) == 1


def test_a_peer_that_speaks_no_zmq_is_counted(cameras):
    device, _ = cameras
    port = int(device.describe()['endpoint'].rpartition(':')[2])
    with socket.create_connection(('127.0.0.1', port)) as foreign:
        foreign.sendall(b'GET / HTTP/1.1\r\nHost: x\r\n\r\n' + bytes(100))
        wait_for(
            lambda: (
                device.read(0.05)
                or device.counters.get('foreign_peer')
                or device.counters.get('disconnected')
            )
        )


def test_a_camera_port_in_use_says_what_to_do(cameras):
    device, _ = cameras
    port = int(device.describe()['endpoint'].rpartition(':')[2])
    with pytest.raises(DeviceError, match=f'TCP port {port} is in use .*set parameter port'):
        ZmqCameras('127.0.0.1', port).open()


@pytest.mark.parametrize('address', ['203.0.113.7', 'no such host'])
def test_a_camera_address_that_is_not_ours_says_what_to_do(address):
    with pytest.raises(DeviceError, match='set parameter bind'):
        ZmqCameras(address, free_port()).open()


def test_closing_frees_the_camera_port(cameras):
    device, _ = cameras
    device.close()
    device.close()
    device.open()


def test_a_closed_device_has_nothing_to_discard_and_says_so_when_read(cameras):
    device, _ = cameras
    device.close()
    assert device.discard_pending() == 0
    with pytest.raises(DeviceError, match='not open'):
        device.read(0.0)


def test_images_that_wait_can_be_discarded(cameras):
    device, sender = cameras
    for _ in range(3):
        sender.send_multipart(GOOD)
    discarded = 0

    def all_gone():
        nonlocal discarded
        discarded += device.discard_pending()
        return discarded == 3

    wait_for(all_gone)


def test_robot_states_arrive(robot):
    device, sender = robot
    sender.send_multipart(state_parts(origin_ns=T0_NS + NS))
    (reading,) = read_until(device, lambda readings: readings)
    assert reading.state.origin_ns == T0_NS + NS
    assert device.connected


NAN_STATE = struct.pack('<ddf12f', 1.7e9, 1.7e9, 0.0, float('nan'), *[0.0] * 11)


@pytest.mark.parametrize(
    ('parts', 'kind'),
    [
        ([robot_state.TOPIC], 'bad_parts'),
        ([b'robot_state2', state_parts()[1]], 'foreign_topic'),
        ([b'', b''], 'foreign_topic'),
        ([robot_state.TOPIC, state_parts()[1][:-4]], 'bad_length'),
        ([robot_state.TOPIC, bytes(100_000)], 'bad_length'),
        ([robot_state.TOPIC, NAN_STATE], 'not_finite'),
        ([robot_state.TOPIC, bytes(68)], 'bad_time'),
    ],
)
def test_hostile_robot_messages_are_counted_by_kind(robot, parts, kind):
    device, sender = robot
    sender.send_multipart(parts)
    sender.send_multipart(state_parts())
    assert len(read_until(device, lambda readings: readings)) == 1
    assert device.counters.get(kind) == 1


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.one_of(st.binary(max_size=120), st.binary(min_size=68, max_size=68)))
def test_no_robot_message_whatever_raises(robot, body):
    device, sender = robot
    sender.send_multipart([robot_state.TOPIC, body])
    sender.send_multipart(state_parts())
    assert read_until(device, lambda readings: readings)


def test_a_robot_host_that_goes_away_is_noticed():
    port = free_port()
    device = ZmqRobot('127.0.0.1', port)
    device.open()
    assert not device.connected
    for _ in range(2):  # and found again when it comes back
        with zmq_socket(zmq.PUB, f'tcp://127.0.0.1:{port}', bind=True):
            wait_for(lambda: device.read(0.05) or device.connected)
        wait_for(lambda: device.read(0.05) or not device.connected)
    device.close()


def test_a_robot_host_that_cannot_be_resolved_says_what_to_do():
    with pytest.raises(DeviceError, match='set parameter host'):
        ZmqRobot('no.such.host.invalid', 5556).open()
