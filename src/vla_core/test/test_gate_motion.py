"""The rules on every command: speed, acceleration, workspace, joints, following."""

from gate_rig import ARM, joints_at, kinds, LIMITS, PERIOD_NS, PERIOD_S, Rig
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core.execution.values import Motion
from vla_core.safety import shaping
from vla_core.safety.values import GateState, Result
from vla_core.timebase import NS

NORTH = np.array([1.0, 0, 0, 0, 0, 0])
number = st.floats(-1e3, 1e3)
twist = st.tuples(*[number] * 6).map(np.array)


@given(twist)
def test_speed_is_clipped_along_its_direction(velocity):
    shaped = shaping.limit_speed(velocity, LIMITS)
    assert np.linalg.norm(shaped.velocity[:3]) <= LIMITS.max_speed_m_s * (1 + 1e-9)
    assert np.linalg.norm(shaped.velocity[3:]) <= LIMITS.max_turn_rad_s * (1 + 1e-9)
    factor = np.linalg.norm(shaped.velocity) / max(np.linalg.norm(velocity), 1e-300)
    np.testing.assert_allclose(shaped.velocity, factor * velocity, atol=1e-9)
    assert bool(shaped.why) == (not np.allclose(shaped.velocity, velocity, rtol=1e-12, atol=0))


slow = st.tuples(*[st.floats(-0.02, 0.02)] * 3, *[st.floats(-0.3, 0.3)] * 3).map(np.array)


@given(slow, slow)
def test_acceleration_is_limited_and_braking_is_free(wanted, last):
    got = shaping.limit_acceleration(wanted, last, PERIOD_S, LIMITS).velocity
    for part, limit in (
        (slice(0, 3), LIMITS.max_accel_m_s2),
        (slice(3, 6), LIMITS.max_turn_accel_rad_s2),
    ):
        step, before = limit * PERIOD_S * (1 + 1e-9), last[part]
        gain = np.linalg.norm(got[part]) - np.linalg.norm(before)
        assert gain <= step
        length = before @ before
        along = np.clip(got[part] @ before / length, 0, 1) if length > 0 else 0.0
        assert np.linalg.norm(got[part] - along * before) <= step


@given(slow, st.floats(0, 1))
def test_any_slowing_down_passes_at_once(last, part):
    shaped = shaping.limit_acceleration(part * last, last, PERIOD_S, LIMITS)
    np.testing.assert_allclose(shaped.velocity, part * last, atol=1e-12)
    assert shaped.why == ()


def test_robot_starts_within_its_acceleration_and_stops_at_once():
    rig = Rig()
    speeds = [np.linalg.norm(out.velocity[:3]) for out in rig.run(0.3, (0.002, 0, 0, 0, 0, 0))]
    assert speeds[0] == pytest.approx(0.0025)
    assert speeds[-1] == pytest.approx(0.02)
    assert np.diff(speeds).max() <= 0.0025 + 1e-9
    rig.state()
    rig.force()
    rig.chunk()
    assert not rig.command().velocity.any()


def test_too_fast_a_step_is_slowed_down_and_says_so():
    rig = Rig()
    out = rig.run(0.3, (0.005, 0, 0, 0, 0, 0))[-1]
    assert out.result is Result.LIMITED
    (found,) = out.interventions
    assert (found.kind, found.limit) == ('speed', 0.025)
    assert found.value == pytest.approx(0.05)
    assert rig.gate.counters.get('limited_speed') == 30


@pytest.mark.parametrize('axis', [0, 1, 2])
@pytest.mark.parametrize('sign', [-1, 1])
@pytest.mark.parametrize('state_age_s', [0.0, 0.09])
def test_tip_comes_near_each_wall_and_never_through_it(axis, sign, state_age_s):
    rig = Rig()
    centre = rig.position_m
    rig = Rig(box_min_m=tuple(centre - 0.003), box_max_m=tuple(centre + 0.003))
    step = np.zeros(6)
    step[axis] = 0.005 * sign
    past = []
    for cycle in range(60):
        past.append(rig.position_m)
        if cycle % 10 == 0:
            rig.chunk(step)
        lag = min(round(state_age_s / PERIOD_S), cycle)
        rig.state(age_s=lag * PERIOD_S, **_pose_at(rig, past[-1 - lag]))
        rig.force()
        out = rig.command()
        assert np.all(np.abs(rig.position_m - centre) <= 0.003 + 1e-6)
    assert (rig.position_m - centre)[axis] * sign > 0.0025
    assert 'workspace' in kinds(out)


def _pose_at(rig, position):
    """State of the past: joints of that position, orientation unchanged."""
    if np.allclose(position, rig.position_m):
        return {}
    return {'position_m': position, 'joint_rad': joints_at(position)}


