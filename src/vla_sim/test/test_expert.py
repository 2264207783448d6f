"""The scripted expert and the scenes it works in, without physics."""

import numpy as np
import pytest

from vla_core.arms import meca500 as kin
from vla_sim import scene as sc
from vla_sim.expert import CYCLE_S, Expert, HOLD_ABOVE_TISSUE_M, Phase, STANDOFF_M

SEEDS = range(40)
STEP_S = 0.02


def path(seed):
    """Scene, joints (N, 6), their speeds and phases of one cycle."""
    scene = sc.draw_scene(seed)
    expert = Expert(scene, STEP_S)
    setpoints = [expert.at(t) for t in np.arange(0, CYCLE_S, STEP_S)]
    joints = np.array([s.joint_rad for s in setpoints])
    return (
        scene,
        joints,
        np.array([s.joint_rad_s for s in setpoints]),
        [s.phase for s in setpoints],
    )


def in_trocar(scene, joints):
    """Depth of the tip, its distance from the axis, and the needle's angle to it, (N,) each."""
    tip, rotation = kin.forward(joints)
    offset = tip - scene.opening_m
    depth = offset @ scene.axis
    radial = np.linalg.norm(offset - depth[:, None] * scene.axis, axis=1)
    return depth, radial, np.arccos(np.clip(rotation[:, :, 2] @ scene.axis, -1, 1))


@pytest.mark.parametrize('seed', SEEDS)
def test_script_stays_inside_limits_and_reaches_the_tissue_on_the_axis(seed):
    scene, joints, speeds, phases = path(seed)
    phases = np.array(phases)
    assert kin.within_limits(joints, margin_rad=0.05).all()
    assert (np.abs(speeds) < 0.25 * kin.JOINT_MAX_RAD_S).all()
    assert joints[:, 4].min() > np.radians(5), 'too near the wrist singularity'
    depth, radial, angle = in_trocar(scene, joints)
    inserting = np.isin(phases, (Phase.INSERT, Phase.HOLD, Phase.RETRACT))
    assert radial[inserting].max() < 1e-6
    assert angle[inserting].max() < 1e-6
    hold = depth[phases == Phase.HOLD]
    np.testing.assert_allclose(
        scene.tissue_depth_m - hold,
        HOLD_ABOVE_TISSUE_M,
        atol=0.2e-3,
        err_msg='height above the tissue',
    )
    assert depth[~inserting].max() <= -STANDOFF_M + 1e-3


@pytest.mark.parametrize('seed', SEEDS)
def test_tip_keeps_clear_of_the_eye_while_it_aligns(seed):
    scene, joints, _, phases = path(seed)
    tip, _ = kin.forward(joints)
    outside = np.isin(phases, (Phase.START, Phase.ALIGN, Phase.RETURN))
    clearance = np.linalg.norm(tip - scene.phantom_position_m, axis=1) - sc.EYE_RADIUS_M
    assert clearance[outside].min() > 0.005


def test_script_has_no_jumps():
    _, joints, speeds, _ = path(3)
    steps = np.diff(joints, axis=0)
    assert (np.abs(steps) <= np.abs(speeds).max() * STEP_S * 1.01).all()


def test_script_is_a_pure_function_of_time_and_seed():
    scene = sc.draw_scene(5)
    forward, backward = Expert(scene), Expert(scene)
    times = np.linspace(-40, 95, 60)
    first = [forward.at(t).joint_rad for t in times]
    second = [backward.at(t).joint_rad for t in times[::-1]][::-1]
    np.testing.assert_array_equal(first, second)


def test_cycles_begin_at_different_noisy_poses_and_join_up():
    expert = Expert(sc.draw_scene(0))
    assert np.abs(expert.start_joints(0) - expert.start_joints(1))[:3].max() > 0.005
    before, after = expert.at(CYCLE_S - 0.002).joint_rad, expert.at(CYCLE_S).joint_rad
    np.testing.assert_allclose(before, after, atol=1e-6)


def test_scene_is_the_same_for_the_same_seed_and_differs_between_seeds():
    first, again, other = sc.draw_scene(7), sc.draw_scene(7), sc.draw_scene(8)
    np.testing.assert_array_equal(first.phantom_position_m, again.phantom_position_m)
    np.testing.assert_array_equal(first.camera_turn_rad, again.camera_turn_rad)
    assert np.linalg.norm(first.opening_m - other.opening_m) > 1e-4


def test_openings_fill_their_range_and_stay_in_it():
    offsets = (
        np.array([sc.draw_scene(seed).opening_m for seed in range(300)]) - sc.NOMINAL_OPENING_M
    )
    limit = np.array(sc.SceneRanges().opening_m)
    assert (np.abs(offsets) <= limit + 1e-12).all()
    assert (np.abs(offsets).max(axis=0) > 0.9 * limit).all()


def test_looks_vary_between_seeds():
    scenes = [sc.draw_scene(seed) for seed in range(60)]
    assert {scene.table for scene in scenes} == {0, 1, 2, 3}
    assert {scene.trocar for scene in scenes} == {0, 1, 2, 3}
