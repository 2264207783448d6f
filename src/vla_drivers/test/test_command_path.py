"""Chunks, gate, executor and device wired together, with a fake device and a manual clock."""

import threading
import time

from meca_tools import Chunks, TOOL_M
import numpy as np
import pytest
from wire_helpers import NS

from vla_core.arms.meca500 import euler_rad, Meca500
from vla_core.errors import VlaError
from vla_core.execution.executor import ChunkExecutor, ExecutorSettings
from vla_core.execution.values import TimedChunk
from vla_core.health import HealthItem, Level
from vla_core.rotation import euler_to_quat
from vla_core.safety.gate import SafetyGate
from vla_core.safety.limits import SafetyLimits
from vla_core.safety.values import ArmState, GateState, Result
from vla_core.timebase import ManualClock
from vla_drivers.command_health import commands_item, condition_of, gate_item, robot_item
from vla_drivers.command_path import CommandPath
from vla_drivers.devices.base import RobotReport
from vla_drivers.robot_stream import Condition, Judgement
from vla_ros.testing import wait_for

PERIOD_NS = NS // 100
HOME = np.array([0.0, 0.15, 0.0, 0.0, 1.05, 0.0])
READY = RobotReport(
    connected=True, activated=True, homed=True, recovery_needed=False, detail='ready'
)


class FakeRobot:
    """A device that does what it is told and remembers it."""

    def __init__(self):
        self.sent, self.stops, self.now = [], 0, READY
        self.hang = None

    def report(self):
        return self.now

    def send_velocity(self, velocity):
        if self.hang is not None:
            self.hang.wait(10.0)
        if not self.now.ready:
            return False
        self.sent.append(np.array(velocity))
        return True

    def stop(self):
        self.stops += 1


class Bench:
    """A command path at a fixed pose, with fresh state and force at every tick."""

    def __init__(self, **limits):
        self.clock, self.robot, self.changes = ManualClock(), FakeRobot(), 0
        self.arm = Meca500(TOOL_M)
        self.gate = SafetyGate(
            SafetyLimits(**{'max_tracking_error_m': 0.05, **limits}), self.arm, 0.01
        )
        self.path = CommandPath(
            self.gate,
            ChunkExecutor(ExecutorSettings()),
            self.robot,
            0.01,
            self._changed,
            self.clock.now_ns,
        )
        self.chunks = Chunks((0.0, 0.0, 0.004))
        self.force_n = 0.1
        self.observe()

    def _changed(self):
        self.changes += 1

    def observe(self):
        now_ns = self.clock.now_ns()
        position_m, rotation = self.arm.forward(HOME)
        self.path.on_state(ArmState(now_ns, HOME, position_m, euler_to_quat(euler_rad(rotation))))
        self.force_n += 1e-6
        self.path.on_samples(np.array([now_ns]), np.array([self.force_n]))

    def chunk(self, delta=None, **values):
        self.chunks.chunk_id += 1
        now_ns = self.clock.now_ns()
        values = {
            'chunk_id': self.chunks.chunk_id,
            'made_ns': now_ns,
            'step_stamps_ns': self.chunks.stamps_ns(now_ns),
            'delta': self.chunks.delta() if delta is None else delta,
            **values,
        }
        self.path.on_chunk(TimedChunk(**values))

    def ticks(self, count=1, fresh=True):
        report = None
        for _ in range(count):
            self.clock.advance_ns(PERIOD_NS)
            if fresh:
                self.observe()
            report = self.path.tick(self.clock.now_ns())
        return report

    def moving(self):
        self.path.enable()
        self.chunk()
        report = self.ticks(8)
        assert report.result is Result.EXECUTED
        return self


@pytest.fixture
def bench():
    return Bench()


def test_nothing_is_sent_before_the_path_is_enabled(bench):
    bench.chunk()
    report = bench.ticks(5)
    assert report.gate is GateState.DISABLED
    assert report.result is Result.HELD
    assert bench.robot.sent == []


def test_an_admitted_chunk_is_sent_as_its_velocity(bench):
    bench.moving()
    report = bench.ticks()
    assert np.allclose(bench.robot.sent[-1], [0, 0, 0.004, 0, 0, 0], atol=1e-12)
    assert np.array_equal(report.velocity, bench.robot.sent[-1])
    assert (report.chunk_id, report.step) == (1, 0)


def test_chunks_that_cease_leave_zero_velocity_being_sent(bench):
    bench.moving()
    report = bench.ticks(25)
    assert report.result is Result.HELD
    assert not bench.robot.sent[-1].any()


