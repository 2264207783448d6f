"""Import of v4 HDF5 files: float32 times are refused, or rebuilt when the user says how."""

import h5py
from legacy_folders import (
    EVENT_NS,
    FRAME_HZ,
    grid,
    make_v4,
    pose_mm_deg,
    samples,
    START_NS,
    V4_SENSOR_HZ,
)
import numpy as np
import pytest
from written import imported

from vla_core.rotation import euler_to_quat, relative_rotvec
from vla_data.importing.report import LegacyDataError

MS = 1_000_000
STATED = {'rebuild_hz': FRAME_HZ, 'sensor_hz': V4_SENSOR_HZ}


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    return make_v4(tmp_path_factory.mktemp('legacy'))


@pytest.fixture(scope='module')
def result(file):
    return imported(file, **STATED)


def test_float32_times_are_refused_with_the_option_that_decides(file):
    with pytest.raises(LegacyDataError, match='128 s resolution.*--rebuild-times HZ'):
        imported(file)


def test_times_rebuilt_at_the_stated_rates_align_the_planted_step(result):
    steps = result[0].step_times()
    start = float(np.float32(START_NS / 1e9))
    event = EVENT_NS - START_NS + int(start * 1e9)  # the start itself is only known to 128 s
    assert len(steps) == 6
    for stream, (before, after) in steps.items():
        assert before - MS < event <= after + MS, stream
    assert result[1].has('rebuilt_times', 'episode') and result[1].has('rebuilt_times', 'sensor')
    assert result[1].has('start')


def test_without_a_stated_rate_the_sensor_is_left_out_not_guessed(file):
    written, report = imported(file, rebuild_hz=FRAME_HZ)
    assert 'sensor/samples' not in written.types
    assert report.count('float32_times', 'sensor') == len(grid(V4_SENSOR_HZ))


def test_times_that_are_fine_are_used_and_a_rate_is_refused(tmp_path):
    file = make_v4(tmp_path, float32=False)
    written, report = imported(file)
    for before, after in written.step_times().values():
        assert before - MS < EVENT_NS <= after + MS
    assert not report.has('rebuilt_times')
    with pytest.raises(LegacyDataError, match='leave it out'):
        imported(file, **STATED)


def test_relative_float32_times_of_a_short_file_are_fine(tmp_path):
    file = make_v4(tmp_path, sensor=False)
    with h5py.File(file, 'a') as opened:
        del opened['timestamp']
        opened['timestamp'] = ((grid(FRAME_HZ) - START_NS) / 1e9).astype('f4')
    written, report = imported(file)
    joints, _ = zip(*written.stamped('robot/joint_states'))
    assert np.abs(np.diff(joints) - 1e9 / FRAME_HZ).max() < 0.01 * MS
    assert report.has('relative_times')


def test_actions_that_are_the_motion_become_si_and_the_gripper_is_dropped(result):
    written, report = result
    assert report.count('gripper', 'action') == len(grid(FRAME_HZ))
    assert report.count('euler_spikes', 'action') == 1
    chunks = written.messages('legacy/action')
    delta = np.array([chunk.delta for chunk in chunks])
    assert delta.shape[1] == 6
    pose = pose_mm_deg(grid(FRAME_HZ)).astype('f4').astype('f8')
    quats = euler_to_quat(np.deg2rad(pose[:, 3:]))
    assert np.allclose(delta[:-1, :3], np.diff(pose[:, :3], axis=0) / 1000, atol=1e-6)
    assert np.allclose(delta[:-1, 3:], relative_rotvec(quats[:-1], quats[1:]), atol=1e-5)
    assert np.abs(delta[:, 3:]).max() < 0.01  # no spike of a turn


def test_actions_of_unknown_meaning_are_left_out_and_told(tmp_path):
    written, report = imported(make_v4(tmp_path, action='gamepad'), **STATED)
    assert 'legacy/action' not in written.types
    assert report.has('unknown_action', 'action')


def test_black_stand_ins_and_broken_images_are_left_out(tmp_path):
    import cv2

    file = make_v4(tmp_path, sensor=False)
    black = cv2.imencode('.jpg', np.zeros((480, 640, 3), np.uint8))[1].ravel()
    with h5py.File(file, 'a') as opened:
        camera = opened['observations/images/camera2']
        camera[4], camera[5] = black, camera[5][:-30]
    written, report = imported(file, rebuild_hz=FRAME_HZ)
    assert report.count('black_image', 'view2') == 1 and report.count('bad_jpeg', 'view2') == 1
    assert len(written.entries['cameras/view2/image_raw/compressed']) == len(grid(FRAME_HZ)) - 2


def test_joints_that_were_never_recorded_are_absent(tmp_path):
    file = make_v4(tmp_path, sensor=False)
    with h5py.File(file, 'a') as opened:
        opened['observations/qpos'][...] = 0
    written, report = imported(file, rebuild_hz=FRAME_HZ)
    assert 'robot/joint_states' not in written.types and report.has('all_zero', 'robot')
    assert 'robot/tcp_pose' in written.types


def test_cameras_go_to_the_views_that_were_stated(file):
    written, report = imported(file, views={'camera1': 'view4'}, **STATED)
    assert 'cameras/view4/image_raw/compressed' in written.types
    assert not report.has('view_by_number', 'view4') and report.has('view_by_number', 'view2')


def test_sensor_values_survive_float16(result):
    force = samples(grid(V4_SENSOR_HZ))[0]
    assert np.allclose(result[0].sensor()[1], force, rtol=1e-3)


@pytest.mark.parametrize('content', [b'', b'\x89HDF\r\n\x1a\n' + b'x' * 40, b'no hdf5 at all'])
def test_a_file_that_is_no_hdf5_is_named(tmp_path, content):
    path = tmp_path / 'episode_1.h5'
    path.write_bytes(content)
    with pytest.raises(LegacyDataError, match='not a readable HDF5 file'):
        imported(path, **STATED)


def test_a_foreign_hdf5_is_named_with_what_it_holds(tmp_path):
    path = tmp_path / 'episode_1.h5'
    with h5py.File(path, 'w') as file:
        file['weights'] = np.zeros(3)
    with pytest.raises(LegacyDataError, match="no group 'observations'"):
        imported(path, **STATED)
