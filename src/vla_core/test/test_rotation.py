"""Rotations, against matrices that are built independently here."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core.rotation import (
    apply_rotvec,
    euler_to_quat,
    quat_inverse,
    quat_multiply,
    quat_normalize,
    quat_to_euler,
    quat_to_rotvec,
    relative_rotvec,
    rotate,
    rotvec_to_quat,
    wrap_rad,
)

ANGLES = st.floats(-20, 20)
EULERS = st.tuples(ANGLES, ANGLES, ANGLES).map(np.array)
VECTORS = st.tuples(ANGLES, ANGLES, ANGLES).map(np.array)
QUATS = EULERS.map(euler_to_quat)
RIGHT = np.pi / 2


def matrix_of_euler(a, b, r):
    ca, sa, cb, sb, cr, sr = np.cos(a), np.sin(a), np.cos(b), np.sin(b), np.cos(r), np.sin(r)
    x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return x @ y @ z


def matrix_of_quat(quat):
    return np.stack([rotate(quat, axis) for axis in np.eye(3)], axis=-1)


def assert_same_rotation(left, right, tolerance=1e-9):
    # 1 - |dot| would lose half the digits: compare the components up to the sign.
    left, right = np.asarray(left), np.asarray(right)
    distance = min(np.abs(left - right).max(), np.abs(left + right).max())
    assert distance < tolerance


@given(EULERS)
def test_mecademic_angles_are_mobile_xyz(abr):
    np.testing.assert_allclose(
        matrix_of_quat(euler_to_quat(abr)), matrix_of_euler(*abr), atol=1e-12
    )


def test_flange_forward_and_turned_needle_as_in_the_manual():
    # b = 90 deg: the tool's z axis lies along the base's x axis.
    np.testing.assert_allclose(
        rotate(euler_to_quat([0, RIGHT, 0]), [0, 0, 1]), [1, 0, 0], atol=1e-12
    )
    # Mobile axes: after a = 90 deg the second turn is about the base's z axis.
    np.testing.assert_allclose(
        rotate(euler_to_quat([RIGHT, RIGHT, 0]), [1, 0, 0]), [0, 1, 0], atol=1e-12
    )


@given(EULERS)
def test_euler_angles_come_back_as_the_same_orientation(abr):
    quat = euler_to_quat(abr)
    back = quat_to_euler(quat)
    assert_same_rotation(euler_to_quat(back), quat, 1e-7)
    assert abs(back[1]) <= RIGHT + 1e-12
    assert (np.abs(back) <= np.pi).all()


@given(ANGLES, st.sampled_from([RIGHT, -RIGHT]), ANGLES)
def test_euler_angles_survive_gimbal_lock(a, b, r):
    quat = euler_to_quat([a, b, r])
    back = quat_to_euler(quat)
    assert_same_rotation(euler_to_quat(back), quat, 1e-6)
    assert back[2] == 0.0


@given(st.floats(-3, 3), st.floats(-1.5, 1.5), st.floats(-3, 3))
def test_euler_angles_inside_their_range_come_back_as_they_were(a, b, r):
    np.testing.assert_allclose(quat_to_euler(euler_to_quat([a, b, r])), [a, b, r], atol=1e-9)


@given(EULERS, st.lists(st.integers(-3, 3), min_size=3, max_size=3))
def test_whole_turns_change_nothing(abr, turns):
    assert_same_rotation(euler_to_quat(abr + 2 * np.pi * np.array(turns)), euler_to_quat(abr))
    np.testing.assert_allclose(
        np.exp(1j * wrap_rad(abr + 2 * np.pi * np.array(turns))), np.exp(1j * abr), atol=1e-9
    )


@given(VECTORS)
def test_rotation_vector_comes_back_the_short_way(vector):
    back = quat_to_rotvec(rotvec_to_quat(vector))
    assert np.linalg.norm(back) <= np.pi + 1e-12
    assert_same_rotation(rotvec_to_quat(back), rotvec_to_quat(vector))
    if np.linalg.norm(vector) < 3.14:
        np.testing.assert_allclose(back, vector, atol=1e-9)


@pytest.mark.parametrize('length', [0.0, 1e-300, 1e-15, 1e-9, 1e-4])
def test_tiny_rotations_keep_their_digits(length):
    vector = length * np.array([0.6, 0.0, -0.8])
    np.testing.assert_allclose(
        quat_to_rotvec(rotvec_to_quat(vector)), vector, rtol=1e-9, atol=1e-300
    )


@given(QUATS, QUATS)
def test_relative_rotation_leads_from_one_orientation_to_the_other(start, goal):
    assert_same_rotation(apply_rotvec(relative_rotvec(start, goal), start), goal)
    np.testing.assert_allclose(relative_rotvec(start, start), 0, atol=1e-9)


def test_relative_rotation_is_told_in_the_base_frame():
    start = euler_to_quat([0, RIGHT, 0])
    goal = quat_multiply(rotvec_to_quat([0, 0, 0.1]), start)  # turned about the base's z axis
    np.testing.assert_allclose(relative_rotvec(start, goal), [0, 0, 0.1], atol=1e-12)


@given(st.floats(-0.02, 0.02), st.sampled_from([0, 1, 2]))
def test_step_across_the_wrap_of_euler_angles_stays_small(step, axis):
    # The legacy system's differences of angles spiked to 360 deg here.
    before, after = np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.2, 0.3])
    before[axis], after[axis] = np.pi - 0.005, -np.pi + 0.005 + step
    length = np.linalg.norm(relative_rotvec(euler_to_quat(before), euler_to_quat(after)))
    assert length == pytest.approx(abs(0.01 + step), abs=1e-9)


@given(QUATS, st.floats(0.01, 100), st.sampled_from([1, -1]))
def test_sign_and_length_of_a_quaternion_do_not_matter(quat, length, sign):
    scaled = quat * length * sign
    assert_same_rotation(quat_normalize(scaled), quat)
    if quat[3] > 1e-6:
        np.testing.assert_allclose(quat_to_rotvec(scaled), quat_to_rotvec(quat), atol=1e-9)
    assert quat_normalize(scaled)[3] >= 0


@given(QUATS)
def test_inverse_undoes(quat):
    assert_same_rotation(quat_multiply(quat_inverse(quat), quat), [0, 0, 0, 1])


def test_all_functions_take_stacks_of_rotations():
    abr = np.random.default_rng(1).uniform(-3, 3, (4, 5, 3))
    quat = euler_to_quat(abr)
    assert quat.shape == (4, 5, 4)
    np.testing.assert_allclose(quat[2, 3], euler_to_quat(abr[2, 3]), atol=1e-15)
    for result in (quat_to_euler(quat), quat_to_rotvec(quat), relative_rotvec(quat[0], quat)):
        assert result.shape == (4, 5, 3)


@pytest.mark.parametrize('quat', [[0, 0, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 1]])
def test_what_is_no_rotation_is_refused(quat):
    with pytest.raises(ValueError, match='not a rotation'):
        quat_to_rotvec(quat)


@given(ANGLES)
def test_wrapped_angle_lies_in_half_open_range(angle):
    assert -np.pi <= wrap_rad(angle) < np.pi
