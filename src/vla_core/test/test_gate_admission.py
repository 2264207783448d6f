"""Which chunks the gate lets through to the executor, one rule at a time."""

import dataclasses

from gate_rig import kinds, PERIOD_NS, quat_of, Rig, STEP_NS, STEPS
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core import rotation
from vla_core.arms import meca500 as kin
from vla_core.errors import VlaError
from vla_core.freshness import Reaction
from vla_core.safety.values import GateState, Result
from vla_core.timebase import NS

SMALL = (0.001, 0, 0, 0, 0, 0)


def bad_delta(value, step=3, axis=2):
    delta = np.zeros((STEPS, 6))
    delta[step, axis] = value
    return delta


@pytest.mark.parametrize(
    ('changes', 'kind'),
    [
        ({'delta': bad_delta(np.nan)}, 'not_finite'),
        ({'delta': bad_delta(-np.inf)}, 'not_finite'),
        ({'delta': bad_delta(0.0061)}, 'huge_step'),
        ({'delta': bad_delta(-0.081, axis=4)}, 'huge_step'),
        ({'delta': bad_delta(1e200)}, 'huge_step'),
        ({'delta': np.zeros((7, 6))}, 'chunk_shape'),
        ({'delta': np.zeros((8, 7))}, 'chunk_shape'),
        ({'delta': np.zeros(48)}, 'chunk_shape'),
        ({'frame': 'tool0'}, 'frame'),
        ({'step_stamps_ns': np.zeros(STEPS, np.int64)}, 'step_stamps'),
        ({'reaction': Reaction.HOLD}, 'upstream_hold'),
    ],
)
def test_bad_chunk_is_refused_counted_and_the_robot_holds_until_a_good_one(changes, kind):
    rig = Rig()
    rig.run(0.3, SMALL)
    assert rig.velocity.any()
    assert rig.chunk(**changes) == [kind]
    rig.state()
    rig.force()
    out = rig.command()
    assert (out.result, kinds(out)) == (Result.HELD, [kind])
    assert not out.velocity.any()
    assert rig.gate.counters.get('chunks_refused') == 1
    assert rig.gate.counters.get(f'refused_{kind}') == 1
    assert rig.run(0.1, SMALL)[-1].velocity.any()


def test_largest_allowed_step_is_not_huge():
    rig = Rig()
    assert rig.chunk((0.006, 0, 0, 0.08, 0, 0)) == []


def test_intervention_names_value_and_limit():
    rig = Rig()
    (found,) = rig.gate.admit(rig.make_chunk((0.03, 0, 0.04, 0, 0, 0)), rig.now_ns)
    assert (found.kind, found.limit) == ('huge_step', 0.006)
    assert found.value == pytest.approx(0.05)


@pytest.mark.parametrize(
    'stamps',
    [
        lambda s: s[::-1],
        lambda s: s + np.arange(STEPS) * 2_000_000,
        lambda s: s + 3600 * NS,
        lambda s: s - STEP_NS,
        lambda s: s.astype(np.float64),
        lambda s: s[:-1],
        lambda s: np.array([-(2**63), 2**63 - 1] * 4),
    ],
)
def test_step_stamps_must_rise_by_the_period_from_the_tick_on(stamps):
    rig = Rig()
    chunk = rig.make_chunk(SMALL)
    bad = dataclasses.replace(chunk, step_stamps_ns=stamps(chunk.step_stamps_ns))
    assert rig.give(bad) == ['step_stamps']


def test_first_step_may_begin_one_period_after_the_tick():
    rig = Rig()
    chunk = rig.make_chunk(SMALL)
    later = dataclasses.replace(chunk, step_stamps_ns=chunk.step_stamps_ns + STEP_NS)
    assert rig.give(later) == []


@pytest.mark.parametrize(
    ('age_s', 'found'),
    [(0.0, []), (0.18, []), (0.19, ['old_chunk']), (-0.1, []), (-0.11, ['future_chunk'])],
)
def test_chunk_must_be_neither_old_nor_from_the_future(age_s, found):
    rig = Rig()
    assert rig.chunk(SMALL, age_s=age_s) == found


def test_repeated_and_overtaken_chunks_are_refused_without_stopping_the_newer_one():
    rig = Rig()
    first = rig.make_chunk(SMALL)
    rig.now_ns += STEP_NS
    second = rig.make_chunk(SMALL)
    assert rig.give(second) == []
    assert rig.give(second) == ['late_chunk']
    assert rig.give(first) == ['late_chunk']
    rig.state()
    rig.force()
    assert rig.command().velocity.any()


def test_restarted_expert_counts_from_one_again():
    rig = Rig()
    rig.run(0.5, SMALL)
    rig.chunk_id = 0
    rig.run(0.3, feed=('state', 'force'))
    assert rig.chunk(SMALL) == []


def test_ids_that_fall_without_a_pause_are_a_second_expert():
    rig = Rig()
    rig.run(0.5, SMALL)
    rig.now_ns += STEP_NS // 2
    rig.chunk_id = 0
    assert rig.chunk(SMALL) == ['second_expert']


