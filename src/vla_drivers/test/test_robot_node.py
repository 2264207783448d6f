"""The robot driver node moving the emulated Meca500 through gate and executor.

What has to be seen here must be seen on a machine that is busy with other tests, so the ages are
wide; how long things take is judged by the whole-system tests.
"""

import sys
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from meca_tools import Chunks, emulator
import numpy as np
import pytest
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from wire_helpers import free_port

from vla_core.robot_services import ROBOT_SERVICES
from vla_drivers.nodes.robot_driver import RobotDriver
from vla_msgs.msg import ActionChunk, CommandStatus, RobotStatus, SensorBatch
from vla_ros import convert, qos
from vla_ros.testing import Listener, overrides, spinning, wait_for

# Wide ages, and half the rates: see above.
SLOW = {
    'state_rate_hz': 50.0,
    'command_rate_hz': 50.0,
    'chunk_hold_s': 1.0,
    'sensor_hold_s': 1.0,
    'state_hold_s': 1.0,
    'chunk_stop_s': 20.0,
    'sensor_stop_s': 20.0,
    'state_stop_s': 20.0,
    'stale_s': 2.0,
    'silence_s': 1.0,
    'max_tracking_error_m': 0.02,
}


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
            name: listener.create_client(Trigger, f'robot/{name}') for name in ROBOT_SERVICES
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
        delta = self.plan.delta() if delta is None else delta
        self.plan.chunk_id += 1
        now_ns = time.time_ns()
        message = ActionChunk(chunk_id=self.plan.chunk_id)
        message.header.stamp = convert.to_time(now_ns)
        message.header.frame_id = 'base_link'
        convert.set_chunk_steps(message, self.plan.stamps_ns(now_ns)[: len(delta)], delta)
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
        answer = wait_for(lambda: (got := self.call('enable')).success and got, 20.0, 'enable')
        self.wait_command(lambda status: status.result == CommandStatus.EXECUTED, 'moving')


@pytest.fixture
def running(ros, lab):
    """The node on the emulator, with an operator at it."""
    sys.setswitchinterval(0.0005)  # as run_node does
    lab.restore()
    values = {'device': 'mecademic', 'control_port': lab.port, **SLOW}
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
    operator.wait_command(
        lambda status: (
            status.gate == 'enabled'
            and status.chunks_total > 0
            and np.linalg.norm(status.velocity[:3]) == pytest.approx(0.005, abs=1e-4)
        ),
        'full speed',
    )
    position_m, _ = convert.pose_arrays(poses[-1])
    assert np.allclose(position_m, lab.tip_m(), atol=5e-3)
    assert len(joints[-1].velocity) == 6
    assert operator.call('disable').success
    lab.at_rest()
    operator.wait_command(lambda status: status.gate == 'disabled')


def test_a_force_above_its_limit_stops_the_robot_and_it_stays_stopped(running, lab):
    _, operator = running
    operator.bring_up()
    operator.force_n, operator.sensor = 3.0, False
    operator.send_force(3.0)
    operator.wait_command(lambda status: status.gate == 'stopped')
    operator.wait_command(lambda status: 'force_limit' in status.reasons)
    lab.at_rest()
    operator.sensor = True
    answer = operator.call('enable')
    assert not answer.success and 'reset' in answer.message
    assert 'force_limit' in operator.call('reset').message
    operator.force_n = 0.1
    wait_for(lambda: operator.call('reset').success, 5.0, 'reset')
    assert operator.call('enable').success


def test_a_dead_expert_leaves_the_robot_at_rest_and_the_reason_is_shown(running, lab):
    _, operator = running
    operator.bring_up()
    operator.expert = False
    operator.wait_command(
        lambda status: status.result == CommandStatus.HELD and 'chunk_age' in status.reasons
    )
    lab.at_rest()
    operator.expert = True
    operator.wait_command(lambda status: status.result == CommandStatus.EXECUTED, 'goes on')


