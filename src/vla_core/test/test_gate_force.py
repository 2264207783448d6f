"""The force rules: every sample of the 650 Hz stream, whatever comes with it."""

from gate_rig import kinds, PERIOD_NS, Rig, SAMPLE_NS
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core.arms import meca500 as kin
from vla_core.counters import Counters
from vla_core.errors import VlaError
from vla_core.safety.force import ForceWatch
from vla_core.safety.limits import SafetyLimits
from vla_core.safety.values import GateState, Result
from vla_core.timebase import NS

FORWARD = (0.0004, 0, -0.0006, 0, 0, 0)


def inserting(**limits):
    rig = Rig(**limits)
    rig.run(0.3, FORWARD)
    assert rig.velocity.any()
    return rig


@pytest.mark.parametrize('force_n', [1.01, -1.5, 50.0, 1e308])
def test_one_sample_above_the_limit_stops_at_the_next_command(force_n):
    rig = inserting()
    force = np.zeros(7)
    force[2] = force_n
    rig.state()
    assert rig.force(force)
    out = rig.command(advance_ns=0)
    assert (out.result, rig.gate.state) == (Result.STOPPED, GateState.STOPPED)
    assert not out.velocity.any()
    (found,) = (what for what in out.interventions if what.kind == 'force_limit')
    assert found.value == pytest.approx(abs(force_n), rel=0.02)
    assert found.limit == 1.0
    assert rig.gate.counters.get('stops') == 1


def test_old_sample_above_the_limit_stops_too():
    rig = inserting()
    late = rig.gate.counters.get('force_late')
    assert rig.gate.observe_force([rig.now_ns - NS], [2.0], rig.now_ns)
    assert rig.gate.state is GateState.STOPPED
    assert rig.gate.counters.get('force_late') == late + 1


def test_what_the_sensor_reads_without_contact_is_subtracted():
    rig = Rig(enable=False, force_zero_n=1.2)
    rig.state()
    rig.force(1.2)
    rig.gate.enable(rig.now_ns)
    rig.now_ns += PERIOD_NS
    assert not rig.force(2.15)
    assert rig.gate.ages(rig.now_ns).force_n == pytest.approx(0.95, abs=0.02)
    rig.now_ns += PERIOD_NS
    assert rig.force(0.1)  # 1.1 N the other way


def test_noise_of_one_sample_does_not_count_as_a_rise():
    rig = inserting(max_force_slope_n_s=5.0)
    for n in range(20):
        spikes = np.zeros(7)
        spikes[n % 7] = 0.6  # alone: a hundred times the limit against its neighbour
        assert not rig.force(spikes if n % 2 else 0.0)
        rig.now_ns += PERIOD_NS
    assert rig.gate.state is GateState.ENABLED


@pytest.mark.parametrize(('slope_n_s', 'stops'), [(10.0, False), (17.0, False), (25.0, True)])
def test_rise_is_measured_over_the_window(slope_n_s, stops):
    rig = inserting()
    start_ns = rig.now_ns
    for _ in range(3):
        rig.now_ns += PERIOD_NS
        at_s = (rig.now_ns - start_ns - SAMPLE_NS * np.arange(7)[::-1]) / NS
        rig.force(slope_n_s * np.maximum(at_s, 0))
    assert (rig.gate.state is GateState.STOPPED) == stops
    if stops:
        assert [what.kind for what in rig.gate.causes] == ['force_slope']


@given(st.floats(0.001, 0.02), st.integers(0, 2**32 - 1))
def test_noise_without_a_rise_never_trips_the_slope(noise_n, seed):
    limits = SafetyLimits(max_force_slope_n_s=60 * noise_n / limits_window())
    watch = ForceWatch(Counters())
    noise = np.random.default_rng(seed).uniform(-noise_n, noise_n, (100, 7)) + 0.3
    for batch, values in enumerate(noise):
        now_ns = NS + (batch + 1) * 7 * SAMPLE_NS
        stamps = now_ns - SAMPLE_NS * np.arange(7)[::-1]
        assert watch.observe(stamps, values, now_ns, limits) == ()


