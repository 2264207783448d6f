"""The device `mecademic` against the emulated Meca500: every way in which it can fail."""

import time

from meca_tools import emulator, TOOL_M
import numpy as np
import pytest
from wire_helpers import free_port

from vla_core.errors import DeviceError
from vla_drivers.devices.mecademic import MecademicRobot, MecademicSettings

UP = np.array([0.0, 0.0, 0.005, 0.0, 0.0, 0.0])


@pytest.fixture(scope='module')
def lab():
    with emulator() as running:
        yield running


def make(port, **values):
    settings = {
        'host': '127.0.0.1',
        'port': port,
        'rate_hz': 50.0,
        'tool_m': TOOL_M,
        'velocity_timeout_s': 0.1,
        'silence_s': 1.0,
    }
    return MecademicRobot(MecademicSettings(**{**settings, **values}))


@pytest.fixture
def robot(lab):
    """A device with a connection; not recovered."""
    lab.restore()
    device = make(lab.port)
    device.open()
    connect(device)
    yield device
    device.close()
    lab.restore()


def until(condition, device=None, timeout_s=10.0):
    """Read until the condition is true."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, device and device.report()
        if device is not None:
            device.read(0.02)
        else:
            time.sleep(0.01)


def connect(device, timeout_s=15.0):
    """Read as DeviceReader does: close and open after an error."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            device.read(0.1)
            return
        except DeviceError:
            assert time.monotonic() < deadline_s
            device.close()
            device.open()
            time.sleep(0.1)


def drive(device, velocity, condition, timeout_s=10.0):
    """Command until the condition is true."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, device.report()
        device.send_velocity(velocity)
        device.read(0.02)


def test_states_come_at_the_asked_rate_with_the_robots_own_times(robot):
    readings = []
    until(lambda: readings.extend(robot.read(0.1)) or len(readings) > 25)
    stamps_ns = np.array([reading.state.origin_ns for reading in readings])
    steps_ns = np.diff(stamps_ns)
    assert np.median(steps_ns) == pytest.approx(20_000_000, abs=2_000_000)
    assert (steps_ns > 0).all()
    assert all(reading.joint_rad_s.shape == (6,) for reading in readings)


def test_a_new_connection_may_not_move_before_it_is_recovered(robot, lab):
    report = robot.report()
    assert report.connected and report.recovery_needed and not report.ready
    before_m = lab.tip_m()
    assert not robot.send_velocity(UP)
    assert robot.counters.get('not_sent') == 1
    assert np.allclose(lab.tip_m(), before_m, atol=1e-4)


def test_the_pose_is_that_of_the_needle_tip_before_and_after_recovery(robot, lab):
    for _ in range(2):
        lab.at_rest()
        robot.discard_pending()
        newest = next(readings[-1] for _ in range(50) if (readings := robot.read(0.1)))
        assert np.allclose(newest.state.position_m, lab.tip_m(), atol=2e-4)
        robot.recover()


def test_velocities_move_the_tip_and_without_them_it_stops_by_itself(robot, lab):
    robot.recover()
    assert robot.report().ready
    before_m = lab.tip_m()
    drive(robot, UP, lambda: lab.tip_m()[2] - before_m[2] > 0.003)
    lab.at_rest()
    drive(robot, -UP, lambda: lab.tip_m()[2] < before_m[2] + 0.001)
    robot.stop()
    lab.at_rest()
    moved_m = lab.tip_m() - before_m
    assert np.abs(moved_m[:2]).max() < 5e-4


def test_a_velocity_about_x_turns_the_needle_about_the_base_x_axis(robot, lab):
    robot.recover()
    before = np.array(lab.truth.wait().tip_quat)
    turn = np.array([0.0, 0.0, 0.0, 0.1, 0.0, 0.0])
    drive(robot, turn, lambda: abs(np.array(lab.truth.wait().tip_quat) @ before) < 0.9995)
    robot.stop()
    lab.at_rest()


def test_an_absent_robot_is_a_device_error_that_says_what_to_look_at():
    device = make(free_port())
    device.open()
    with pytest.raises(DeviceError, match='is it on, are host and port right'):
        device.read(0.1)
    assert device.report().recovery_needed
    device.close()


def test_a_second_client_is_told_that_another_one_is_connected(robot, lab):
    second = make(lab.port)
    second.open()
    with pytest.raises(DeviceError, match='is no other client connected'):
        second.read(0.1)
    second.close()
    robot.read(0.1)
    assert robot.report().connected


def test_an_error_is_reported_with_its_code_and_stays_until_recover(robot, lab):
    robot.recover()
    lab.orders.robot_error()
    until(lambda: robot.report().error_code, robot)
    report = robot.report()
    assert not report.ready and report.recovery_needed
    assert str(report.error_code) in report.error
    assert not robot.send_velocity(UP)
    assert lab.truth.wait().error == report.error_code
    robot.recover()
    assert robot.report().ready
    assert lab.truth.wait(lambda sample: sample.error == 0)


@pytest.mark.parametrize('press', ['estop', 'pstop2'])
def test_a_pressed_stop_has_to_be_released_and_then_recovered(robot, lab, press):
    robot.recover()
    getattr(lab.orders, press)(True)
    until(lambda: robot.report().emergency_stop, robot)
    assert 'release' in robot.report().detail
    with pytest.raises(DeviceError, match='release it at the robot'):
        robot.recover()
    getattr(lab.orders, press)(False)
    until(lambda: 'released' in robot.report().detail or not robot.report().emergency_stop, robot)
    assert not robot.report().ready
    assert not robot.send_velocity(UP)
    robot.recover()
    assert robot.report().ready


@pytest.mark.parametrize('action', ['PauseMotion', 'DeactivateRobot'])
def test_a_pause_or_deactivation_by_somebody_else_needs_recover(robot, action):
    robot.recover()
    getattr(robot._robot, action)()
    until(lambda: not robot.report().ready, robot)
    assert robot.report().recovery_needed
    robot._robot.ResumeMotion()  # whoever resumes it over there does not let it move here
    until(lambda: not robot.report().paused or action != 'PauseMotion', robot)
    assert not robot.send_velocity(UP)
    robot.recover()
    assert robot.report().ready


def test_recover_works_on_an_error_or_a_pause_that_is_younger_than_the_last_status(robot, lab):
    for _ in range(5):
        for trouble in (lab.orders.robot_error, robot._robot.PauseMotion):
            trouble()
            robot.recover()
            assert robot.report().ready


def test_a_silent_robot_is_given_up_and_read_again_but_not_moved(robot, lab):
    robot.recover()
    lab.orders.power(False)
    with pytest.raises(DeviceError, match='silent for'):
        until(lambda: False, robot)
    assert not robot.report().connected
    assert 'silent' in robot.report().error
    with pytest.raises(DeviceError, match='not connected'):
        robot.recover()
    lab.orders.power(True)
    robot.close()
    connect(robot)
    assert robot.report().connected and robot.report().recovery_needed
    robot.recover()
    assert robot.report().ready


def test_a_closed_connection_is_noticed_without_waiting_for_silence():
    with emulator() as lab:
        device = make(lab.port, silence_s=30.0)
        device.open()
        connect(device)
        lab.process.kill()
        with pytest.raises(DeviceError, match='closed'):
            until(lambda: False, device, timeout_s=20.0)
        device.stop()  # raises nothing
        assert not device.send_velocity(UP)
        device.close()


def test_the_librarys_log_is_counted_and_not_written(robot, capfd):
    robot._robot.logger.error('Received robot error 1005')
    assert robot.counters.get('library_messages') >= 1
    assert 'Received robot error' not in capfd.readouterr().err
