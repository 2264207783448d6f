"""Import of `recv_all_*` sessions: units, clocks, names, defects; the planted step within 1 ms."""

from legacy_folders import (
    BINS,
    EVENT_NS,
    grid,
    jpeg,
    make_recv_all,
    pose_mm_deg,
    robot_rows,
    samples,
    START_NS,
    write_csv,
)
import numpy as np
import pytest
from written import imported

from vla_core.rotation import euler_to_quat
from vla_data.importing.report import LegacyDataError

MS = 1_000_000


@pytest.fixture(scope='module')
def session(tmp_path_factory):
    return make_recv_all(tmp_path_factory.mktemp('legacy'))


@pytest.fixture(scope='module')
def result(session):
    return imported(session)


def assert_step_is_aligned(steps, tolerance_ns=MS):
    for stream, (before, after) in steps.items():
        assert before - tolerance_ns < EVENT_NS <= after + tolerance_ns, stream


def test_the_planted_step_lies_between_the_same_captures_in_every_stream(result):
    steps = result[0].step_times()
    assert len(steps) == 8
    assert_step_is_aligned(steps)
    assert steps['force'][1] - EVENT_NS < 1.6 * MS  # the very next sample at 650 Hz
    assert steps['joints'][1] - EVENT_NS < 11 * MS


def test_units_are_si_and_euler_angles_are_quaternions(result):
    stamp, first = result[0].stamped('robot/joint_states')[0]
    assert stamp == int(grid(100.0, 0.0031)[0])
    assert first.position[0] == pytest.approx(np.deg2rad(51.0))
    poses = result[0].stamped('robot/tcp_pose')
    position = poses[0][1].pose.position
    assert (position.x, position.y, position.z) == pytest.approx((0.2, 0.01, 0.3))
    told = pose_mm_deg(grid(100.0, 0.0031))
    for index in (0, 150, 300):
        turn = poses[index][1].pose.orientation
        want = euler_to_quat(np.deg2rad(told[index, 3:]))
        assert abs(np.dot(want, [turn.x, turn.y, turn.z, turn.w])) == pytest.approx(1, abs=1e-9)


def test_angles_that_wrap_are_continuous_afterwards(result):
    written, report = result
    sixth = np.array([message.position[5] for message in written.messages('robot/joint_states')])
    assert np.abs(np.diff(sixth)).max() < np.deg2rad(1)
    assert report.count('unwrapped') == 1
    turns = [message.pose.orientation for message in written.messages('robot/tcp_pose')]
    quats = np.array([[turn.x, turn.y, turn.z, turn.w] for turn in turns])
    assert np.abs(np.diff(quats, axis=0)).max() < 0.02
    assert report.count('euler_wraps') == 1


def test_right_eyes_are_counted_and_left_out(result):
    written, report = result
    assert report.count('right_eye') == 4 * 19
    assert len(written.entries['cameras/view1/image_raw/compressed']) == 19
    assert {name for name in written.types if name.startswith('cameras/')} == {
        f'cameras/view{number}/image_raw/compressed' for number in range(1, 6)
    }


def test_sensor_samples_keep_their_own_times_and_values(result):
    written, report = result
    stamps, force, profile = written.sensor()
    want = grid(650.0, 0.0007)
    assert np.array_equal(stamps, want)
    assert np.array_equal(force, samples(want)[0]) and np.array_equal(profile, samples(want)[1])
    assert report.streams['sensor']['median_hz'] == pytest.approx(650, rel=1e-3)
    assert written.messages('sensor/samples')[-1].lost_total == 0


def test_messages_are_written_in_the_order_of_time(result):
    assert result[0].log == sorted(result[0].log)


def test_the_force_placeholder_is_dropped_and_told(result):
    assert result[1].count('force_placeholder') == 399


def test_the_report_is_in_the_metadata_of_the_episode(result):
    written, report = result
    inside = written.closed['extra']['import']
    assert inside['layout'] == 'recv_all' and len(inside['findings']) == len(report.findings)
    assert any('right-eye' in line for line in report.lines())


def test_a_robot_clock_that_is_off_by_40_ms_is_told_and_corrected_when_asked(tmp_path):
    folder = make_recv_all(tmp_path, clock_ns=40 * MS, sensor=False)
    trusted, report = imported(folder)
    assert 'consider --clock robot=estimated' in '\n'.join(report.lines())
    assert trusted.step_times()['joints'][1] - EVENT_NS > 39 * MS
    corrected, report = imported(folder, clocks={'robot': 'estimated'})
    assert_step_is_aligned(corrected.step_times())
    true = grid(100.0, 0.0031)
    stamps = np.array([stamp for stamp, _ in corrected.stamped('robot/joint_states')])
    assert np.abs(stamps - true).max() < MS
    assert report.has('clock_estimated', 'robot')


def test_a_clock_that_is_off_by_more_than_100_ms_needs_a_decision(tmp_path):
    folder = make_recv_all(tmp_path, clock_ns=-250 * MS, sensor=False)
    with pytest.raises(LegacyDataError, match='--clock robot=estimated'):
        imported(folder)
    assert_step_is_aligned(imported(folder, clocks={'robot': 'estimated'})[0].step_times())


