"""Single poses in plain floats: the same numbers as the batches, which are NumPy's."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core import rotation
from vla_core.arms import meca500 as kin

ANGLES = st.floats(-20, 20)
# Also lengths at which a square underflows or a cosine rounds to 1.
VECTORS = st.tuples(*[ANGLES | st.floats(-1e-6, 1e-6)] * 3).map(np.array)
QUATS = st.tuples(*[st.floats(-2, 2)] * 4).map(np.array).filter(lambda q: q @ q > 1e-4)
JOINTS = st.tuples(
    *[st.floats(low, high) for low, high in zip(kin.JOINT_MIN_RAD, kin.JOINT_MAX_RAD)]
).map(np.array)
# Where the inverse knows the branch, and no angle is lost to a singularity.
FORWARD = st.tuples(
    *[st.floats(np.radians(low), np.radians(high)) for low, high in (
        (-170, 170), (-5, 60), (-20, 50), (-60, 60), (5, 100), (-170, 170),
    )]
).map(np.array)  # fmt: skip
TOOLS = st.sampled_from([-kin.FLANGE_M, 0.0, kin.TOOL_TIP_M])


def assert_single_is_batch(function, *values, tolerance=1e-12):
    single = function(*values)
    batch = function(*[np.stack([value, value]) for value in values])
    assert single.dtype == np.float64
    np.testing.assert_allclose(single, batch[0], rtol=0, atol=tolerance)


@given(VECTORS)
def test_vectors_to_quaternions(vector):
    # Where w is nearly 0 rounding decides the sign of all four.
    for function in (rotation.euler_to_quat, rotation.rotvec_to_quat):
        single, batch = function(vector), function(vector[None])[0]
        distance = min(np.abs(single - batch).max(), np.abs(single + batch).max())
        assert distance < 1e-12


@given(QUATS, QUATS, VECTORS)
def test_quaternions(left, right, vector):
    assert_single_is_batch(rotation.quat_normalize, left)
    assert_single_is_batch(rotation.quat_multiply, left, right)
    assert_single_is_batch(rotation.rotate, left, vector, tolerance=1e-11)


@given(QUATS)
def test_quaternions_to_vectors(quat):
    # At half a turn the vector may point either way, at the poles the angles wrap: compare the
    # rotations, to the square root of the rounding at the poles.
    for back, forth in (
        (rotation.quat_to_euler, rotation.euler_to_quat),
        (rotation.quat_to_rotvec, rotation.rotvec_to_quat),
    ):
        single, batch = forth(back(quat)), forth(back(quat[None])[0])
        distance = min(np.abs(single - batch).max(), np.abs(single + batch).max())
        assert distance < 1e-12


@given(QUATS, QUATS, VECTORS)
def test_turns_between_orientations(start, end, vector):
    turn, batch = rotation.relative_rotvec(start, end), rotation.relative_rotvec(start, end[None])
    assert min(np.abs(turn - batch[0]).max(), np.abs(turn + batch[0]).max()) < 1e-11
    turned = rotation.apply_rotvec(vector, start), rotation.apply_rotvec(vector[None], start)[0]
    assert min(np.abs(turned[0] - turned[1]).max(), np.abs(turned[0] + turned[1]).max()) < 1e-12


@pytest.mark.parametrize('bad', [[0, 0, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 1]])
def test_single_quaternions_that_are_no_rotation_are_refused(bad):
    for function in (
        rotation.quat_normalize, rotation.quat_to_euler, rotation.quat_to_rotvec,
        lambda quat: rotation.rotate(quat, [0, 0, 1]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match='not a rotation'):
            function(bad)
    with pytest.raises(ValueError, match='not a rotation'):
        rotation.rotvec_to_quat([np.inf, 0, 0])


def test_single_euler_angles_that_are_not_finite_give_nan():
    for bad in (np.nan, np.inf):
        assert np.isnan(rotation.euler_to_quat([bad, 0, 0])).all()
        assert np.isnan(kin.forward(np.array([bad, 0, 0, 0, 0, 0]))[0][:2]).all()


@given(JOINTS, TOOLS)
def test_forward_kinematics_and_euler_angles(joint_rad, tool_m):
    position, frame = kin.forward(joint_rad, tool_m)
    positions, frames = kin.forward(np.stack([joint_rad] * 3), tool_m)
    np.testing.assert_allclose(position, positions[1], rtol=0, atol=1e-15)
    np.testing.assert_allclose(frame, frames[1], rtol=0, atol=1e-14)
    one, many = kin.euler_rad(frame), kin.euler_rad(frame[None])[0]  # the last bit may differ
    np.testing.assert_allclose(one, many, rtol=0, atol=1e-14)


@given(JOINTS, TOOLS)
def test_jacobian_is_that_of_the_axes_and_lever_arms(joint_rad, tool_m):
    # The axes, from products of matrices; the levers, from the batch's positions.
    turns = [kin.rotation_z, kin.rotation_y, kin.rotation_y]
    turns += [kin.rotation_x, kin.rotation_y, kin.rotation_x]
    frames = np.stack([np.eye(3)] * 6)
    for joint, turn in enumerate(turns):
        frames[joint:] = frames[joint:] @ turn(joint_rad[joint])
    axes = frames[range(6), :, [2, 1, 1, 0, 1, 0]]
    base = np.array([0.0, 0.0, kin.BASE_HEIGHT_M])
    elbow = base + kin.UPPER_ARM_M * frames[1, :, 2]
    centre = elbow + kin.ELBOW_OFFSET_M * frames[2, :, 2] + kin.FOREARM_M * frames[2, :, 0]
    tip = centre + (kin.FLANGE_M + tool_m) * frames[5, :, 0]
    arms = tip - np.stack([base, base, elbow, centre, centre, centre])
    expected = np.concatenate([np.cross(axes, arms), axes], axis=1).T
    np.testing.assert_allclose(kin.jacobian(joint_rad, tool_m), expected, rtol=0, atol=1e-14)


@given(FORWARD)
def test_inverse_kinematics(joint_rad):
    position, frame = kin.forward(joint_rad)
    expected = kin.inverse(position[None], frame[None])[0]
    np.testing.assert_allclose(kin.inverse(position, frame), expected, rtol=0, atol=1e-12)


def test_a_single_pose_out_of_reach_or_of_the_joint_limits_is_refused():
    position, frame = kin.forward(np.radians([0, 85, 40, 0, 20, 0]))
    with pytest.raises(kin.UnreachableError, match='out of reach'):
        kin.inverse(position + [0.7, 0, 0], frame)
    behind = kin.rotation_z(np.pi)
    with pytest.raises(kin.UnreachableError, match='joint limits'):
        kin.inverse(behind @ position, behind @ frame)