def test_outside_the_workspace_only_the_way_in_is_open():
    rig = Rig()
    rig.run(0.1)
    x = float(rig.position_m[0])
    smaller = (x - 0.001, *LIMITS.box_max_m[1:])
    rig.gate.set_limits(SafetyLimitsWith(box_max_m=smaller))
    for step, moves in (
        ((0.001, 0, 0, 0, 0, 0), False),
        ((0, 0.001, 0, 0, 0, 0), False),
        ((0, 0, 0, 0.01, 0, 0), False),
        ((-0.001, 0, 0, 0, 0, 0), True),
    ):
        rig.now_ns += 9 * PERIOD_NS
        rig.chunk(step)
        rig.state()
        rig.force()
        out = rig.command()
        assert out.velocity.any() == moves
        assert moves or 'workspace' in kinds(out)


def SafetyLimitsWith(**changes):  # noqa: N802
    import dataclasses

    return dataclasses.replace(LIMITS, **changes)


def test_joint_limit_is_not_passed():
    joints = np.append(joints_at()[:5], 6.2832 - 0.08)
    rig = Rig(joints)
    along = np.array([np.cos(np.radians(62)), 0, -np.sin(np.radians(62))])
    outs = rig.run(1.0, np.concatenate([np.zeros(3), 0.03 * along]))
    assert 'joint_limit' in {kind for out in outs for kind in kinds(out)}
    assert rig.joint_rad[5] > joints[5] + 0.02
    assert (rig.joint_rad <= ARM.joint_max_rad - LIMITS.joint_margin_rad + 1e-4).all()


def test_joint_speeds_stay_below_their_share():
    rig = Rig(joint_speed_ratio=0.01)
    outs = rig.run(0.5, (0.0025, 0, 0, 0.02, 0, 0))
    assert 'joint_speed' in {kind for out in outs for kind in kinds(out)}
    for out in outs:
        speeds = np.linalg.solve(ARM.jacobian(rig.joint_rad), out.velocity)
        assert (np.abs(speeds) <= 0.0105 * ARM.joint_max_rad_s).all()
    assert outs[-1].velocity.any()


def test_near_a_singularity_the_robot_holds():
    rig = Rig()
    rig.run(0.2, (0.001, 0, 0, 0, 0, 0))
    straight = np.array([0.0, -0.5, 1.2, 0.0, 0.0, 0.0])
    position, matrix = ARM.forward(straight)
    rig.now_ns += PERIOD_NS
    from gate_rig import quat_of

    rig.state(joint_rad=straight, position_m=position, quat_xyzw=quat_of(matrix))
    out = rig.command()
    assert 'singular' in kinds(out)
    assert not out.velocity.any()


def test_joints_and_pose_that_disagree_hold_the_robot():
    rig = Rig()
    rig.run(0.2, (0.001, 0, 0, 0, 0, 0))
    rig.state(position_m=rig.position_m + [0, 0, 0.0055])  # flange instead of tip, or the like
    rig.force()
    out = rig.command()
    assert 'pose_mismatch' in kinds(out)
    assert not out.velocity.any()


@pytest.mark.parametrize('speed_mm_s', [5, 20])
def test_robot_that_does_not_follow_is_stopped(speed_mm_s):
    rig = Rig()
    for cycle in range(200):
        if cycle % 10 == 0:
            rig.chunk((speed_mm_s * 1e-4, 0, 0, 0, 0, 0))
        rig.velocity = np.zeros(6)  # it is blocked; its state is live all the same
        rig.state()
        rig.force()
        rig.command()
        if rig.gate.state is not GateState.ENABLED:
            break
    assert [what.kind for what in rig.gate.causes] == ['tracking']
    assert cycle * PERIOD_S * speed_mm_s * 1e-3 < 0.008


def test_robot_that_follows_late_is_not_stopped():
    rig = Rig()
    steps = [(0.0025, 0, 0, 0, 0, 0), (-0.0025, 0, 0, 0, 0, 0)]
    for part in range(3):
        sent = rig.run(0.5, steps[part % 2], feed=('force', 'chunk', 'state'))
        assert sent[-1].velocity.any()
    assert rig.gate.state is GateState.ENABLED


@pytest.mark.parametrize(
    'velocity',
    [np.full(6, np.nan), np.array([np.inf, 0, 0, 0, 0, 0]), np.zeros(3), np.zeros((6, 1))],
)
def test_motion_that_is_no_velocity_holds(velocity):
    rig = Rig()
    chunk = rig.make_chunk((0.001, 0, 0, 0, 0, 0))
    rig.give(chunk)
    rig.state()
    rig.force()
    out = rig.gate.command(Motion(velocity, chunk.chunk_id, 0, chunk.made_ns), rig.now_ns)
    assert kinds(out) == ['not_finite']
    assert not out.velocity.any()


def test_command_that_comes_late_is_taken_to_have_moved_on():
    """A stalled command thread: the robot went on for its time-out, so the walls are nearer."""
    rig = Rig()
    rig.run(0.3, (0.0025, 0, 0, 0, 0, 0))
    old_ns = rig.now_ns
    rig.state()
    moves = rig.gate._sent.reach(old_ns, old_ns + NS, LIMITS.look_ahead_s)
    assert moves[-1][0] >= 0.025 * LIMITS.look_ahead_s - 1e-9
