"""The vendor's own library, unmodified, against the simulator's program."""

from contextlib import contextmanager
import re
import socket
import time

from mecademicpy.mx_robot_def import MxRobotStatusCode
from mecademicpy.robot import Robot
from mecademicpy.robot_classes import CommunicationError, InterruptException
import numpy as np
import pytest
from wire_tools import free_port, running, wait_for

from vla_core.arms import meca500 as kin
from vla_core.errors import DeviceError
from vla_sim.control import ControlClient
from vla_sim.truth import TruthClient

HOME_DEG = (10.0, 0.0, 0.0, 0.0, 35.0, 0.0)  # well above the phantom


class Cell:
    """One simulated robot, without cameras and sensor, and everything that talks to it."""

    def __init__(self):
        self.control_port, self.monitor_port = free_port(), free_port()
        truth_port, order_port = free_port(), free_port()
        self.options = (
            *('--only=robot', '--motion=commanded', f'--robot-port={free_port()}'),
            f'--meca-control-port={self.control_port}',
            f'--meca-monitor-port={self.monitor_port}',
            f'--truth-port={truth_port}',
            f'--control-port={order_port}',
        )
        self.truth = TruthClient(truth_port)
        self.orders = ControlClient(order_port, timeout_s=10.0)

    @contextmanager
    def connected(self, **options):
        robot = Robot()
        robot.Connect(
            f'127.0.0.1:{self.control_port}', timeout=5.0, disconnect_on_exception=False, **options
        )
        try:
            yield robot
        finally:
            robot.Disconnect()

    @contextmanager
    def raw(self, port):
        with socket.create_connection(('127.0.0.1', port), timeout=10) as connection:
            yield connection

    def settled(self, near_deg=None):
        """The truth once the arm rests, and with `near_deg` has its joints there."""
        return self.truth.wait(
            lambda s: (
                s.tip_speed_m_s < 2e-5
                and s.commanded_speed_m_s == 0.0
                and (near_deg is None or np.allclose(np.degrees(s.joint_rad), near_deg, atol=0.01))
            ),
            timeout_s=30.0,
        )

    def close(self):
        self.truth.close()
        self.orders.close()


@pytest.fixture(scope='module')
def cell():
    cell = Cell()
    try:
        with running(*cell.options):
            cell.truth.wait(timeout_s=30.0)
            yield cell
    finally:
        cell.close()


@pytest.fixture
def robot(cell):
    """A connected robot, at rest at HOME_DEG, ready to move, with the needle's tip as tool."""
    cell.orders.estop(False)
    with cell.connected() as robot:
        make_ready(robot)
        cell.settled(HOME_DEG)
        yield robot


def make_ready(robot):
    robot.ResetError()
    robot.ActivateRobot()
    robot.Home()
    robot.WaitHomed(timeout=10)
    robot.ClearMotion()
    robot.WaitMotionCleared(timeout=5)
    robot.ResumeMotion()
    robot.WaitMotionResumed(timeout=5)
    robot.SetJointVel(50)
    robot.SetJointAcc(50)
    robot.SetTrf(0, 0, 95, 0, 0, 0)
    robot.SetVelTimeout(0.1)
    robot.MoveJoints(*HOME_DEG)
    robot.WaitIdle(timeout=20)


def code_of(robot, command, code):
    """Send a command and wait for that answer."""
    robot.SendCustomCommand(command, expected_responses=[code]).wait(timeout=5)


def read_messages(connection, seconds):
    """Messages (code, text) that come within some seconds."""
    deadline, data = time.monotonic() + seconds, b''
    connection.settimeout(0.1)
    while time.monotonic() < deadline:
        try:
            data += connection.recv(65536)
        except TimeoutError:
            continue
    return [(int(code), text) for code, text in re.findall(r'\[(\d+)\]\[(.*?)\]\0', data.decode())]