def test_disable_stops_from_the_callers_thread_and_zeros_follow_for_a_while(bench):
    bench.moving()
    bench.path.disable()
    assert bench.robot.stops == 1
    sent = len(bench.robot.sent)
    bench.ticks(30)
    after = bench.robot.sent[sent:]
    assert 5 <= len(after) <= 10
    assert not np.any(after)


def test_an_emergency_stop_wakes_the_command_thread_and_forgets_the_chunks(bench):
    bench.moving()
    bench.path.emergency_stop('test')
    assert bench.robot.stops == 1
    assert bench.path._wake.is_set()
    assert bench.path.executor.at(bench.clock.now_ns()) is None
    report = bench.ticks()
    assert (report.gate, report.result) == (GateState.EMERGENCY_STOP, Result.STOPPED)
    bench.chunk()
    bench.ticks(5)
    assert not bench.robot.sent[-1].any()
    with pytest.raises(VlaError, match='reset first'):
        bench.path.enable()
    bench.path.reset()
    bench.path.enable()
    bench.chunk()
    assert bench.ticks(8).result is Result.EXECUTED


def test_a_pressed_stop_has_to_be_released_before_reset(bench):
    bench.path.on_emergency_stop('pedal', True)
    with pytest.raises(VlaError, match='pedal'):
        bench.path.reset()
    bench.path.on_emergency_stop('pedal', False)
    bench.path.reset()
    assert bench.gate.state is GateState.DISABLED


def test_a_crossed_force_limit_wakes_the_command_thread_at_once(bench):
    bench.moving()
    bench.path._wake.clear()
    bench.force_n = 5.0
    bench.clock.advance_ns(2_000_000)
    bench.observe()
    assert bench.path._wake.is_set()
    bench.clock.advance_ns(1_000_000)
    report = bench.path.tick(bench.clock.now_ns())
    assert report.result is Result.STOPPED
    assert not bench.robot.sent[-1].any()
    assert bench.path.force_latency_s == pytest.approx(0.001)


def test_a_refused_chunk_is_reported_once_and_the_robot_holds(bench):
    bench.moving()
    changes = bench.changes
    delta = bench.chunks.delta()
    delta[2, 0] = np.nan
    bench.chunk(delta)
    assert bench.changes == changes + 1
    refusal = bench.path.take_refusal()
    assert refusal.result is Result.REFUSED
    assert refusal.chunk_id == 2
    assert [what.kind for what in refusal.interventions] == ['not_finite']
    assert bench.path.take_refusal() is None
    assert bench.ticks().result is Result.HELD
    assert not bench.robot.sent[-1].any()


def test_chunks_while_disabled_are_no_refusals_worth_a_message(bench):
    bench.chunk()
    assert bench.path.take_refusal() is None
    assert bench.gate.counters.get('chunks_refused') == 1


@pytest.mark.parametrize(
    'report',
    [
        RobotReport(detail='silent', error='silent for 1 s'),
        RobotReport(True, True, True, error_code=3005, error='robot error 3005', detail='x'),
        RobotReport(True, True, True, paused=True, detail='motion is paused'),
        RobotReport(True, False, False, detail='motors are off'),
        RobotReport(True, True, True, emergency_stop=True, error='stop', detail='stop'),
    ],
)
def test_whatever_happens_to_the_robot_is_latched_even_when_it_comes_back(bench, report):
    bench.moving()
    bench.robot.now = report
    seen = bench.ticks(fresh=False)
    assert (seen.gate, seen.result) == (GateState.STOPPED, Result.STOPPED)
    assert 'robot_error' in [what.kind for what in seen.interventions]
    bench.robot.now = READY
    bench.chunk()
    sent = len(bench.robot.sent)
    bench.ticks(30)
    assert not np.any(bench.robot.sent[sent:])
    bench.path.reset()
    bench.path.enable()


def test_enable_is_refused_while_the_robot_is_not_ready_with_what_it_says(bench):
    bench.robot.now = RobotReport(connected=True, detail='motors are off: robot/recover')
    with pytest.raises(VlaError, match='motors are off: robot/recover'):
        bench.path.enable()


def test_a_robot_that_has_just_been_recovered_can_be_enabled_before_its_next_state(bench):
    bench.robot.now = RobotReport(connected=True, detail='motors are off')
    bench.observe()
    bench.robot.now = READY
    bench.path.enable()
    assert bench.gate.state is GateState.ENABLED


def test_what_was_sent_to_a_robot_that_does_not_take_it_is_not_shown_as_sent(bench):
    bench.moving()
    bench.robot.now = RobotReport(connected=True, detail='off')
    assert not bench.ticks(fresh=False).velocity.any()
    assert bench.path.counters.get('not_sent') >= 1


