"""The lab in one process: physics, determinism, rendering."""

from dataclasses import replace

import numpy as np
import pytest

from vla_core.arms import meca500 as kin
from vla_sim import gl, scene
from vla_sim.expert import CYCLE_S, DURATION_S, HOLD_ABOVE_TISSUE_M, Phase
from vla_sim.lab import Lab, PHYSICS_STEP_S, VIEWS
from vla_sim.tissue import Surface

TO_HOLD_S = sum(DURATION_S[p] for p in (Phase.START, Phase.ALIGN, Phase.SETTLE, Phase.INSERT))


@pytest.fixture(scope='module')
def lab():
    lab = Lab(0, width=160, height=90)
    yield lab
    lab.close()


def run_to(lab, time_s):
    lab.follow_expert(round((time_s - lab.time_s) / PHYSICS_STEP_S))


def difference(first, second):
    return np.abs(first.astype(int) - second.astype(int)).mean()


@pytest.mark.parametrize('seed', range(6))
def test_simulated_arm_reaches_the_tissue_within_tolerance(lab, seed):
    lab.reset(seed)
    run_to(lab, TO_HOLD_S + 0.2)
    truth = lab.truth()
    assert truth.inside and truth.valve_open and not truth.tissue_punctured
    assert truth.radial_m < 0.2e-3
    assert np.degrees(truth.angle_rad) < 0.2
    assert truth.contact.surface is Surface.TISSUE
    assert truth.contact.distance_m == pytest.approx(HOLD_ABOVE_TISSUE_M, abs=0.3e-3)
    assert kin.within_limits(truth.joint_rad)


def test_model_and_closed_form_kinematics_agree(lab):
    lab.reset(4)
    run_to(lab, 5.0)
    position, rotation = lab.tcp_pose()
    expected_position, expected_rotation = kin.forward(lab.joint_rad)
    np.testing.assert_allclose(position, expected_position, atol=1e-9)
    np.testing.assert_allclose(rotation, expected_rotation, atol=1e-9)


def test_force_of_a_whole_cycle_has_a_puncture_and_friction_both_ways(lab):
    lab.reset(0)
    forces, depths = [], []
    while lab.time_s < CYCLE_S - 6:
        lab.follow_expert(5)
        forces.append(lab.sample_sensor()[0])
        depths.append(lab.truth().depth_m)
    forces, depths = np.array(forces), np.array(depths)
    outside = forces[depths < -0.001]
    assert outside.mean() == pytest.approx(1.0, abs=0.01)
    assert forces.max() > 1.15
    assert forces[depths > 0.004].min() < 0.95
    assert np.abs(outside - 1.0).max() < 0.05


def test_same_seed_gives_the_same_run(lab):
    runs = []
    for _ in range(2):
        lab.reset(11)
        run_to(lab, 1.5)
        force, profile = lab.sample_sensor()
        runs.append((lab.joint_rad, force, profile))
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    np.testing.assert_array_equal(runs[0][2], runs[1][2])


def test_commands_beyond_the_joint_limits_are_cut(lab):
    lab.reset(0)
    lab.command(np.full(6, 100.0))
    lab.step(1500)
    assert kin.within_limits(lab.joint_rad, margin_rad=-0.02)


def test_arm_holds_still_without_commands(lab):
    lab.reset(0)
    before = lab.joint_rad
    lab.step(1000)
    np.testing.assert_allclose(lab.joint_rad, before, atol=1e-4)


def test_views_differ_from_each_other_and_over_time(lab):
    lab.reset(0)
    first = {view: lab.render(view, noise=False) for view in VIEWS}
    assert all(picture.shape == (90, 160, 3) for picture in first.values())
    for i, view in enumerate(VIEWS):
        assert first[view].std() > 20
        for other in VIEWS[i + 1 :]:
            assert difference(first[view], first[other]) > 10
    run_to(lab, 8.0)
    for view in VIEWS:
        assert difference(first[view], lab.render(view, noise=False)) > 0.5, view


def test_rendering_is_deterministic_but_for_the_numbered_noise(lab):
    lab.reset(2)
    still, again = lab.render('view1', noise=False), lab.render('view1', noise=False)
    np.testing.assert_array_equal(still, again)
    noisy, other = lab.render('view1'), lab.render('view1')
    assert 0 < difference(noisy, other) < 4


def test_scenes_look_different(lab):
    pictures = []
    for seed in (0, 2, 3):
        lab.reset(seed)
        pictures.append(lab.render('view3', noise=False))
    assert difference(pictures[0], pictures[1]) > 10
    assert difference(pictures[1], pictures[2]) > 10


@pytest.mark.parametrize('seed', range(8))
def test_trocar_and_needle_tip_are_in_every_external_view(lab, seed):
    lab.reset(seed)
    run_to(lab, 8.5)
    position, _ = lab.tcp_pose()
    for view in VIEWS:
        camera = lab.data.camera(view)
        for point in (lab.scene.opening_m, position):
            x, y, z = camera.xmat.reshape(3, 3).T @ (point - camera.xpos)
            half = np.tan(np.radians(lab.model.camera(view).fovy[0] / 2))
            assert z < 0
            assert abs(y / z) < 0.98 * half, f'{view}: outside the picture vertically'
            assert abs(x / z) < 0.98 * half * 160 / 90, f'{view}: outside horizontally'


def test_no_picture_shows_how_deep_the_tissue_lies(lab, monkeypatch):
    drawn = scene.draw_scene(3)

    def pictures(depth_m):
        there = replace(drawn, tissue_depth_m=depth_m)
        monkeypatch.setattr(scene, 'draw_scene', lambda seed, ranges: there)
        lab.reset(3)
        assert lab.scene.tissue_depth_m == depth_m
        return np.stack([lab.render(view, noise=False) for view in VIEWS])

    np.testing.assert_array_equal(pictures(0.0135), pictures(0.0205))


def test_unknown_view_is_refused(lab):
    with pytest.raises(ValueError, match='view9'):
        lab.render('view9')


def test_missing_gl_is_one_line_with_the_packages(monkeypatch):
    monkeypatch.setenv('MUJOCO_GL', '')
    monkeypatch.setattr(gl.ctypes.util, 'find_library', lambda name: None)
    gl.prepare()
    with pytest.raises(gl.GraphicsError, match=r'no GL library.*apt-get install.*libegl1'):
        gl.require()


def test_osmesa_is_the_fallback_where_egl_has_no_driver(monkeypatch):
    monkeypatch.setenv('MUJOCO_GL', '')
    monkeypatch.setattr(gl, 'egl_works', lambda: False)
    monkeypatch.setattr(gl.ctypes.util, 'find_library', lambda name: name)
    gl.prepare()
    gl.require()
    assert gl.os.environ['MUJOCO_GL'] == 'osmesa'