def test_the_library_connects_and_finds_a_robot_that_was_just_switched_on(cell):
    with cell.connected() as robot:
        info = robot.GetRobotInfo()
        assert (info.model, info.revision, info.num_joints) == ('Meca500', 3, 6)
        assert robot.GetRobotSerial() == 'M500-0000'
        status = robot.GetStatusRobot(synchronous_update=True)
        assert not status.activation_state and not status.homing_state
        code_of(robot, 'MoveJoints(0,0,0,0,0,0)', MxRobotStatusCode.MX_ST_NOT_ACTIVATED)


def test_activation_and_homing_make_it_ready_where_it_stands(cell):
    before = cell.truth.wait()
    with cell.connected() as robot:
        robot.ActivateRobot()
        robot.WaitActivated(timeout=5)
        robot.Home()
        robot.WaitHomed(timeout=5)
        assert robot.GetStatusRobot().homing_state
        assert robot.GetRtTargetJointPos() == pytest.approx(
            list(np.degrees(before.joint_rad)), abs=0.01
        )
        robot.DeactivateRobot()
        robot.WaitDeactivated(timeout=5)
    assert np.allclose(cell.truth.wait().joint_rad, before.joint_rad, atol=1e-4)


@pytest.mark.parametrize('move', ['MoveJoints', 'MoveJointsRel'])
def test_joint_moves_end_at_their_joints(cell, robot, move):
    change = np.array([5.0, -4.0, 3.0, 10.0, -6.0, 20.0])
    goal = np.array(HOME_DEG) + change
    getattr(robot, move)(*(goal if move == 'MoveJoints' else change))
    robot.WaitIdle(timeout=20)
    cell.settled(goal)
    assert robot.GetRtTargetJointPos() == pytest.approx(list(goal), abs=1e-3)


@pytest.mark.parametrize('move', ['MovePose', 'MoveLin', 'MoveLinRelWrf', 'MoveLinRelTrf'])
def test_tool_moves_end_at_their_pose(cell, robot, move):
    x, y, z, *angles = robot.GetRtTargetCartPos()
    start = cell.truth.wait()
    position, rotation = np.array(start.tip_m), kin.forward(np.radians(HOME_DEG))[1]
    by = np.array([0.008, -0.005, -0.012])
    goal = position + (rotation @ by if move == 'MoveLinRelTrf' else by)
    relative = 'Rel' in move
    args = (*(by * 1000), 0, 0, 0) if relative else (x + 8, y - 5, z - 12, *angles)
    getattr(robot, move)(*args)
    robot.WaitIdle(timeout=20)
    truth = cell.truth.wait(lambda s: np.allclose(s.tip_m, goal, atol=5e-5), timeout_s=5)
    assert truth.tip_quat == pytest.approx(start.tip_quat, abs=2e-3)


@pytest.mark.parametrize(
    ('move', 'args'),
    [
        ('MoveLinVelWrf', (0, 10, 0, 0, 0, 0)),
        ('MoveLinVelTrf', (0, 0, 10, 0, 0, 0)),
        ('MoveJointsVel', (5, 0, 0, 0, 0, 0)),
    ],
)
def test_a_velocity_moves_and_the_timeout_stops_the_arm(cell, robot, move, args):
    before = np.array(cell.truth.wait().tip_m)
    for _ in range(10):
        getattr(robot, move)(*args)
        time.sleep(0.02)
    rest = cell.settled()
    assert np.linalg.norm(rest.tip_m - before) > 0.001
    moving = cell.truth.wait()
    assert moving.last_motion_ns > 0
    # In emulated time, which the truth's stamps follow.
    getattr(robot, move)(*args)
    began = cell.truth.wait(lambda s: s.commanded_speed_m_s > 1e-3)
    ended = cell.truth.wait(lambda s: s.commanded_speed_m_s == 0.0)
    assert (ended.stamp_ns - began.last_motion_ns) / 1e9 < 0.1 + 0.1
    assert not robot.GetStatusRobot().error_status


