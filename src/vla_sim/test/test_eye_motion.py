"""The eye of the task variant `moving`."""

import numpy as np
import pytest

from vla_sim.eye_motion import EyeMotion, EyeMotionSettings
from vla_sim.lab import Lab
from vla_sim.options import parse, UsageError
from vla_sim.shared import COLUMNS, WIDTH

DRIFT = EyeMotionSettings(jump_m=0.0)


def path(motion, seconds=60.0, step_s=0.01):
    rows = [motion.at(t) for t in np.arange(0.0, seconds, step_s)]
    return np.array([m for m, _ in rows]), np.array([turn for _, turn in rows])


def test_the_same_seed_moves_the_same_way_and_another_differently():
    assert np.array_equal(path(EyeMotion(3), 5)[0], path(EyeMotion(3), 5)[0])
    assert not np.array_equal(path(EyeMotion(3), 5)[0], path(EyeMotion(4), 5)[0])


def test_drift_is_about_two_millimetres_from_end_to_end_and_slow():
    spans, speeds = [], []
    for seed in range(20):
        place, _ = path(EyeMotion(seed, DRIFT))
        spans.append(np.ptp(place, axis=0).max())
        speeds.append(np.abs(np.diff(place, axis=0)).max() / 0.01)
    assert 0.0014 < np.median(spans) < 0.0024 and max(spans) < 0.003
    assert max(speeds) < 0.003  # m/s


def test_rotations_are_small():
    _, turn = path(EyeMotion(1))
    assert np.radians(0.5) < np.abs(turn).max() < np.radians(1.2)


def test_jumps_are_rare_fast_and_bounded():
    still = EyeMotionSettings(drift_m=0.0, turn_rad=0.0)
    counts = []
    for seed in range(10):
        place, _ = path(EyeMotion(seed, still), 120.0)
        moving = np.abs(np.diff(place, axis=0)).max(1) > 1e-7
        starts = np.flatnonzero(moving[1:] & ~moving[:-1])
        counts.append(len(starts))
        assert moving.sum() <= 7 * (len(starts) + 1)
        assert np.abs(place).max() <= still.jump_m
        assert (np.diff(starts) * 0.01 >= still.calm_s - 0.02).all()
    assert 12 < np.mean(counts) < 28  # one in six seconds


def test_lab_moves_phantom_opening_and_trocar_together():
    lab = Lab(5, moving=True)
    state, distances, places = np.zeros(WIDTH), [], []
    for _ in range(50):
        lab.step(10)
        lab.write_state(state, scripted=False)
        distances.append(np.linalg.norm(lab.opening_m - state[COLUMNS.phantom_position]))
        places.append(lab.opening_m.copy())
    assert np.ptp(distances) < 1e-9
    assert np.linalg.norm(places[0] - places[-1]) > 1e-5
    assert np.abs(lab.trocar_rotation.T @ lab.trocar_rotation - np.eye(3)).max() < 1e-9
    x, y, depth = lab.trocar_rotation.T @ (lab.tcp_pose()[0] - lab.opening_m)
    assert depth == pytest.approx(lab.truth().depth_m, abs=1e-9)
    lab.close()


def test_a_still_eye_stays_where_the_scene_says():
    lab = Lab(5)
    lab.step(50)
    assert np.array_equal(lab.opening_m, lab.scene.opening_m)
    lab.close()


def test_a_moving_eye_needs_an_arm_that_is_commanded():
    assert parse(['--eye', 'moving']).eye == 'moving'
    with pytest.raises(UsageError, match='commanded'):
        parse(['--eye', 'moving', '--motion', 'script'])
