"""A whole insertion through the real command path, with the model's nodes beside it; and an expert
process that dies or freezes while the needle moves.
"""

import os
import signal
import time

import pytest
from vla_system_tests.lab import run_vla
from vla_system_tests.robot_lab import AT_REST_M_S, robot_lab

from vla_msgs.msg import CommandStatus
from vla_ros.convert import to_ns
from vla_ros.testing import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SCRIPTED = ('--robot', 'mecademic', '--policy', 'scripted')
REST_LIMIT_S = 0.250
INSERT, RETRACT = 'insert the needle into the trocar', 'retract the needle'


@pytest.fixture(scope='module')
def robot(tmp_path_factory, checkpoint):
    folder = tmp_path_factory.mktemp('insertion') / 'run'
    with robot_lab(folder, checkpoint, '', SCRIPTED) as robot:
        robot.ears.wait_for_chunk(lambda c: 'task' in c.reasons[0], 60, 'a chunk without a task')
        yield robot


def enable(robot):
    robot.make_ready(pilot=False)


def test_scripted_expert_inserts_and_retracts_through_the_real_command_path(robot):
    enable(robot)
    done = run_vla('task', INSERT, '--timeout', '60', timeout_s=100)
    truth = robot.truth.newest()
    print('insertion:', done.stdout.strip().splitlines()[-1:], done.stderr[-300:])
    assert done.returncode == 0, done.stdout + done.stderr
    assert truth.inside and truth.valve_open and not truth.tissue_punctured
    assert 0.0005 < truth.tissue_depth_m - truth.depth_m < 0.0015
    assert robot.ears.commands[-1].gate == 'disabled', 'the gate closes when the task ends'
    enable(robot)
    back = run_vla('task', RETRACT, '--timeout', '60', timeout_s=100)
    assert back.returncode == 0, back.stdout + back.stderr
    assert not robot.truth.newest().inside


def test_a_task_without_an_enabled_gate_is_refused_with_what_to_do(robot):
    robot.operator.must('disable')
    refused = run_vla('task', INSERT, timeout_s=60)
    assert refused.returncode == 1
    assert 'enable' in refused.stdout + refused.stderr


@pytest.mark.parametrize('what', [signal.SIGKILL, signal.SIGSTOP], ids=['killed', 'frozen'])
def test_expert_process_that_dies_or_freezes_leaves_the_robot_at_rest(
    robot, what, record_property
):
    enable(robot)
    far_out = robot.truth.newest().depth_m < -0.02
    robot.ears.task.publish(text(INSERT if far_out else RETRACT))
    robot.truth.wait(lambda s: s.tip_speed_m_s > 10 * AT_REST_M_S, 20)
    pid = robot.lab.member('scripted_expert_node').pid
    os.kill(pid, what)
    hit_ns = time.time_ns()
    try:
        status = robot.wait_for_reason('chunk_age')
        assert status.result == CommandStatus.HELD
        rest_ns = robot.wait_for_rest(hit_ns)
    finally:
        if what is signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)
    last_ns = max(
        to_ns(chunk.published_stamp)
        for chunk in robot.ears.chunks
        if to_ns(chunk.published_stamp) < rest_ns
    )
    rest_s = (rest_ns - last_ns) / 1e9
    record_property('rest_after_last_chunk_s', rest_s)
    print('at rest after the last chunk was published, s:', rest_s)
    assert rest_s <= REST_LIMIT_S
    wait_for(
        lambda: robot.ears.commands[-1].result <= CommandStatus.LIMITED
        or robot.ears.commands[-1].gate != 'enabled',
        20,
        'a new expert, or the gate closed',
    )


def text(data):
    from std_msgs.msg import String

    return String(data=data)