def test_zero_velocity_stops_at_once_and_is_stamped(cell, robot):
    robot.SetVelTimeout(1.0)
    robot.MoveLinVelWrf(0, 10, 0, 0, 0, 0)
    cell.truth.wait(lambda s: s.tip_speed_m_s > 5e-3)
    robot.MoveLinVelWrf(0, 0, 0, 0, 0, 0)
    truth = cell.truth.wait(lambda s: s.commanded_speed_m_s == 0.0)
    assert truth.last_stop_ns > truth.last_motion_ns > 0


def test_pause_halts_resume_finishes_and_clear_forgets(cell, robot):
    goal = np.array(HOME_DEG) + [0, 0, 0, 0, 25, 0]
    robot.SetJointVel(5)
    robot.MoveJoints(*goal)
    cell.truth.wait(lambda s: s.commanded_speed_m_s > 1e-3)
    robot.PauseMotion()
    held = cell.settled()
    assert not np.allclose(np.degrees(held.joint_rad), goal, atol=1.0)
    wait_for(lambda: robot.GetStatusRobot(synchronous_update=True).pause_motion_status)
    robot.ResumeMotion()
    cell.settled(goal)
    robot.MoveJoints(*HOME_DEG)
    cell.truth.wait(lambda s: s.commanded_speed_m_s > 1e-3)
    robot.ClearMotion()
    robot.WaitMotionCleared(timeout=5)
    robot.ResumeMotion()
    robot.WaitIdle(timeout=5)
    assert not np.allclose(np.degrees(cell.settled().joint_rad), HOME_DEG, atol=1.0)


def test_checkpoints_are_reached_in_order(robot):
    robot.MoveJointsRel(1, 0, 0, 0, 0, 0)
    first = robot.SetCheckpoint(1)
    robot.Delay(0.1)
    second = robot.SetCheckpoint(2)
    second.wait(timeout=10)
    assert first.is_set()


def test_a_joint_beyond_its_limit_is_an_error_until_it_is_reset(cell, robot):
    code_of(robot, 'MoveJoints(0,0,0,0,200,0)', MxRobotStatusCode.MX_ST_JOINT_OVER_LIMIT)
    wait_for(lambda: robot.GetStatusRobot(synchronous_update=True).error_status)
    code_of(robot, 'MoveJoints(0,0,0,0,0,0)', MxRobotStatusCode.MX_ST_ALREADY_ERR)
    with pytest.raises(InterruptException):
        robot.WaitIdle(timeout=2)
    robot.ResetError()
    robot.WaitErrorReset(timeout=5)
    assert robot.GetStatusRobot(synchronous_update=True).pause_motion_status
    robot.ResumeMotion()
    robot.MoveJointsRel(1, 0, 0, 0, 0, 0)
    robot.WaitIdle(timeout=10)
    cell.settled(np.array(HOME_DEG) + [1, 0, 0, 0, 0, 0])


def test_the_real_time_stream_has_its_rate_and_stamps_of_the_robot(cell, robot):
    robot.SetMonitoringInterval(0.01)
    robot.SetRealTimeMonitoring('JointPos', 'CartPos', 'JointVel')
    with cell.raw(cell.monitor_port) as monitor:
        messages = read_messages(monitor, 1.0)
    stamps = [int(text) for code, text in messages if code == 2230]
    assert len(stamps) > 50
    gaps = np.diff(stamps)
    assert gaps.mean() == pytest.approx(10_000, rel=0.05)
    joints = [text.split(',') for code, text in messages if code == 2210]
    assert {len(values) for values in joints} == {7}
    assert {int(values[0]) for values in joints} <= set(stamps)
    data = robot.GetRobotRtData()
    assert data.rt_joint_pos.data == pytest.approx(HOME_DEG, abs=0.02)
    position = cell.truth.wait().tip_m
    assert data.rt_cart_pos.data[:3] == pytest.approx([1000 * x for x in position], abs=0.05)


def test_a_second_user_is_refused_and_monitoring_clients_are_not(cell, robot):
    with pytest.raises(CommunicationError, match='3001'), cell.connected():
        pass
    monitors = [Robot(), Robot()]
    for monitor in monitors:
        monitor.Connect(f'127.0.0.1:{cell.monitor_port}', monitor_mode=True, timeout=5.0)
        assert monitor.IsConnected()
        monitor.WaitEndOfCycle(timeout=5)
    for monitor in monitors:
        monitor.Disconnect()
    assert robot.GetStatusRobot(synchronous_update=True).homing_state


