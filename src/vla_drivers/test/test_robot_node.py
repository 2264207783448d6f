"""The robot driver node moving the emulated Meca500 through gate and executor."""

import threading
import time

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from meca_tools import Chunks, emulator
import numpy as np
import pytest
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from vla_drivers.nodes.robot_driver import RobotDriver
from vla_msgs.msg import ActionChunk, CommandStatus, RobotStatus, SensorBatch
from vla_ros import convert, qos
from vla_ros.testing import Listener, overrides, spinning, wait_for

SERVICES = ('enable', 'disable', 'emergency_stop', 'reset', 'recover')


@pytest.fixture(scope='module')
def lab():
    with emulator() as running:
        yield running


class Operator:
    """Plays action expert, force sensor and operator, and hears what the driver says."""

    def __init__(self, listener):
        self.listener = listener
        self.status = listener.hear(RobotStatus, 'robot/status', qos.STATUS)
        self.commands = listener.hear(CommandStatus, 'robot/command_status', qos.STATUS)
        self.diagnostics = listener.hear(DiagnosticArray, '/diagnostics', qos.STATUS)
        self.chunks = listener.create_publisher(ActionChunk, 'action/chunk', qos.CHUNKS)
        self.samples = listener.create_publisher(SensorBatch, 'sensor/samples', qos.SENSOR_STREAM)
        self.stop_topic = listener.create_publisher(Bool, 'robot/emergency_stop', qos.STATUS)
        self.clients = {
            name: listener.create_client(Trigger, f'robot/{name}') for name in SERVICES
        }
        self.plan, self.force_n, self.expert, self.sensor = Chunks(), 0.1, True, True
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._loop, args=(self._send_chunk, 0.1)),
            threading.Thread(target=self._loop, args=(self._send_samples, 0.02)),
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _loop(self, action, period_s):
        while not self._end.wait(period_s):
            action()

    def chunk_message(self, delta=None):
        self.plan.chunk_id += 1
        now_ns = time.time_ns()
        message = ActionChunk(chunk_id=self.plan.chunk_id)
        message.header.stamp = convert.to_time(now_ns)
        message.header.frame_id = 'base_link'
        convert.set_chunk_steps(
            message, self.plan.stamps_ns(now_ns), self.plan.delta() if delta is None else delta
        )
        return message

    def _send_chunk(self):
        if self.expert:
            self.chunks.publish(self.chunk_message())

    def _send_samples(self):
        if self.sensor:
            self.send_force(self.force_n)

    def send_force(self, force_n):
        stamps_ns = time.time_ns() - np.arange(13)[::-1] * 1_500_000
        noise = np.random.default_rng().normal(0, 1e-3, 13)
        message = convert.sensor_batch(
            stamps_ns, (force_n + noise).astype(np.float32), np.zeros((13, 1), np.float32)
        )
        self.samples.publish(message)
        return int(stamps_ns[-1])

    def call(self, name, timeout_s=15.0):
        client = self.clients[name]
        assert client.wait_for_service(timeout_s)
        future = client.call_async(Trigger.Request())
        wait_for(future.done, timeout_s, name)
        return future.result()

    def wait_status(self, condition, what='status'):
        return wait_for(lambda: self.status and condition(self.status[-1]), 10.0, what)

    def wait_command(self, condition, what='command status'):
        return wait_for(lambda: self.commands and condition(self.commands[-1]), 10.0, what)

    def bring_up(self):
        """From whatever state to enabled and moving."""
        self.wait_status(lambda status: status.state not in (0, 2), 'connected')
        answer = self.call('recover')
        assert answer.success, answer.message
        self.wait_status(lambda status: status.state == RobotStatus.CONNECTED, 'ready')
        assert self.call('reset').success
        answer = wait_for(lambda: (got := self.call('enable')).success and got, 5.0, 'enable')
        self.wait_command(lambda status: status.result == CommandStatus.EXECUTED, 'moving')


@pytest.fixture
def running(ros, lab):
    """The node on the emulator, with an operator at it."""
    lab.restore()
    values = {'device': 'mecademic', 'control_port': lab.port}
    node, listener = RobotDriver(parameter_overrides=overrides(**values)), Listener()
    operator = Operator(listener)
    with spinning(node, listener):
        wait_for(lambda: node.state_label == 'active')
        with operator:
            yield node, operator
    lab.restore()


def test_recover_and_enable_let_chunks_move_the_needle_and_the_stream_shows_it(running, lab):
    _, operator = running
    joints = operator.listener.hear(JointState, 'robot/joint_states', qos.SENSOR_STREAM)
    poses = operator.listener.hear(PoseStamped, 'robot/tcp_pose', qos.SENSOR_STREAM)
    operator.wait_status(lambda status: status.state == RobotStatus.NOT_READY)
    assert operator.status[-1].recovery_needed
    assert not operator.call('enable').success
    before_m = lab.tip_m()
    operator.bring_up()
    operator.wait_status(lambda status: status.enabled and status.gate == 'enabled')
    wait_for(lambda: lab.tip_m()[2] - before_m[2] > 0.004, 5.0, 'the tip rises')
    wait_for(lambda: len(poses) > 50)
    seen = operator.commands[-1]
    assert seen.gate == 'enabled'
    assert np.linalg.norm(seen.velocity[:3]) == pytest.approx(0.005, abs=1e-4)
    assert seen.chunks_total > 0
    assert seen.state_age_s < 0.1
    position_m, _ = convert.pose_arrays(poses[-1])
    assert np.allclose(position_m, lab.tip_m(), atol=2e-3)
    assert len(joints[-1].velocity) == 6
    assert operator.call('disable').success
    lab.at_rest()
    operator.wait_command(lambda status: status.gate == 'disabled')
