"""Each fault on the way from a chunk to the robot: what stops the robot, how soon, what is said.

A pilot in this process takes the expert's place; times are from the simulator's truth.
"""

import math
import os
import signal
import time

import numpy as np
import pytest
from vla_system_tests.robot_lab import AT_REST_M_S, ns, robot_lab

from vla_msgs.msg import CommandStatus, RobotStatus
from vla_ros import convert
from vla_ros.testing import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
UP = np.array([0, 0, 0.001, 0, 0, 0])  # 10 mm/s
REST_LIMIT_S = 0.250
FORCE_LIMIT_S = 0.030


@pytest.fixture(scope='module')
def shared_lab(tmp_path_factory, checkpoint):
    with robot_lab(tmp_path_factory.mktemp('commands') / 'run', checkpoint) as robot:
        yield robot


@pytest.fixture
def robot(shared_lab):
    shared_lab.make_ready()
    yield shared_lab
    shared_lab.pilot.stop()
    shared_lab.operator.call('disable')


def move(robot, direction=1):
    """Move up and down by turns, so that no test leaves the box."""
    height = robot.truth.newest().tip_m[2]
    robot.fly(UP if height < 0.15 else -UP)


def test_expert_that_ceases_leaves_the_robot_at_rest_within_a_quarter_second(
    robot, record_property
):
    times_s = []
    for _ in range(3):
        move(robot)
        robot.pilot.stop()
        last_ns = robot.pilot.last_published_ns
        status = robot.wait_for_reason('chunk_age')
        assert status.result == CommandStatus.HELD
        times_s.append((robot.wait_for_rest(last_ns) - last_ns) / 1e9)
        robot.pilot.fly(np.zeros(6))
        robot.wait_for_status(lambda s: s.result == CommandStatus.EXECUTED)
    record_property('rest_after_last_chunk_s', times_s)
    print('at rest after the last chunk, s:', times_s)
    assert max(times_s) <= REST_LIMIT_S


def test_chunks_published_late_are_refused_as_old_and_the_robot_holds(robot, record_property):
    move(robot)
    robot.pilot.shape = lambda chunk: robot.pilot.make(time.time_ns() - 400_000_000)
    last_ns = robot.pilot.last_published_ns
    status = robot.wait_for_reason('old_chunk')
    assert status.result in (CommandStatus.REFUSED, CommandStatus.HELD)
    rest_s = (robot.wait_for_rest(last_ns) - last_ns) / 1e9
    record_property('rest_after_last_valid_chunk_s', rest_s)
    print('at rest after the last valid chunk, s:', rest_s)
    assert rest_s <= REST_LIMIT_S + 0.1  # last_ns may be one period before the last valid chunk


def test_killed_driver_is_stopped_by_the_robots_own_time_out(robot, record_property):
    move(robot)
    pid = robot.lab.kill('robot_driver')
    killed_ns = time.time_ns()
    rest_s = (robot.wait_for_rest(killed_ns) - killed_ns) / 1e9
    record_property('rest_after_kill_s', rest_s)
    print('at rest after kill -9 of the driver, s:', rest_s)
    assert rest_s <= REST_LIMIT_S
    wait_for(lambda: robot.lab.member('robot_driver').pid not in (None, pid), 10, 'a new driver')
    status = wait_for(lambda: robot.ears.commands[-1].gate == 'disabled', 10, 'a disabled gate')
    assert status and robot.truth.newest().tip_speed_m_s < AT_REST_M_S


def test_frozen_driver_is_stopped_by_the_robots_own_time_out(robot, record_property):
    move(robot)
    pid = robot.lab.member('robot_driver').pid
    os.kill(pid, signal.SIGSTOP)
    frozen_ns = time.time_ns()
    try:
        rest_s = (robot.wait_for_rest(frozen_ns) - frozen_ns) / 1e9
    finally:
        os.kill(pid, signal.SIGCONT)
    record_property('rest_after_sigstop_s', rest_s)
    print('at rest after SIGSTOP of the driver, s:', rest_s)
    assert rest_s <= REST_LIMIT_S


@pytest.mark.parametrize('kind', ['loss', 'freeze'])
def test_sensor_that_stops_or_freezes_holds_within_its_maximum_age(robot, kind, record_property):
    move(robot)
    robot.control.fault(kind, 'sensor', 1.0, 1.0)
    status = robot.wait_for_reason('sensor_age')
    assert status.result >= CommandStatus.HELD
    assert status.values[status.reasons.index('sensor_age')] > 0.1
    rest_ns = robot.wait_for_rest(ns(status.header.stamp))
    held_s = (rest_ns - ns(status.header.stamp)) / 1e9
    print('at rest after the hold, s:', held_s)
    moving = [s for s in robot.ears.commands if any(s.velocity) and s.sensor_age_s > 0.1]
    assert not moving, 'a step on stale force'
    assert held_s < 0.1
    robot.wait_for_status(lambda s: s.result == CommandStatus.EXECUTED, 5, 'it goes on by itself')