def test_after_an_emergency_stop_nothing_moves_until_release_reset_and_enable(running, lab):
    _, operator = running
    operator.bring_up()
    operator.stop_topic.publish(Bool(data=True))
    operator.wait_command(lambda status: status.gate == 'emergency_stop')
    held_m = np.array(lab.at_rest().tip_m)
    assert 'release' in operator.call('reset').message
    assert not operator.call('enable').success
    operator.stop_topic.publish(Bool(data=False))
    wait_for(lambda: operator.call('reset').success, 5.0, 'reset')
    operator.wait_command(lambda status: status.gate == 'disabled')
    chunks = operator.commands[-1].chunks_total
    operator.wait_command(lambda status: status.chunks_total > chunks + 3, 'more chunks')
    assert np.linalg.norm(lab.tip_m() - held_m) < 2e-4
    assert operator.call('enable').success
    operator.wait_command(lambda status: status.result == CommandStatus.EXECUTED)
    assert operator.call('emergency_stop').success
    lab.at_rest()
    operator.wait_command(lambda status: status.gate == 'emergency_stop')


def test_limits_may_be_tightened_but_not_loosened_while_enabled(running, lab):
    node, operator = running
    operator.bring_up()

    def set_speed(value):
        return node.set_parameters([Parameter('max_speed_m_s', value=value)])[0]

    refused = set_speed(0.2)
    assert not refused.successful
    assert 'max_speed_m_s' in refused.reason
    assert node.get_parameter('max_speed_m_s').value == 0.025
    assert set_speed(0.002).successful
    operator.wait_command(
        lambda status: (
            status.result == CommandStatus.LIMITED
            and np.linalg.norm(status.velocity[:3]) == pytest.approx(0.002, abs=1e-5)
        )
    )
    wrong = node.set_parameters([Parameter('box_min_m', value=[0.2])])[0]
    assert 'expected three numbers' in wrong.reason
    assert operator.call('disable').success
    assert set_speed(0.025).successful


def test_bad_chunks_are_refused_with_their_reason_and_the_robot_holds(running, lab):
    _, operator = running
    operator.bring_up()
    operator.expert = False
    nan, huge = operator.plan.delta(), operator.plan.delta()
    nan[3, 1], huge[:, 0] = np.nan, 0.1
    for delta, reason in ((nan, 'not_finite'), (huge, 'huge_step'), (nan[:5], 'chunk_shape')):
        operator.chunks.publish(operator.chunk_message(delta))
        operator.wait_command(
            lambda status, reason=reason: any(
                seen.result == CommandStatus.REFUSED and reason in seen.reasons
                for seen in operator.commands
            ),
            reason,
        )
    short = operator.chunk_message()
    short.delta = short.delta[:10]
    operator.chunks.publish(short)
    operator.wait_command(lambda status: status.refused_total >= 4)
    lab.at_rest()
    operator.expert = True
    operator.wait_command(lambda status: status.result == CommandStatus.EXECUTED, 'goes on')


def test_a_robot_error_is_published_and_nothing_resets_it_but_recover(running, lab):
    _, operator = running
    operator.bring_up()
    lab.orders.robot_error()
    operator.wait_status(lambda status: status.state == RobotStatus.ERROR)
    assert operator.status[-1].error_code > 0
    assert operator.status[-1].recovery_needed
    operator.wait_command(lambda status: status.gate == 'stopped')
    assert 'robot_error' in operator.call('reset').message
    assert not operator.call('enable').success
    assert lab.truth.wait().error != 0
    assert operator.call('recover').success
    held_m = lab.tip_m()
    operator.wait_status(lambda status: status.state == RobotStatus.CONNECTED)
    assert not operator.status[-1].enabled
    assert np.linalg.norm(lab.tip_m() - held_m) < 2e-4
    operator.bring_up()