def test_chunks_go_on_after_the_clock_was_set_back():
    rig = Rig()
    rig.run(0.5, SMALL)
    rig.now_ns -= 3600 * NS
    rig.command()
    assert rig.chunk(SMALL) == []


@pytest.mark.parametrize(
    ('changes', 'kind'),
    [
        ({'checkpoint_hash': 'c2'}, 'other_checkpoint'),
        ({'contract_hash': 'k2'}, 'other_contract'),
    ],
)
def test_first_chunk_after_enable_pins_checkpoint_and_contract(changes, kind):
    rig = Rig()
    assert rig.chunk(SMALL) == []
    rig.now_ns += STEP_NS
    assert rig.chunk(SMALL, **changes) == [kind]
    rig.gate.disable()
    rig.state()
    rig.force()
    rig.now_ns += 3 * STEP_NS
    rig.state()
    rig.force()
    rig.gate.enable(rig.now_ns)
    assert rig.chunk(SMALL, **changes) == []


def test_expert_that_runs_at_enable_is_pinned():
    rig = Rig(enable=False)
    rig.state()
    rig.force()
    assert rig.chunk(SMALL) == ['not_enabled']
    rig.gate.enable(rig.now_ns)
    rig.now_ns += STEP_NS
    assert rig.chunk(SMALL, checkpoint_hash='c2') == ['other_checkpoint']


def test_nothing_is_admitted_before_enable_and_nothing_from_before_it_moves_the_robot():
    rig = Rig(enable=False)
    rig.state()
    rig.force()
    chunk = rig.make_chunk(SMALL)
    assert rig.give(chunk) == ['not_enabled']
    rig.executor.add(chunk, rig.now_ns)  # a driver that does not heed the refusal
    rig.gate.enable(rig.now_ns)
    out = rig.command()
    assert (kinds(out), out.velocity.any()) == (['no_chunk'], False)
    rig.now_ns += STEP_NS - PERIOD_NS
    rig.gate.admit(rig.make_chunk(SMALL), rig.now_ns)
    rig.state()
    rig.force()
    out = rig.command()
    assert 'unknown_chunk' in kinds(out)
    assert not out.velocity.any()


def test_upstream_hold_keeps_the_gate_waiting_without_a_stop():
    rig = Rig()
    rig.run(0.3, SMALL)
    for _ in range(30):
        assert rig.chunk(reaction=Reaction.HOLD) == ['upstream_hold']
        outs = rig.run(0.1, feed=('state', 'force'))
        assert all(not out.velocity.any() for out in outs)
    assert rig.gate.state is GateState.ENABLED
    assert rig.run(0.1, SMALL)[-1].velocity.any()


def test_upstream_stop_stops_until_reset_and_enable():
    rig = Rig()
    rig.run(0.3, SMALL)
    assert rig.chunk(reaction=Reaction.STOP) == ['upstream_stop']
    assert rig.gate.state is GateState.STOPPED
    assert all(not out.velocity.any() for out in rig.run(0.3, SMALL))
    with pytest.raises(VlaError, match='reset'):
        rig.gate.enable(rig.now_ns)
    rig.recover()


unit = st.floats(-1, 1, allow_subnormal=False)


@given(
    st.tuples(unit, unit, unit).filter(lambda v: np.linalg.norm(v) > 0.1),
    st.floats(np.pi - 0.05, np.pi + 0.05),
    st.tuples(unit, unit, unit),
)
def test_turning_through_half_a_turn_never_jumps(axis, angle_rad, turn):
    """Steps made as differences of random orientations near 180 degrees, where Euler angles and
    long rotation vectors wrap, are small, admitted and executed without a jump.
    """
    axis = np.array(axis) / np.linalg.norm(axis)
    before = rotation.rotvec_to_quat(axis * angle_rad)
    after = rotation.apply_rotvec(np.array(turn) * 0.01, before)
    delta = np.concatenate([np.zeros(3), rotation.relative_rotvec(before, after)])
    rig = Rig()
    assert rig.chunk(delta) == []
    velocities = [np.zeros(6)]
    for _ in range(8):
        rig.state()
        rig.force()
        velocities.append(rig.command().velocity)
    changes = np.linalg.norm(np.diff(velocities, axis=0)[:, 3:], axis=1)
    assert changes.max() <= rig.gate.limits.max_turn_accel_rad_s2 * 0.01 * (1 + 1e-9)
    np.testing.assert_allclose(velocities[-1], delta * 10, atol=1e-6)


def test_naive_euler_difference_across_the_wrap_is_a_huge_step():
    rig = Rig()
    wrapped = np.array([np.radians(-179.9) - np.radians(179.9), 0, 0])
    assert rig.chunk(np.concatenate([np.zeros(3), wrapped])) == ['huge_step']


def test_state_whose_quaternion_has_the_other_sign_is_the_same_state():
    rig = Rig()
    _, matrix = kin.forward(rig.joint_rad)
    rig.state(quat_xyzw=-quat_of(matrix))
    rig.force()
    rig.chunk(SMALL)
    assert rig.command().velocity.any()