def test_force_above_its_limit_stops_within_thirty_milliseconds_of_the_sample(
    robot, record_property
):
    times_ms, rests_ms = [], []
    for _ in range(5):
        move(robot)
        begin = len(robot.samples)
        robot.control.push(2.0, 0.4)
        stamp_ns = wait_for(lambda b=begin: crossing(robot.samples[b:]), 5, 'a sample above 1 N')
        # The rule on the rise may have stopped it before: the time is below 0 then.
        sample = robot.truth.wait(lambda s: s.last_stop_ns > s.last_motion_ns, 5)
        times_ms.append((sample.last_stop_ns - stamp_ns) / 1e6)
        rests_ms.append((halted_ns(robot, stamp_ns) - stamp_ns) / 1e6)
        robot.wait_for_rest(stamp_ns)
        status = robot.ears.commands[-1]
        assert status.result == CommandStatus.STOPPED and status.gate == 'stopped'
        assert {'force_limit', 'force_slope'} & set(status.reasons)
        robot.make_ready()
    record_property('stop_after_sample_ms', times_ms)
    print('stop command at the robot after the sample, ms:', np.round(times_ms, 1))
    print('joints commanded to rest after the sample, ms:', np.round(rests_ms, 1))
    assert np.median(times_ms) <= 1e3 * FORCE_LIMIT_S
    assert max(times_ms) <= 1e3 * FORCE_LIMIT_S


def halted_ns(robot, after_ns):
    """When the robot's own set point came to rest; the push itself still moves the needle."""
    moving = [
        s.stamp_ns
        for s in robot.trace.samples
        if s.stamp_ns > after_ns - 100_000_000 and s.commanded_speed_m_s > AT_REST_M_S
    ]
    return max(moving, default=after_ns)


def crossing(batches):
    """Stamp of the first sample above the limit."""
    for batch in batches:
        stamps_ns, force_n, _ = convert.sensor_arrays(batch)
        over = np.flatnonzero(np.abs(force_n) > 1.0)
        if len(over):
            return int(stamps_ns[over[0]])
    return None


def hostile(**change):
    return lambda robot: lambda chunk: robot.pilot.make(**change)


def bad_delta(value):
    def shape(robot):
        def spoil(chunk):
            chunk.delta[7] = value
            return chunk
        return spoil
    return shape


def wrong_length(robot):
    def cut(chunk):
        chunk.delta = chunk.delta[:-6]
        return chunk
    return cut


@pytest.mark.parametrize(('shape', 'kind'), [
    (bad_delta(math.nan), 'not_finite'),
    (bad_delta(math.inf), 'not_finite'),
    (bad_delta(0.05), 'huge_step'),
    (wrong_length, 'chunk_shape'),
    (lambda robot: lambda chunk: robot.pilot.make(time.time_ns() - 10**9), 'old_chunk'),
    (lambda robot: lambda chunk: robot.pilot.make(time.time_ns() + 10**9), 'future_chunk'),
    (hostile(checkpoint_hash='another'), 'other_checkpoint'),
    (hostile(contract_hash='another'), 'other_contract'),
], ids=['nan', 'inf', 'huge', 'length', 'old', 'future', 'checkpoint', 'contract'])  # fmt: skip
def test_hostile_chunk_is_refused_counted_and_the_robot_holds(robot, shape, kind):
    move(robot)
    before = robot.ears.commands[-1].refused_total
    last_ns = time.time_ns()
    robot.pilot.shape = shape(robot)
    status = robot.wait_for_reason(kind)
    assert status.result in (CommandStatus.REFUSED, CommandStatus.HELD)
    robot.wait_for_rest(last_ns)
    refused = wait_for(lambda: robot.ears.commands[-1].refused_total - before >= 3, 5, 'counts')
    assert refused
    robot.pilot.shape = lambda chunk: chunk
    robot.wait_for_status(lambda s: s.result == CommandStatus.EXECUTED, 5, 'good chunks go on')


