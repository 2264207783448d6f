"""Ages, operator, clock and the states of the gate; its limits."""

import dataclasses
import threading
import time

from gate_rig import kinds, LIMITS, PERIOD_NS, Rig
from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_core.config import from_dict
from vla_core.errors import ConfigError, VlaError
from vla_core.safety.limits import loosened, RANGES, SafetyLimits, Tighter
from vla_core.safety.values import GateState, Result
from vla_core.timebase import NS

FORWARD = (0.001, 0, 0, 0, 0, 0)


def moving(**limits):
    rig = Rig(**limits)
    rig.run(0.3, FORWARD)
    assert rig.velocity.any()
    return rig


def test_gate_is_not_enabled_at_start_and_nothing_moves():
    rig = Rig(enable=False)
    outs = rig.run(0.3, FORWARD)
    assert {(out.result, *kinds(out)) for out in outs} == {(Result.HELD, 'not_enabled')}
    assert not any(out.velocity.any() for out in outs)


@pytest.mark.parametrize(
    ('silent', 'kind', 'hold_s'),
    [('chunk', 'chunk_age', 0.2), ('force', 'sensor_age', 0.1), ('state', 'state_age', 0.1)],
)
def test_silence_holds_within_its_age_and_stops_after_two_seconds(silent, kind, hold_s):
    rig = moving()
    feed = {'state', 'force', 'chunk'} - {silent}
    outs = rig.run(2.2, FORWARD, feed=feed)
    first = next(n for n, out in enumerate(outs) if not out.velocity.any())
    assert first * 0.01 <= hold_s + 0.011
    assert kind in kinds(outs[first])
    assert outs[first].result is Result.HELD
    assert not any(out.velocity.any() for out in outs[first:])
    assert rig.gate.state is GateState.STOPPED
    assert [what.kind for what in rig.gate.causes] == [kind]
    assert not any(out.velocity.any() for out in rig.run(0.3, FORWARD))


@pytest.mark.parametrize('silent', ['chunk', 'force', 'state'])
def test_short_silence_holds_and_goes_on_by_itself(silent):
    rig = moving()
    outs = rig.run(0.5, FORWARD, feed={'state', 'force', 'chunk'} - {silent})
    assert not outs[-1].velocity.any()
    assert rig.run(0.3, FORWARD)[-1].velocity.any()


def test_robot_error_stops_and_the_gate_does_not_come_back_by_itself():
    rig = moving()
    rig.state(error='robot error 1007')
    out = rig.command()
    assert (out.result, rig.gate.state) == (Result.STOPPED, GateState.STOPPED)
    assert 'robot_error' in kinds(out)
    with pytest.raises(VlaError, match='robot_error: clear it at the robot'):
        rig.gate.reset()
    rig.state()  # the error is gone
    assert not any(out.velocity.any() for out in rig.run(0.3, FORWARD))
    rig.recover()
    assert rig.run(0.3, FORWARD)[-1].velocity.any()


def test_error_in_a_late_or_broken_state_counts():
    rig = moving()
    rig.state(error='emergency stop', joint_rad=rig.joint_rad[:5])
    assert rig.command().result is Result.STOPPED


def test_robot_that_is_not_ready_holds():
    rig = moving()
    rig.state(ready=False)
    assert 'robot_not_ready' in kinds(rig.command())
    assert not rig.velocity.any()


def test_emergency_stop_lasts_until_reset_and_enable_whatever_comes():
    rig = moving()
    rig.gate.emergency_stop('topic')
    outs = rig.run(0.5, FORWARD)
    assert not any(out.velocity.any() for out in outs)
    assert {kinds(out)[0] for out in outs} == {'emergency_stop'}
    rig.gate.disable()
    assert rig.gate.state is GateState.EMERGENCY_STOP
    with pytest.raises(VlaError, match='emergency_stop; call reset first'):
        rig.gate.enable(rig.now_ns)
    rig.gate.reset()
    assert rig.gate.state is GateState.DISABLED
    assert not any(out.velocity.any() for out in rig.run(0.3, FORWARD))
    rig.gate.enable(rig.now_ns)
    assert rig.run(0.3, FORWARD)[-1].velocity.any()


