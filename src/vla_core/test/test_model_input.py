"""The tensors of one tick."""

import numpy as np
import pytest

from vla_core.contract import Contract, StateSpec, ViewSpec
from vla_core.model_input import build_state, ModelInput, REFERENCE_XYZW
from vla_core.rotation import euler_to_quat, quat_multiply, rotvec_to_quat

FORWARD = euler_to_quat([0, np.pi / 2, 0])
JOINTS = np.arange(6) / 10
POSITION = np.array([0.25, -0.1, 0.2])


def test_state_is_joints_position_and_rotation_from_the_reference():
    state = build_state(JOINTS, POSITION, FORWARD)
    assert (state.shape, state.dtype) == ((12,), np.float32)
    np.testing.assert_allclose(state[:9], [*JOINTS, *POSITION], rtol=1e-6)
    np.testing.assert_allclose(state[9:], 0, atol=1e-6)


def test_rotation_in_the_state_is_told_in_the_base_frame():
    turned = quat_multiply(rotvec_to_quat([0.1, -0.2, 0.3]), FORWARD)
    np.testing.assert_allclose(
        build_state(JOINTS, POSITION, turned)[9:], [0.1, -0.2, 0.3], atol=1e-6
    )


def test_sign_of_the_quaternion_does_not_matter():
    turned = quat_multiply(rotvec_to_quat([0.1, -0.2, 0.3]), FORWARD)
    np.testing.assert_array_equal(
        build_state(JOINTS, POSITION, turned), build_state(JOINTS, POSITION, -turned)
    )


def test_state_does_not_jump_where_the_needle_points_straight_down():
    # Straight down (joint 5 at 90 deg) is half a turn from the identity: a plain rotation vector
    # flips there.
    down = euler_to_quat([0, np.pi, 0])
    states = [
        build_state(JOINTS, POSITION, quat_multiply(rotvec_to_quat([0.0, tilt, 0.0]), down))
        for tilt in np.linspace(-0.1, 0.1, 21)
    ]
    assert np.abs(np.diff(states, axis=0)).max() < 0.03


def test_reference_is_that_of_the_contract():
    assert StateSpec().reference_xyzw == REFERENCE_XYZW
    assert Contract('x', 1, (ViewSpec('a', 'b'),)).state.width == 12


@pytest.mark.parametrize(
    'joints, position, quat, part',
    [
        (JOINTS[:5], POSITION, FORWARD, 'expected joints'),
        (JOINTS, POSITION[:2], FORWARD, 'expected joints'),
        (JOINTS, POSITION, FORWARD[:3], 'expected joints'),
        (JOINTS * np.nan, POSITION, FORWARD, 'not finite'),
        (JOINTS, POSITION * np.inf, FORWARD, 'not finite'),
        (JOINTS, POSITION, FORWARD * np.nan, 'not a rotation'),
        (JOINTS, POSITION, np.zeros(4), 'not a rotation'),
    ],
)
def test_what_cannot_be_a_state_is_refused(joints, position, quat, part):
    with pytest.raises(ValueError, match=part):
        build_state(joints, position, quat)


def model_input(**changes):
    fields = {
        'window': np.zeros((65, 1026), np.float32),
        'window_mask': np.ones(65, bool),
        'state': np.zeros(12, np.float32),
        'state_age_s': 0.01,
        'image_age_s': np.zeros(5, np.float32),
        'view_motion': np.zeros((5, 6), np.float32),
        'feature_age_s': 0.1,
    }
    return ModelInput(**{**fields, **changes})


def test_input_of_the_contract_is_accepted():
    assert model_input().window.shape == (65, 1026)


@pytest.mark.parametrize(
    'changes',
    [
        {'window_mask': np.ones(64, bool)},
        {'window': np.zeros(65, np.float32)},
        {'state': np.zeros((1, 12), np.float32)},
        {'image_age_s': np.zeros((5, 1), np.float32)},
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes):
    with pytest.raises(ValueError):
        model_input(**changes)
