"""Senders and samples for the driver tests; real sockets on loopback."""

import contextlib
import socket
import time

import numpy as np
import zmq

from vla_core.wire import camera_frame, oct_force, robot_state
from vla_core.wire.camera_frame import CameraFrame
from vla_core.wire.oct_force import PROFILE_BINS, SensorRecords
from vla_core.wire.robot_state import RobotState

NS = 1_000_000_000
T0_NS = 1_700_000_000 * NS
PERIOD_NS = round(NS / 650)


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def records(count, start_ns=T0_NS, period_ns=PERIOD_NS, force=1.0):
    capture_ns = start_ns + np.arange(count, dtype=np.int64) * period_ns // 1000 * 1000
    return SensorRecords(
        capture_ns=capture_ns,
        send_ns=capture_ns + 1_000_000,
        force=np.full(count, force, np.float32),
        profile=np.tile(np.arange(PROFILE_BINS, dtype=np.float32), (count, 1)),
    )


def datagram(count=13, **kwargs):
    return oct_force.encode_a(records(count, **kwargs))


def jpeg(seed=0, size=2000):
    return b'\xff\xd8\xff' + np.random.default_rng(seed).bytes(size) + b'\xff\xd9'


def image(camera='OAK', stamp_ns=T0_NS, seed=0, send_ns=None):
    return CameraFrame(camera, stamp_ns, send_ns, jpeg(seed))


def image_parts(**kwargs):
    return camera_frame.encode(image(**kwargs))


def state(origin_ns=T0_NS, joint_rad=0.1):
    return RobotState(
        origin_ns=origin_ns,
        send_ns=origin_ns + 1000_000,
        force_n=0.0,
        joint_rad=np.full(6, joint_rad),
        position_m=np.array([0.1, 0.0, 0.3]),
        euler_rad=np.array([0.0, np.pi / 2, 0.0]),
    )


def state_parts(**kwargs):
    return [robot_state.TOPIC, robot_state.encode(state(**kwargs))]


@contextlib.contextmanager
def zmq_socket(kind, endpoint, bind=False):
    context = zmq.Context()
    opened = context.socket(kind)
    opened.setsockopt(zmq.LINGER, 500)
    (opened.bind if bind else opened.connect)(endpoint)
    try:
        yield opened
    finally:
        opened.close()
        context.term()


@contextlib.contextmanager
def udp_sender(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(('127.0.0.1', port))
        yield sender


def read_until(device, done, timeout_s=5.0):
    """Read a device until done(readings); all readings."""
    readings, deadline = [], time.monotonic() + timeout_s
    while not done(readings):
        assert time.monotonic() < deadline, (
            f'only {len(readings)} readings: {device.counters.snapshot()}'
        )
        readings += device.read(0.05)
    return readings