def test_a_dead_man_switch_reaches_the_gate():
    bench = Bench(dead_man_required=True)
    with pytest.raises(VlaError, match='dead'):
        bench.path.enable()
    bench.path.on_dead_man(True)
    bench.path.enable()


def test_a_change_is_told_once_and_not_at_every_tick(bench):
    bench.moving()
    changes = bench.changes
    bench.ticks(3)
    assert bench.changes == changes
    bench.path.disable()
    bench.ticks(5)
    assert bench.changes == changes + 1


def started(bench):
    thread = threading.Thread(target=bench.path.run)
    thread.start()
    return thread


def test_the_command_thread_keeps_ticking_and_leaves_the_robot_at_rest(bench):
    bench.path.enable()
    thread = started(bench)
    wait_for(lambda: bench.path.rate.total > 20)
    bench.path.finish()
    thread.join(5.0)
    assert not thread.is_alive()
    assert bench.gate.state is GateState.DISABLED
    assert bench.robot.stops == 1


def test_an_error_in_the_command_thread_stops_the_robot(bench):
    bench.path.enable()
    bench.path.executor.at = None  # calling it raises
    with pytest.raises(TypeError):
        bench.path.run()
    assert bench.robot.stops == 1


def test_a_wedged_command_thread_can_still_be_stopped_from_outside_and_is_shown(bench):
    bench.path.enable()
    bench.robot.hang = threading.Event()
    thread = started(bench)
    try:
        wait_for(lambda: bench.path.tick_age_s > 0.15)
        item = commands_item(bench.path, 0)
        assert item.level is Level.ERROR
        assert 'stuck' in item.message
        bench.path.emergency_stop('test')
        assert bench.robot.stops == 1
    finally:
        bench.path.finish()
        bench.robot.hang.set()
        thread.join(5.0)


def test_a_woken_command_thread_does_not_shift_its_grid(bench):
    bench.path._wake.set()
    begin_ns = time.monotonic_ns()
    assert bench.path._wait(begin_ns) == begin_ns
    assert bench.path.counters.get('woken') == 1
    assert bench.path._wait(begin_ns) == begin_ns + PERIOD_NS
    late_ns = begin_ns - 10 * PERIOD_NS
    assert (bench.path._wait(late_ns) - late_ns) % PERIOD_NS == 0
    assert bench.path.counters.get('ticks_missed') >= 9


def test_the_gates_item_names_the_cause_and_what_to_do(bench):
    assert gate_item(bench.path).level is Level.OK
    bench.moving()
    assert gate_item(bench.path).message == 'enabled'
    bench.ticks(25)
    item = gate_item(bench.path)
    assert item.level is Level.WARN
    assert 'chunk_age' in item.message
    bench.force_n = 5.0
    bench.ticks()
    item = gate_item(bench.path)
    assert item.level is Level.ERROR
    assert 'relieve it' in item.message and 'robot/reset' in item.message


def test_the_condition_is_what_is_heard_and_then_what_the_robot_says():
    heard = Judgement(Condition.CONNECTED, 'states arrive', 0.01, 100.0, 0.0)
    silent = Judgement(Condition.STALE, 'no state', 1.0, 0.0, 0.0)
    gone = Judgement(Condition.DISCONNECTED, 'not there', None, 0.0, None)
    stop = RobotReport(True, emergency_stop=True, error='stop', detail='release it')
    error = RobotReport(True, error_code=7, error='broken', detail='broken: robot/recover')
    paused = RobotReport(True, True, True, paused=True, detail='paused')
    for seen, report, expected in (
        (heard, None, (Condition.CONNECTED, 'states arrive')),
        (heard, READY, (Condition.CONNECTED, 'states arrive')),
        (heard, paused, (Condition.NOT_READY, 'paused')),
        (heard, error, (Condition.ERROR, 'broken: robot/recover')),
        (heard, stop, (Condition.EMERGENCY_STOP, 'release it')),
        (silent, READY, (Condition.STALE, 'no state')),
        (silent, error, (Condition.ERROR, 'broken: robot/recover')),
        (gone, RobotReport(detail='silent'), (Condition.DISCONNECTED, 'silent')),
        (gone, None, (Condition.DISCONNECTED, 'not there')),
    ):
        assert condition_of(seen, report) == expected


def test_the_robots_item_is_an_error_when_the_robot_says_so():
    heard = HealthItem('robot', Level.OK, 'states arrive', {})
    assert robot_item(heard, READY).level is Level.OK
    assert robot_item(heard, RobotReport(True, detail='off')).level is Level.WARN
    item = robot_item(heard, RobotReport(True, error='broken', detail='broken: robot/recover'))
    assert (item.level, item.message) == (Level.ERROR, 'broken: robot/recover')
    assert item.values['recovery_needed'] == 'true'
