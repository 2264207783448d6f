"""The Meca500's kinematics against poses worked out by hand."""

import numpy as np
import pytest

from vla_core.arms import meca500 as kin

# The lab's two waypoints of the eye-trocar demonstrations, degrees.
APPROACH = np.radians([51.09, -0.26, 27.44, -1.00, 24.42, -34.72])
INSERT = np.radians([51.05, 6.19, 28.53, -1.33, 16.84, -34.40])


def flange(degrees):
    position, rotation = kin.forward(np.radians(degrees), tool_m=0.0)
    return position, np.degrees(kin.euler_rad(rotation))


def test_flange_at_zero_is_where_the_manual_says():
    position, euler = flange([0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(position, [0.190, 0.0, 0.308], atol=1e-12)
    np.testing.assert_allclose(euler, [0, 90, 0], atol=1e-9)


@pytest.mark.parametrize(
    ('degrees', 'position_mm'),
    [
        # J1 turns the whole arm: (190, 0) -> (0, 190).
        ([90, 0, 0, 0, 0, 0], [0, 190, 308]),
        # Upper arm level forward, forearm hanging down from it: x 135 + 38, z 135 - 120 - 70.
        ([0, 90, 0, 0, 0, 0], [173, 0, -55]),
        # Forearm pointing down: the elbow offset now points forward.
        ([0, 0, 70, 0, 0, 0], [100.693, 0, 104.455]),
        # Wrist bent down by 90 degrees: the last 70 mm go down.
        ([0, 0, 0, 0, 90, 0], [120, 0, 238]),
        # The same with the forearm rolled by 90 degrees: they go sideways.
        ([0, 0, 0, 90, 90, 0], [120, 70, 308]),
        # Folded as for shipping: upper arm 60 degrees back, forearm level.
        ([0, -60, 60, 0, 0, 0], [73.087, 0, 240.5]),
    ],
)
def test_flange_position_matches_hand_computation(degrees, position_mm):
    np.testing.assert_allclose(flange(degrees)[0] * 1000, position_mm, atol=1e-3)


def test_tool_moves_the_point_along_the_flange_axis():
    at_flange, rotation = kin.forward(INSERT, tool_m=0.0)
    tip, _ = kin.forward(INSERT)
    np.testing.assert_allclose(tip - at_flange, kin.TOOL_TIP_M * rotation[:, 2], atol=1e-12)


def test_waypoints_of_the_lab_are_a_straight_insertion_along_the_needle():
    (first, before), (second, after) = kin.forward(APPROACH), kin.forward(INSERT)
    turn = np.degrees(np.arccos(np.clip((np.trace(before.T @ after) - 1) / 2, -1, 1)))
    stroke = second - first
    assert turn < 0.2
    assert 0.015 < np.linalg.norm(stroke) < 0.030
    assert stroke @ before[:, 2] / np.linalg.norm(stroke) > 0.99


def test_inverse_undoes_forward_over_the_forward_reaching_workspace():
    rng = np.random.default_rng(1)
    low = np.radians([-170, -5, -20, -60, 5, -170])
    high = np.radians([170, 60, 50, 60, 100, 170])
    joints = rng.uniform(low, high, (2000, 6))
    position, rotation = kin.forward(joints)
    np.testing.assert_allclose(kin.inverse(position, rotation), joints, atol=1e-7)


def test_inverse_refuses_what_is_out_of_reach():
    with pytest.raises(kin.UnreachableError, match='out of reach'):
        kin.inverse(np.array([0.9, 0.0, 0.1]), np.diag([1.0, -1.0, -1.0]))


def test_inverse_refuses_what_joint_limits_forbid():
    position, rotation = kin.forward(np.radians([0, 85, 40, 0, 20, 0]))
    behind = kin.rotation_z(np.pi)
    with pytest.raises(kin.UnreachableError, match='joint limits'):
        kin.inverse(behind @ position, behind @ rotation)


def test_limits_are_those_of_the_manual():
    degrees = np.degrees(np.stack([kin.JOINT_MIN_RAD, kin.JOINT_MAX_RAD], axis=1))
    expected = [[-175, 175], [-70, 90], [-135, 70], [-170, 170], [-115, 115], [-360, 360]]
    np.testing.assert_allclose(degrees, expected, atol=0.01)
    assert kin.within_limits(np.zeros(6))
    assert not kin.within_limits(np.array([0, 1.6, 0, 0, 0, 0]))


def test_euler_angles_rebuild_the_rotation_about_mobile_axes():
    rng = np.random.default_rng(2)
    alpha, beta, gamma = rng.uniform(-1.5, 1.5, (3, 100))
    rotation = kin.rotation_x(alpha) @ kin.rotation_y(beta) @ kin.rotation_z(gamma)
    np.testing.assert_allclose(kin.euler_rad(rotation), np.stack([alpha, beta, gamma], -1))


def test_euler_angles_agree_with_the_suite():
    rotation_module = pytest.importorskip('vla_core.rotation')
    _, rotation = kin.forward(INSERT)
    x, y, z, w = rotation_module.euler_to_quat(kin.euler_rad(rotation))
    along = [2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y)]
    np.testing.assert_allclose(along, rotation[:, 2], atol=1e-9)


@pytest.mark.parametrize('tool_m', [0.0, kin.TOOL_TIP_M])
def test_jacobian_agrees_with_differences_of_the_forward_kinematics(tool_m):
    rng = np.random.default_rng(7)
    for q in rng.uniform(0.9 * kin.JOINT_MIN_RAD, 0.9 * kin.JOINT_MAX_RAD, (50, 6)):
        jacobian, step = kin.jacobian(q, tool_m), 1e-6
        for joint in range(6):
            delta = np.eye(6)[joint] * step
            (p0, r0), (p1, r1) = kin.forward(q - delta, tool_m), kin.forward(q + delta, tool_m)
            skew = (r1 - r0) @ r0.T / (2 * step)
            np.testing.assert_allclose(jacobian[:3, joint], (p1 - p0) / (2 * step), atol=1e-8)
            turning = [skew[2, 1], skew[0, 2], skew[1, 0]]
            np.testing.assert_allclose(jacobian[3:, joint], turning, atol=1e-5)