def limits_window():
    return SafetyLimits().slope_window_s * 25


@given(st.permutations(range(12)), st.integers(1, 4))
def test_order_and_repetition_of_samples_do_not_hide_a_crossing(order, size):
    limits, watch = SafetyLimits(), ForceWatch(Counters())
    values = np.full(12, 0.2)
    values[7] = 1.2
    crossed = []
    for begin in range(0, 12, size):
        part = list(order[begin : begin + size]) * 2
        stamps = NS + SAMPLE_NS * np.array(part)
        crossed += watch.observe(stamps, values[part], NS + 20 * SAMPLE_NS, limits)
    assert {what.kind for what in crossed} == {'force_limit'}


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_force_that_is_not_finite_is_stale_force(bad):
    rig = inserting()
    for _ in range(12):
        rig.state()
        rig.now_ns += PERIOD_NS
        assert not rig.gate.observe_force([rig.now_ns], [bad], rig.now_ns)
        rig.now_ns -= PERIOD_NS
        out = rig.command()
    assert 'sensor_age' in kinds(out)
    assert not out.velocity.any()
    assert rig.gate.counters.get('force_not_finite') == 12


@pytest.mark.parametrize('size', [1, 7])
def test_frozen_sensor_with_new_stamps_is_stale(size):
    rig = inserting()
    values = np.linspace(0.1, 0.12, size)
    outs = []
    for cycle in range(13):
        rig.state()
        if cycle % 10 == 0:
            rig.chunk(FORWARD)
        stamps = rig.now_ns - SAMPLE_NS * np.arange(size)[::-1]
        rig.gate.observe_force(stamps, values, rig.now_ns)
        outs.append(rig.command())
    assert outs[5].velocity.any()
    assert kinds(outs[-1]) == ['sensor_age']
    assert not outs[-1].velocity.any()


def test_samples_ahead_of_the_clock_do_not_make_the_sensor_young_for_ever():
    rig = inserting()
    rig.gate.observe_force([rig.now_ns + 3600 * NS], [0.1], rig.now_ns)
    assert rig.gate.counters.get('force_ahead') == 1
    outs = rig.run(0.3, FORWARD, feed=('state', 'chunk'))
    assert kinds(outs[-1]) == ['sensor_age']
    assert rig.run(0.1, FORWARD)[-1].velocity.any()


def test_batches_that_are_no_batches_are_counted_and_change_nothing():
    rig = inserting()
    for stamps, force in (([1, 2], [0.1]), (['a'], [0.1]), ([2**70], [0.1]), ([[1]], [[0.1]])):
        assert not rig.gate.observe_force(stamps, force, rig.now_ns)
    assert rig.gate.counters.get('force_bad_batch') == 4


def test_hold_ends_by_itself_when_the_force_is_gone():
    rig = inserting(force_action='hold', slope_action='hold')
    rig.state()
    assert rig.force(1.05)
    out = rig.command()
    assert (out.result, rig.gate.state) == (Result.HELD, GateState.ENABLED)
    assert 'force_limit' in kinds(out)
    rig.state()
    rig.force(0.95)  # below the limit, not yet below 90 % of it
    assert not rig.command().velocity.any()
    assert rig.run(0.2, FORWARD)[-1].velocity.any()


def test_reset_and_enable_are_refused_while_the_force_stands():
    rig = inserting()
    rig.force(1.5)
    with pytest.raises(VlaError, match=r'force_limit 1\.5 \(limit 1\).*relieve it'):
        rig.gate.reset()
    rig.now_ns += PERIOD_NS
    rig.force(0.0)
    rig.now_ns += 5 * PERIOD_NS
    rig.force(0.0)
    rig.recover()
    assert not rig.command().velocity.any()


def retracting(**limits):
    rig = inserting(force_action='retract', slope_action='retract', **limits)
    rig.state()
    assert rig.force(1.5)
    return rig