def test_losing_the_control_connection_stops_the_arm(cell):
    with cell.connected() as robot:
        make_ready(robot)
        robot.SetVelTimeout(1.0)
        robot.MoveLinVelWrf(0, 10, 0, 0, 0, 0)
        cell.truth.wait(lambda s: s.tip_speed_m_s > 5e-3)
    truth = cell.truth.wait(lambda s: s.commanded_speed_m_s == 0.0)
    assert (truth.stamp_ns - truth.last_motion_ns) / 1e9 < 0.9
    assert truth.paused


def test_malformed_and_oversized_lines_are_answered_and_break_nothing(cell):
    with cell.raw(cell.control_port) as control:
        control.sendall(
            b'MoveJoints(1,2\0\xff\xfe(\0Fly()\0' + b'x' * 9000 + b'\0GetRobotName\0GetJo'
        )
        codes = [code for code, _ in read_messages(control, 0.5)]
    assert codes == [3000, 1002, 1002, 1001, 3003, 2095]
    assert cell.truth.wait().powered


def test_stop_buttons_and_errors_reach_the_library(cell, robot):
    cell.orders.pstop2(True)
    wait_for(lambda: robot.GetSafetyStatus().pstop2_state == 1)
    cell.orders.pstop2(False)
    wait_for(lambda: robot.GetSafetyStatus().pstop2_state == 2)
    robot.SendCustomCommand('ResetPStop2')
    wait_for(lambda: robot.GetSafetyStatus().pstop2_state == 0)
    cell.orders.robot_error()
    wait_for(lambda: robot.GetStatusRobot().error_status)
    assert cell.truth.wait().error == MxRobotStatusCode.MX_ST_ERROR_MOTION
    cell.orders.estop(True)
    wait_for(lambda: robot.GetSafetyStatus().estop_state == 1)
    robot.WaitDeactivated(timeout=5)
    assert cell.truth.wait(lambda s: s.estop).activated is False
    cell.orders.estop(False)
    wait_for(lambda: robot.GetSafetyStatus().estop_state == 0)


def test_power_loss_is_silent_and_power_brings_a_fresh_robot(cell):
    with cell.connected() as robot:
        make_ready(robot)
        cell.orders.power(False)
        stamp = robot.GetRobotRtData().rt_target_joint_pos.timestamp
        off = cell.truth.wait(lambda s: not s.powered)
        assert not off.activated
        assert robot.IsConnected(), 'nobody said goodbye'
        with pytest.raises(OSError), cell.raw(cell.control_port):
            pass
        wait_for(lambda: robot.GetRobotRtData().rt_target_joint_pos.timestamp >= stamp)
        cell.orders.power(True)
        wait_for(lambda: not robot.IsConnected(), what='reset by the fresh robot')
    with cell.connected() as robot:
        assert not robot.GetStatusRobot(synchronous_update=True).activation_state


def test_a_taken_port_is_one_clear_line(cell):
    with running(*cell.options) as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.count('\n') == 1 and '--meca-control-port' in errors


@pytest.mark.parametrize(
    ('order', 'word'),
    [
        ({'command': 'pusch'}, 'did you mean push'),
        ({'command': 'estop', 'on': 'yes'}, 'expected true or false'),
        ({'command': 'push', 'newton': 99, 'seconds': 1}, 'expected -10 to 10'),
        ({'command': 'fault', 'kind': 'lost'}, 'expected one of loss'),
        ({'command': 'fault', 'kind': 'loss', 'target': 'sonsor'}, 'sensor'),
        ({'command': 'robot_error', 'code': 1}, 'expected 1000 to 3999'),
    ],
)
def test_orders_that_make_no_sense_are_answered_with_one_line(cell, order, word):
    with pytest.raises(DeviceError, match=word) as caught:
        cell.orders.order(**order)
    assert '\n' not in str(caught.value)