def test_pressed_button_forbids_the_reset():
    rig = moving()
    rig.gate.observe_emergency_stop('button', True)
    with pytest.raises(VlaError, match=r'release the emergency stop first \(button\)'):
        rig.gate.reset()
    rig.gate.observe_emergency_stop('button', False)
    assert rig.gate.state is GateState.EMERGENCY_STOP
    rig.gate.reset()


def test_emergency_stop_from_another_thread_wins():
    rig = moving()
    ended = threading.Event()

    def press():
        time.sleep(0.005)
        rig.gate.emergency_stop('other thread')
        ended.set()

    thread = threading.Thread(target=press)
    thread.start()
    deadline = time.monotonic() + 10
    while not ended.is_set() and time.monotonic() < deadline:
        rig.run(0.02, FORWARD)
    thread.join(10)
    assert ended.is_set()
    assert not any(out.velocity.any() for out in rig.run(0.2, FORWARD))


def test_disable_takes_effect_at_once_and_old_chunks_stay_dead_after_enable():
    rig = moving()
    rig.gate.disable()
    rig.state()
    rig.force()
    assert not rig.command().velocity.any()
    rig.gate.enable(rig.now_ns)
    assert not rig.command().velocity.any()


@pytest.mark.parametrize(
    ('spoil', 'advice'),
    [
        (lambda rig: rig.state(error='x'), 'robot_error: clear it at the robot'),
        (lambda rig: rig.state(ready=False), 'robot_not_ready: the robot must be activated'),
        (lambda rig: rig.force(1.4), 'force_limit 1.4'),
        (lambda rig: setattr(rig, 'now_ns', rig.now_ns + NS // 2), 'state_age 0.5'),
    ],
)
def test_enable_is_refused_with_the_reason_and_what_to_do(spoil, advice):
    rig = Rig(enable=False)
    rig.state()
    rig.force()
    rig.now_ns += PERIOD_NS
    spoil(rig)
    with pytest.raises(VlaError, match=advice):
        rig.gate.enable(rig.now_ns)
    assert rig.gate.state is GateState.DISABLED


def test_enable_is_refused_outside_the_workspace_and_before_any_input():
    rig = Rig(enable=False, box_max_m=(0.2, 0.08, 0.22))
    with pytest.raises(VlaError, match='state_age.*sensor_age'):
        rig.gate.enable(rig.now_ns)
    rig.state()
    rig.force()
    with pytest.raises(VlaError, match='workspace 0.225.*bring it in'):
        rig.gate.enable(rig.now_ns)


def test_dead_man_must_be_pressed_and_said_again():
    rig = Rig(enable=False, dead_man_required=True)
    rig.state()
    rig.force()
    with pytest.raises(VlaError, match='hold the dead-man switch down'):
        rig.gate.enable(rig.now_ns)
    rig.gate.observe_dead_man(True, rig.now_ns)
    rig.gate.enable(rig.now_ns)
    assert rig.run(0.2, FORWARD)[-1].velocity.any()
    assert kinds(rig.run(0.1, FORWARD)[-1]) == ['dead_man']
    rig.gate.observe_dead_man(True, rig.now_ns)
    assert rig.run(0.1, FORWARD)[-1].velocity.any()
    rig.gate.observe_dead_man(False, rig.now_ns)
    assert not rig.command().velocity.any()


@pytest.mark.parametrize('step_s', [-0.05, -1.0, -3600.0, 0.3, 3600.0])
def test_clock_step_never_moves_the_robot_on_what_came_before(step_s):
    rig = moving()
    rig.now_ns += round(step_s * NS)
    for _ in range(30):
        assert not rig.command().velocity.any()


def test_clock_set_back_between_enable_and_the_first_command_is_noticed():
    rig = Rig()
    rig.now_ns -= NS * 15 // 100
    outs = []
    for _ in range(20):
        rig.chunk(FORWARD)
        outs.append(rig.command())
    assert not any(out.velocity.any() for out in outs)


def test_robot_goes_on_after_a_backward_step_when_everything_came_anew():
    rig = moving()
    rig.now_ns -= 3600 * NS
    rig.command()
    assert rig.gate.counters.get('clock_steps') == 1
    assert rig.run(0.3, FORWARD)[-1].velocity.any()


def test_tightening_is_allowed_while_enabled_and_loosening_is_not():
    rig = moving()
    rig.gate.set_limits(dataclasses.replace(LIMITS, max_speed_m_s=0.005))
    assert rig.run(0.1, FORWARD)[-1].velocity[0] <= 0.005 + 1e-9
    with pytest.raises(VlaError, match='max_speed_m_s: may not be loosened while enabled'):
        rig.gate.set_limits(LIMITS)
    assert rig.gate.limits.max_speed_m_s == 0.005
    rig.gate.disable()
    rig.gate.set_limits(LIMITS)


NUMBERS = [name for name, allowed in RANGES.items() if isinstance(getattr(LIMITS, name), float)]


@given(st.sampled_from(NUMBERS), st.floats(0.9, 0.999))
def test_every_number_knows_which_way_is_looser(name, factor):
    lower = dataclasses.replace(LIMITS, **{name: getattr(LIMITS, name) * factor or -0.1})
    tighter = RANGES[name].tighter
    down, up = loosened(LIMITS, lower), loosened(lower, LIMITS)
    assert down == (() if tighter is Tighter.LOWER else (name,))
    assert up == (() if tighter is Tighter.HIGHER else (name,))


def test_boxes_actions_and_switches_know_which_way_is_looser():
    def changed(**changes):
        return loosened(LIMITS, dataclasses.replace(LIMITS, **changes))

    assert changed(box_min_m=(0.16, -0.08, 0.075)) == ()
    assert changed(box_min_m=(0.16, -0.09, 0.075)) == ('box_min_m',)
    assert changed(box_max_m=(0.29, 0.08, 0.22)) == ()
    assert changed(box_max_m=(0.30, 0.08, 0.23)) == ('box_max_m',)
    assert changed(dead_man_required=True) == ()
    assert changed(sensor_required=False) == ('sensor_required',)
    assert changed(force_action='retract') == ('force_action',)
    assert changed(force_action='hold', slope_action='hold') == ('force_action', 'slope_action')
    assert changed(base_frame='world', chunk_steps=9) == ('base_frame', 'chunk_steps')


def test_limits_come_from_flat_names_and_refuse_what_is_wrong_by_name():
    data = {'max_force_n': 0.5, 'box_min_m': [0.1, -0.1, 0.05], 'force_action': 'retract'}
    limits = from_dict(SafetyLimits, data, 'robot_driver.yaml')
    assert (limits.max_force_n, limits.box_min_m) == (0.5, (0.1, -0.1, 0.05))
    for wrong, words in (
        ({'max_force_n': 50.0}, 'max_force_n = 50.0: expected 0.01 to 20'),
        ({'max_forse_n': 1.0}, 'did you mean max_force_n'),
        ({'force_action': 'ignore'}, 'hold, stop, retract'),
        ({'box_min_m': [0.4, 0.0, 0.1]}, 'must be below box_max_m'),
        ({'chunk_hold_s': 1.0, 'chunk_stop_s': 0.5}, 'chunk_stop_s 0.5'),
    ):
        with pytest.raises(ConfigError, match=words):
            from_dict(SafetyLimits, wrong, 'robot_driver.yaml')


def test_every_limit_has_a_range_and_a_description():
    assert set(RANGES) == {field.name for field in dataclasses.fields(SafetyLimits)}
    for name, allowed in RANGES.items():
        assert len(allowed.description) > 15, name
        value = getattr(LIMITS, name)
        if isinstance(value, (float, int)) and not isinstance(value, bool):
            assert allowed.low <= value <= allowed.high


def test_ages_are_shown_and_not_a_number_before_the_first():
    rig = Rig(enable=False)
    assert all(age != age for age in dataclasses.astuple(rig.gate.ages(rig.now_ns)))
    rig.state()
    rig.force(0.2)
    rig.chunk(FORWARD)
    rig.now_ns += PERIOD_NS
    ages = rig.gate.ages(rig.now_ns)
    assert (ages.chunk_s, ages.sensor_s, ages.state_s) == (0.01, 0.01, 0.01)
    assert ages.force_n == pytest.approx(0.2, abs=0.02)