def test_power_loss_is_seen_reading_comes_back_and_moving_does_not(running, lab):
    _, operator = running
    operator.bring_up()
    lab.orders.power(False)
    operator.wait_command(lambda status: 'state_age' in status.reasons)
    operator.wait_status(lambda status: status.state == RobotStatus.DISCONNECTED)
    operator.wait_command(lambda status: status.gate == 'stopped')
    assert operator.status[-1].recovery_needed
    assert 'not connected' in operator.call('recover').message
    lab.orders.power(True)
    operator.wait_status(lambda status: status.state == RobotStatus.NOT_READY, 'reads again')
    held_m = lab.tip_m()
    assert operator.status[-1].recovery_needed
    assert not operator.call('enable').success
    operator.call('reset')
    assert not operator.call('enable').success
    assert np.linalg.norm(lab.tip_m() - held_m) < 2e-4
    operator.bring_up()


def test_a_wedged_command_thread_does_not_keep_the_robot_moving(running, lab):
    node, operator = running
    operator.bring_up()
    release = threading.Event()
    device = node._device
    send, device.send_velocity = device.send_velocity, lambda velocity: release.wait(20.0)
    try:
        lab.at_rest()

        def shown():
            statuses = (s for array in operator.diagnostics[-2:] for s in array.status)
            return any('commands' in s.name and 'stuck' in s.message for s in statuses)

        wait_for(shown, 5.0, 'diagnostics')
    finally:
        device.send_velocity = send
        release.set()


def test_deactivating_the_driver_stops_the_robot_and_it_comes_back_disabled(running, lab):
    node, operator = running
    operator.bring_up()
    node.trigger_deactivate()
    lab.at_rest()
    answer = operator.call('enable')
    assert not answer.success and 'not active' in answer.message
    node.trigger_activate()
    operator.wait_command(lambda status: status.gate == 'disabled')
    assert operator.commands[-1].chunks_total < 100
    operator.bring_up()


def test_a_dead_man_switch_must_be_held_down_where_it_is_required(running, lab):
    node, operator = running
    operator.bring_up()
    assert node.set_parameters([Parameter('dead_man_required', value=True)])[0].successful
    operator.wait_command(lambda status: 'dead_man' in status.reasons)
    publisher = operator.listener.create_publisher(Bool, 'robot/dead_man', qos.STATUS)
    wait_for(
        lambda: (
            publisher.publish(Bool(data=True))
            or operator.commands[-1].result == CommandStatus.EXECUTED
        ),
        10.0,
        'moves while it is held',
    )
    operator.wait_command(lambda status: 'dead_man' in status.reasons, 'released')
    lab.at_rest()


def test_a_robot_that_is_not_there_is_waited_for_and_the_operator_is_told(ros):
    values = {'device': 'mecademic', 'control_port': free_port(), **SLOW}
    node, listener = RobotDriver(parameter_overrides=overrides(**values)), Listener()
    operator = Operator(listener)
    with spinning(node, listener):
        operator.wait_status(lambda status: 'cannot connect' in status.detail)
        assert operator.status[-1].state == RobotStatus.DISCONNECTED
        assert operator.status[-1].accepts_commands
        for name in ('enable', 'recover'):
            answer = operator.call(name)
            assert not answer.success and 'connect' in answer.message
        assert operator.call('emergency_stop').success
        operator.wait_status(lambda status: status.gate == 'emergency_stop')
        assert node.failure is None


def test_activation_at_start_recovers_once_and_enables_nothing(ros, lab):
    lab.restore()
    values = {'device': 'mecademic', 'control_port': lab.port, 'activate_at_start': True, **SLOW}
    node, listener = RobotDriver(parameter_overrides=overrides(**values)), Listener()
    operator = Operator(listener)
    with spinning(node, listener):
        operator.wait_status(lambda status: status.state == RobotStatus.CONNECTED)
        assert not operator.status[-1].enabled
        node._device._robot.PauseMotion()
        operator.wait_status(lambda status: status.state == RobotStatus.NOT_READY)
        assert operator.status[-1].recovery_needed