def test_a_stated_offset_is_added_and_told(session):
    written, report = imported(session, offsets_s={'sensor': -0.0125})
    assert np.array_equal(written.sensor()[0], grid(650.0, 0.0007) - 12_500_000)
    assert report.has('offset', 'sensor')


def test_a_missing_sensor_is_absent_and_never_zeros(tmp_path):
    written, report = imported(make_recv_all(tmp_path, sensor=False))
    assert 'sensor/samples' not in written.types
    assert report.has('no_sensor')


def test_a_sensor_of_zeros_is_absent_too(tmp_path):
    folder = make_recv_all(tmp_path, sensor=False)
    stamps = grid(650.0) / 1e9
    zeros = {'forces': np.zeros(len(stamps), 'f4'), 'alines': np.zeros((len(stamps), BINS), 'f4')}
    path = folder / 'sensor_data_1.npz'
    np.savez(path, timestamps=stamps, send_timestamps=stamps, **zeros)
    written, report = imported(folder)
    assert 'sensor/samples' not in written.types
    assert report.count('zero_sample') == len(stamps) and report.has('all_zero', 'sensor')


def test_defects_of_the_sensor_are_repaired_and_counted(tmp_path):
    folder = make_recv_all(tmp_path, sensor=False)
    good = grid(650.0, 0.0007)
    order = np.arange(len(good))
    order[[100, 101]] = order[[101, 100]]
    order = np.concatenate([order[:500], order[498:]])  # two samples twice
    order = np.delete(order, slice(1000, 1013))  # a datagram lost
    force, profile = samples(good)
    profile[700] = np.nan
    np.savez_compressed(
        folder / 'sensor_data_1.npz', timestamps=good[order] / 1e9,
        send_timestamps=good[order] / 1e9, forces=force[order], alines=profile[order],
    )  # fmt: skip
    written, report = imported(folder)
    stamps, forces, _ = written.sensor()
    kept = np.delete(np.arange(len(good)), [700, *range(998, 1011)])
    assert np.array_equal(stamps, good[kept]) and np.array_equal(forces, force[kept])
    assert report.count('duplicate_stamp', 'sensor') == 2
    assert report.count('not_finite') == 1
    assert report.count('lost_samples') == 14
    assert written.messages('sensor/samples')[-1].lost_total == 14
    assert written.closed['loss']['/sensor/samples']['lost_source'] == 14


def test_several_sensor_files_of_a_session_become_one_stream(tmp_path):
    folder = make_recv_all(tmp_path, sensor=False)
    stamps = grid(650.0)
    force, profile = samples(stamps)
    for name, part in (('b', slice(0, 900)), ('a', slice(900, None))):
        values = {'forces': force[part], 'alines': profile[part]}
        when = stamps[part] / 1e9
        path = folder / f'sensor_data_{name}.npz'
        np.savez(path, timestamps=when, send_timestamps=when, **values)
    assert np.array_equal(imported(folder)[0].sensor()[1], force)


def test_defects_of_the_robot_csv_are_counted(tmp_path):
    folder = make_recv_all(tmp_path, sensor=False)
    path = folder / 'robot_state_20251027_170308.csv'
    rows = robot_rows()
    rows = np.concatenate([rows[:50], rows[49:]])  # one row twice
    rows[80, 6] = np.nan
    write_csv(path, rows)
    with path.open('a') as file:
        file.write('1761551504.1,17615')  # the writer was killed here
    written, report = imported(folder)
    assert report.count('broken_row') == 1 and report.count('bad_row') == 1
    assert report.count('duplicate_stamp', 'robot') == 1
    assert len(written.entries['robot/joint_states']) == len(robot_rows()) - 1


def test_broken_images_and_names_without_a_time_are_counted(tmp_path):
    folder = make_recv_all(tmp_path, sensor=False)
    (folder / 'View5' / f'oak_CAM_A_{START_NS / 1e9 + 3.9:.3f}.jpg').write_bytes(jpeg(True)[:-40])
    (folder / 'View5' / 'thumbnail.jpg').write_bytes(jpeg(False))
    written, report = imported(folder)
    assert report.count('bad_jpeg', 'view5') == 1 and report.count('no_time_in_name', 'view5') == 1
    assert len(written.entries['cameras/view5/image_raw/compressed']) == 19
    assert report.streams['view5']['count'] == 19


@pytest.mark.parametrize(
    ('spoil', 'expected'),
    [
        (lambda f: next(f.glob('*.csv')).write_text('a,b\n1,2\n'), 'columns missing: joint_1'),
        (lambda f: next(f.glob('*.npz')).write_bytes(b'PK rubbish'), 'not a readable npz'),
        (lambda f: (f / 'robot_state_2.csv').write_text('x\n'), 'several robot CSV files'),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line_that_names_the_file(tmp_path, spoil, expected):
    folder = make_recv_all(tmp_path)
    spoil(folder)
    with pytest.raises(LegacyDataError, match=expected) as caught:
        imported(folder)
    assert str(folder) in str(caught.value) and '\n' not in str(caught.value)


def test_pickled_arrays_are_refused(tmp_path):
    folder = make_recv_all(tmp_path, sensor=False)
    np.savez(folder / 'sensor_data_1.npz', timestamps=np.array([{}, 1], object))
    with pytest.raises(LegacyDataError, match='pickled'):
        imported(folder)