def test_retract_withdraws_along_the_needle_by_the_distance_and_then_stops():
    rig = retracting()
    start, matrix = kin.forward(rig.joint_rad)
    outs = rig.run(3.0)
    moving = [out for out in outs if out.result is Result.RETRACTING]
    assert not rig.gate.retracting
    assert (outs[-1].result, rig.gate.state) == (Result.STOPPED, GateState.STOPPED)
    assert not outs[-1].velocity.any()
    went = rig.position_m - start
    assert -went @ matrix[:, 2] == pytest.approx(0.010, abs=0.0003)
    assert np.linalg.norm(went + 0.010 * matrix[:, 2]) < 0.0003
    assert max(np.linalg.norm(out.velocity[:3]) for out in moving) <= 0.005 + 1e-9
    assert all(not out.velocity[3:].any() for out in moving)
    assert 'force_limit' in kinds(moving[0])


def test_retract_never_leaves_the_workspace():
    rig = Rig()
    wall = float(rig.position_m[2]) + 0.004
    box_max = (0.30, 0.08, wall)
    rig = retracting(box_max_m=box_max)
    outs = rig.run(4.5)
    assert 'workspace' in {kind for out in outs for kind in kinds(out)}
    assert rig.position_m[2] <= wall + 1e-5
    assert not rig.gate.retracting


@pytest.mark.parametrize(
    'end',
    [
        lambda rig: rig.gate.emergency_stop('test'),
        lambda rig: rig.gate.disable(),
        lambda rig: rig.state(error='robot error 1007'),
        lambda rig: rig.force(3.5),
    ],
)
def test_retract_ends_at_once(end):
    rig = retracting()
    rig.run(0.1)
    assert rig.velocity.any()
    end(rig)
    out = rig.command()
    assert not out.velocity.any()
    assert not rig.gate.retracting
    assert rig.gate.state in (GateState.STOPPED, GateState.EMERGENCY_STOP)
    assert all(not out.velocity.any() for out in rig.run(0.3, FORWARD))


def test_retract_ends_by_time():
    rig = retracting(retract_timeout_s=0.5)
    rig.run(0.6)
    assert not rig.gate.retracting


def test_no_reset_while_withdrawing():
    rig = retracting()
    with pytest.raises(VlaError, match='withdrawn'):
        rig.gate.reset()


def test_retract_is_only_a_stop_where_the_arm_cannot_be_trusted():
    rig = inserting(force_action='retract', slope_action='retract')
    rig.state(ready=False)
    rig.force(1.5)
    assert not rig.gate.retracting
    assert rig.command().result is Result.STOPPED


@pytest.mark.parametrize('before', ['enabled', 'disabled', 'stopped'])
def test_an_operator_withdraws_the_whole_needle_from_any_state(before):
    rig = inserting() if before == 'stopped' else Rig(enable=before == 'enabled')
    rig.state()
    if before == 'stopped':
        assert rig.force(1.5)
    rig.command()
    start, matrix = kin.forward(rig.joint_rad)
    rig.gate.withdraw(rig.now_ns)
    rig.gate.withdraw(rig.now_ns)  # asked for twice: one withdrawal
    outs = rig.run(8.0)
    assert not rig.gate.retracting and rig.gate.state is GateState.STOPPED
    assert 'retracted' in {kind for out in outs for kind in kinds(out)}
    assert -(rig.position_m - start) @ matrix[:, 2] == pytest.approx(0.030, abs=0.0003)
    assert rig.gate.counters.snapshot()['withdrawals'] == 1
    cause = 'force_limit' if before == 'stopped' else 'withdrawal'
    assert cause in kinds(outs[0])


def test_a_withdrawal_says_what_stands_against_it():
    rig = Rig(enable=False)
    rig.state(ready=False)
    with pytest.raises(VlaError, match='not withdrawn.*robot_not_ready'):
        rig.gate.withdraw(rig.now_ns)
    rig.gate.emergency_stop('test')
    with pytest.raises(VlaError, match='emergency stop; call reset first'):
        rig.gate.withdraw(rig.now_ns)
    assert not rig.command().velocity.any()


def test_force_while_not_enabled_wakes_nobody():
    rig = Rig(enable=False)
    assert not rig.force(5.0)
