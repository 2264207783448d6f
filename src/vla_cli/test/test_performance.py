"""What the demo's operator does, with a link that only writes down."""

import threading
from types import SimpleNamespace

import pytest

from vla_cli.operator.performance import following, INSERT, Performance, RETRACT
from vla_cli.operator.records import goal_end, GoalEnd, OperatorStatus
from vla_cli.records import CommandRecord, RobotRecord
from vla_core.errors import VlaError
from vla_ros.testing import wait_for

READY = RobotRecord('not ready', device='mecademic')


class FakeLink:
    """Remembers the calls; `fail` maps a call to how often it fails first."""

    def __init__(self, **fail):
        self.fail = fail
        self.calls = []
        self.robot, self.command = READY, None
        self.end = GoalEnd('SUCCESS', 'done', 12.0, 0.3)
        self.closed = threading.Event()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.closed.set()

    def _do(self, name):
        self.calls.append(name)
        if self.fail.get(name, 0):
            self.fail[name] -= 1
            raise VlaError(f'{name} says no')

    def status(self):
        return OperatorStatus(self.robot, self.command)

    def call(self, name, stop):
        self._do(name)
        return 'ok'

    def execute(self, instruction, timeout_s, stop):
        self._do(instruction)
        return self.end

    def spin(self, seconds, stop):
        threading.Event().wait(0.001)


def calls_of(link, count):
    with Performance(lambda: link) as performance:
        wait_for(lambda: len(link.calls) >= count)
        note = performance.note()
    assert link.closed.is_set()
    return link.calls[:count], note


def test_it_recovers_once_and_enables_before_every_goal():
    calls, _ = calls_of(FakeLink(), 9)
    goals = ['enable', INSERT, 'enable', RETRACT]
    assert calls == ['recover', *goals, *goals]


def test_the_needle_of_a_policy_that_only_inserts_is_withdrawn_by_the_gate():
    link = FakeLink()
    results = ['RETRACTING', 'RETRACTING', 'STOPPED']
    spin, seen = link.spin, []

    def look(seconds, stop):
        spin(seconds, stop)
        if link.calls[-1] == 'withdraw':
            seen.append(results[min(len(seen), 2)])
            link.command = CommandRecord(1, 'stopped', seen[-1], ('withdrawal',))

    link.spin = look
    with Performance(lambda: link, withdraw=True):
        wait_for(lambda: len(link.calls) >= 8)
    again = ['enable', INSERT, 'withdraw']
    assert link.calls[:8] == ['recover', *again, 'reset', *again]
    assert seen[:3] == results and RETRACT not in link.calls


def test_what_fails_is_tried_again_and_said():
    calls, _ = calls_of(FakeLink(recover=2, enable=3), 6)
    assert calls == ['recover'] * 3 + ['enable'] * 3
    link = FakeLink(enable=10**6)
    assert 'enable says no' in calls_of(link, 4)[1]


def test_it_waits_for_a_robot_that_is_not_there():
    link = FakeLink()
    link.robot = RobotRecord('disconnected', device='mecademic')
    with Performance(lambda: link) as performance:
        wait_for(lambda: 'waiting' in performance.note())
        assert not link.calls
        link.robot = READY
        wait_for(lambda: 'recover' in link.calls)


@pytest.mark.parametrize(
    'said', ["rcl node's context is invalid", 'the given context is not valid, either rcl_init()']
)
def test_a_context_that_ctrl_c_has_ended_ends_it_without_a_traceback(said):
    from rclpy.impl.implementation_singleton import rclpy_implementation

    class DyingLink(FakeLink):
        def execute(self, instruction, timeout_s, stop):
            raise rclpy_implementation.RCLError(said)

    link = DyingLink()
    with Performance(lambda: link) as performance:
        wait_for(lambda: performance.note() == 'ended')
    assert link.closed.is_set()


@pytest.mark.parametrize('reason', ['sensor_age', 'force_limit'])
def test_stop_of_a_busy_machine_or_a_needle_that_struck_is_reset_after_a_pause(reason):
    link = FakeLink()
    link.command = CommandRecord(1, 'stopped', 'STOPPED', (reason,), (2.1,), (2.0,))
    calls, _ = calls_of(link, 3)
    assert calls == ['recover', 'reset', 'enable']


@pytest.mark.parametrize(
    ('gate', 'reason'),
    [('stopped', 'pose_error'), ('stopped', 'robot_error'), ('emergency_stop', 'force_limit')],
)
def test_any_other_stop_waits_for_a_person(gate, reason):
    link = FakeLink()
    link.command = CommandRecord(1, gate, 'STOPPED', (reason,), (2.0,), (1.0,))
    with Performance(lambda: link) as performance:
        wait_for(lambda: 'vla robot reset' in performance.note())
        assert reason in performance.note()
        assert link.calls == ['recover']
        link.command = CommandRecord(2, 'disabled', 'HELD', ('not_enabled',))
        wait_for(lambda: 'enable' in link.calls)
        assert 'reset' not in link.calls


def test_status_for_a_person_names_state_gate_reason_and_what_to_do():
    command = CommandRecord(
        1, 'stopped', 'STOPPED', ('force_limit',), (1.3,), (1.0,), force_n=1.31
    )
    robot = RobotRecord(
        'error', 'collision: see the robot', 'mecademic', 99.6, 1012, True, True, True
    )
    text = '\n'.join(OperatorStatus(robot, command).lines())
    for expected in ('error', '1012', 'recover', 'stopped', 'force_limit 1.3/1', '1.31 N'):
        assert expected in text


def test_status_of_a_device_without_commands_says_so():
    text = '\n'.join(OperatorStatus(RobotRecord('connected', device='legacy'), None).lines())
    assert 'takes no commands' in text


@pytest.mark.parametrize(('outcome', 'success'), [('SUCCESS', True), ('GATE_STOP', False)])
def test_end_of_a_goal_says_outcome_detail_time_and_force(outcome, success):
    end = GoalEnd(outcome, 'the reason', 12.34, 0.456)
    assert end.success is success
    assert end.line() == f'{outcome}: the reason (12.3 s, largest force 0.46 N)'


@pytest.mark.parametrize(
    ('instruction', 'outcome', 'expected'),
    [
        (INSERT, 'SUCCESS', RETRACT),
        (INSERT, 'TIMEOUT', RETRACT),
        (INSERT, 'GATE_STOP', RETRACT),
        (INSERT, 'REFUSED', INSERT),
        (RETRACT, 'SUCCESS', INSERT),
        (RETRACT, 'TIMEOUT', RETRACT),
        (RETRACT, 'REFUSED', RETRACT),
    ],
)
def test_no_insertion_begins_before_a_retraction_has_succeeded(instruction, outcome, expected):
    assert following(instruction, GoalEnd(outcome, '', 1.0, 0.1)) == expected


def test_empty_result_of_a_server_that_failed_is_no_success():
    empty = SimpleNamespace(outcome=0, detail='', duration_s=0.0, peak_force_n=0.0)
    assert not goal_end(empty, succeeded=True).success
    failed = goal_end(empty, succeeded=False)
    assert not failed.success and 'log' in failed.detail
