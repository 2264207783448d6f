"""Robot states: stamps, what is counted, condition of the connection."""

import time

import pytest
from wire_helpers import NS, state

from vla_core.clock_model import make_clock
from vla_core.counters import Counters
from vla_core.health import Level
from vla_drivers.devices.base import RobotReading
from vla_drivers.robot_stream import Condition, RobotLimits, RobotStream


@pytest.fixture
def stream():
    return make(0.0)


def make(rest_warn_s):
    limits = RobotLimits(stale_s=0.5, late_s=0.25, rest_warn_s=rest_warn_s)
    return RobotStream(make_clock('trusted'), limits, Counters())


def reading(origin_ns, delay_ns=2_000_000, **kwargs):
    return RobotReading(state(origin_ns=origin_ns, **kwargs), origin_ns + delay_ns)


def test_states_pass_with_their_acquisition_stamp(stream):
    now_ns = time.time_ns() // 1000 * 1000
    accepted = stream.accept([reading(now_ns), reading(now_ns + 10_000_000)])
    assert [item.stamp_ns for item in accepted] == [now_ns, now_ns + 10_000_000]
    assert stream.judge(now_ns + 20_000_000, True).condition is Condition.CONNECTED


def test_duplicates_and_reordered_states_are_counted_and_not_passed_on(stream):
    now_ns = time.time_ns()
    offsets_ms = (0, 20, 10, 20)
    accepted = stream.accept([reading(now_ns + ms * 1_000_000) for ms in offsets_ms])
    assert len(accepted) == 2
    assert stream._counters.snapshot() == {'duplicate': 1, 'reordered': 1}


def test_a_late_state_passes_with_its_true_stamp_and_is_counted(stream):
    now_ns = time.time_ns()
    assert len(stream.accept([reading(now_ns - NS, delay_ns=NS)])) == 1
    assert stream._counters.snapshot() == {'late': 1}


def test_a_resting_robot_is_connected_and_its_rest_is_shown(stream):
    start_ns = time.time_ns() - 5 * NS
    stream.accept([reading(start_ns + k * NS // 10) for k in range(50)])
    seen = stream.judge(start_ns + 5 * NS, True)
    assert seen.condition is Condition.CONNECTED
    assert seen.rest_s == pytest.approx(4.9)
    assert stream.health(start_ns + 5 * NS, True).level is Level.OK


def test_a_rest_beyond_the_limit_warns():
    stream = make(rest_warn_s=3.0)
    start_ns = time.time_ns() - 5 * NS
    stream.accept([reading(start_ns + k * NS // 10) for k in range(50)])
    item = stream.health(start_ns + 5 * NS, True)
    assert item.level is Level.WARN
    assert 'pose has not changed for 5 s > 3 s' in item.message


def test_an_origin_time_that_stands_still_is_frozen_although_messages_arrive(stream):
    stuck_ns = time.time_ns() - 2 * NS
    stream.accept([reading(stuck_ns, delay_ns=0)])
    stream.accept([reading(stuck_ns, delay_ns=k * NS // 10) for k in range(20)])
    seen = stream.judge(stuck_ns + 2 * NS, True)
    assert seen.condition is Condition.FROZEN
    assert stream.health(stuck_ns + 2 * NS, True).level is Level.ERROR
    assert stream._counters.snapshot() == {'duplicate': 20}


def test_without_a_host_it_is_disconnected_and_without_states_stale(stream):
    now_ns = time.time_ns()
    assert stream.judge(now_ns, False).condition is Condition.DISCONNECTED
    assert stream.judge(now_ns, True).condition is Condition.STALE
    assert stream.health(now_ns, True).level is Level.STALE
