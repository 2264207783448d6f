"""Random scenes: reachable poses, labels that fit the pictures, shards that survive a kill."""

import os

import numpy as np
import pytest

from vla_core.arms import meca500 as kin
from vla_policy.geometry import Grid
from vla_sim import gl
from vla_sim import scene as sc
from vla_training.pretrain import scenes
from vla_training.pretrain.poses import draw_joints

SIZE = scenes.RenderSize(512, 288, Grid(128, 256, 4, 8))


@pytest.fixture(scope='module')
def source():
    try:
        gl.require()
    except gl.GraphicsError as error:
        pytest.skip(str(error))
    made = scenes.SceneSource(SIZE)
    yield made
    made.close()


def test_poses_lie_in_front_of_the_opening_near_it_and_inside():
    depths, off_axis = [], []
    for seed in range(300):
        scene = sc.draw_scene(seed)
        joints = draw_joints(scene, np.random.default_rng(seed))
        assert kin.within_limits(joints)
        tip, _ = kin.forward(joints)
        x, y, depth = scene.trocar_rotation.T @ (tip - scene.opening_m)
        depths.append(depth)
        off_axis.append(np.hypot(x, y))
    depth_mm = 1e3 * np.array(depths)
    assert np.mean(depth_mm < -20) > 0.2
    assert np.mean((depth_mm > -15) & (depth_mm < 1)) > 0.3
    assert 0.05 < np.mean(depth_mm > 1) < 0.3
    near = np.array(off_axis)[(depth_mm > -5) & (depth_mm < 1)]
    assert np.mean(near > 0.0015) > 0.2  # beside it as well


def test_the_same_number_gives_the_same_pictures_and_labels(source):
    first, again = (list(source.sets(7, 1))[0] for _ in range(2))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1].keypoints, again[1].keypoints)
    other = next(iter(source.sets(8, 1)))
    assert not np.array_equal(first[0], other[0])


def test_pose_label_leads_from_the_tip_to_the_opening(source):
    _, labels = next(iter(source.sets(3, 1)))
    scene = sc.draw_scene(scenes._FIRST_SEED + 3 // scenes.POSES_A_SCENE)
    tip = labels.state[6:9]
    np.testing.assert_allclose(tip + labels.pose[:3], scene.opening_m, atol=1e-6)


def test_cameras_of_every_other_scene_are_off_by_three_times_as_much(source):
    at, first = [], scenes._FIRST_SEED
    for seed in range(first, first + 16):
        next(iter(source.sets((seed - first) * scenes.POSES_A_SCENE, 1)))
        at.append(source._model.cam_pos.copy())
    even, odd = (np.ptp(np.stack(at[k::2]), axis=0).max() for k in (0, 1))
    assert 0.002 < even <= 0.003 and 0.006 < odd <= 0.009


def test_keypoints_lie_on_the_coloured_marks_of_the_pad(source):
    """The red, green and blue marks are keypoints 5, 6, 7: the pictures must say so too."""
    colours = {5: (0.85, 0.12, 0.12), 6: (0.10, 0.60, 0.20), 7: (0.10, 0.25, 0.80)}
    hits = {5: 0, 6: 0, 7: 0}
    seen = dict.fromkeys(hits, 0)
    for pictures, labels in source.sets(100, 12):
        for point, colour in colours.items():
            x, y = labels.keypoints[3, point]  # this camera sees the pad from above
            column, row = round(128 + 72 * x), round(64 + 64 * y)
            if not (4 < column < 251 and 4 < row < 123):
                continue
            patch = pictures[3, row - 1 : row + 2, column - 1 : column + 2].reshape(-1, 3)
            seen[point] += 1
            hits[point] += int(np.argmax(patch.mean(0)) == int(np.argmax(colour)))
    assert all(count >= 4 for count in seen.values())
    assert sum(hits.values()) >= 0.85 * sum(seen.values()), (hits, seen)


def test_a_killed_shard_is_rendered_again_and_a_complete_one_is_kept(
    source, tmp_path, monkeypatch
):
    monkeypatch.setattr(scenes, 'SHARD', 3)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, 'replace', killed)
        with pytest.raises(KeyboardInterrupt):
            scenes.write_shard(tmp_path, 0, source)
    assert not scenes.shard_ready(tmp_path, 0)
    scenes.write_shard(tmp_path, 0, source)
    assert scenes.shard_ready(tmp_path, 0)
    images = np.load(scenes.image_path(tmp_path, 0))
    assert images.shape == (3, 5, 128, 256, 3)
    written = scenes.image_path(tmp_path, 0).stat().st_mtime_ns
    scenes.write_shard(tmp_path, 0, source)
    assert scenes.image_path(tmp_path, 0).stat().st_mtime_ns == written