def test_turning_is_followed_without_a_jump(robot):
    start_quat = robot.truth.newest().tip_quat
    before = len(robot.trace.samples)
    robot.pilot.fly([0, 0, 0, 0, 0, 0.02])
    robot.truth.wait(lambda s: turned_rad(start_quat, s.tip_quat) > math.radians(20), 10)
    robot.pilot.fly(np.zeros(6))
    seen = robot.trace.samples[before:]
    speeds = [
        turned_rad(a.tip_quat, b.tip_quat) / ((b.stamp_ns - a.stamp_ns) / 1e9)
        for a, b in zip(seen, seen[1:])
        if b.stamp_ns > a.stamp_ns
    ]
    print(f'fastest turn {max(speeds):.3f} rad/s, commanded 0.200')
    assert max(speeds) < 0.35, 'above the limit on turning'


def turned_rad(from_quat, to_quat):
    return 2 * math.acos(min(1.0, abs(float(np.dot(from_quat, to_quat)))))


def test_nothing_moves_after_an_emergency_stop_until_reset_and_enable(robot):
    for press in (
        lambda: robot.operator.must('emergency_stop'),
        lambda: robot.operator.stop_topic.publish(_bool(True)),
    ):
        move(robot)
        pressed_ns = time.time_ns()
        press()
        robot.wait_for_status(lambda s: s.gate == 'emergency_stop', 5)
        rest_s = (robot.wait_for_rest(pressed_ns) - pressed_ns) / 1e9
        print('at rest after the emergency stop, s:', rest_s)
        robot.pilot.fly(UP)
        time.sleep(1.0)  # new chunks come all the while
        assert robot.trace.rest_ns(pressed_ns) is not None
        assert not robot.operator.call('enable')[0], 'enable without reset'
        robot.operator.stop_topic.publish(_bool(False))
        wait_for(lambda: robot.operator.call('reset')[0], 5, 'a reset')
        time.sleep(0.5)
        assert robot.trace.rest_ns(pressed_ns) is not None, 'moved after reset without enable'
        robot.operator.must('enable')
        robot.truth.wait(lambda s: s.tip_speed_m_s > 5 * AT_REST_M_S, 5)


def _bool(value):
    from std_msgs.msg import Bool
    return Bool(data=value)


def test_robot_error_is_shown_and_never_reset_by_itself(robot):
    move(robot)
    robot.control.robot_error()
    hit_ns = time.time_ns()
    robot.wait_for_rest(hit_ns)
    status = wait_for(
        lambda: robot.ears.robot[-1].state == RobotStatus.ERROR and robot.ears.robot[-1], 5,
        'the error in robot/status',
    )
    assert status.error_code and status.recovery_needed and not status.enabled
    deadline_s = time.monotonic() + 3
    while time.monotonic() < deadline_s:
        assert robot.truth.wait().error, 'somebody reset the error'
    assert not robot.operator.call('enable')[0]
    assert robot.truth.newest().error
    robot.operator.must('recover', 30)
    assert not robot.truth.newest().error


@pytest.mark.parametrize('what', ['estop', 'pstop2', 'power'])
def test_stop_buttons_and_power_loss_are_named_and_recovered_from_by_the_operator(robot, what):
    move(robot)
    switch = {'estop': robot.control.estop, 'pstop2': robot.control.pstop2,
              'power': lambda on: robot.control.power(not on)}[what]
    hit_ns = time.time_ns()
    switch(True)
    try:
        robot.wait_for_rest(hit_ns)
        seen = (RobotStatus.DISCONNECTED, RobotStatus.STALE) if what == 'power' else (
            RobotStatus.EMERGENCY_STOP,)
        wait_for(lambda: robot.ears.robot[-1].state in seen, 5, f'{what} in robot/status')
        # Silence holds at once and closes the gate after state_stop_s.
        wait_for(lambda: not robot.ears.robot[-1].enabled, 5, 'a closed gate')
    finally:
        switch(False)
    time.sleep(1.0)
    assert robot.trace.rest_ns(hit_ns) is not None
    wait_for(lambda: robot.ears.robot[-1].recovery_needed, 15, 'recovery needed')
    robot.make_ready()
    move(robot)


def test_limits_are_not_loosened_while_enabled(robot):
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    client = robot.ears.create_client(SetParameters, 'robot_driver/set_parameters')
    wait_for(client.service_is_ready, 10, 'the parameter service')

    def change(value):
        request = SetParameters.Request(
            parameters=[Parameter('max_force_n', value=value).to_parameter_msg()])
        future = client.call_async(request)
        return wait_for(lambda: future.done() and future.result().results[0], 5, 'an answer')

    looser = change(2.0)
    assert not looser.successful and 'max_force_n' in looser.reason
    assert change(0.9).successful
    robot.operator.must('disable')
    assert change(1.0).successful
