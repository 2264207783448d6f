"""Import of collector episodes: overlapping windows become one stream with right times."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from legacy_folders import (
    BINS,
    collector_windows,
    EVENT_NS,
    grid,
    make_collector,
    pose_mm_deg,
    samples,
)
import numpy as np
import pytest
from test_import_recv_all import assert_step_is_aligned
from written import imported

from vla_data.importing.options import ImportOptions
from vla_data.importing.report import ImportReport, LegacyDataError
from vla_data.importing.windows import read_windows

MS = 1_000_000
SENSOR = grid(650.0, 0.0007)


@pytest.fixture(scope='module')
def result(tmp_path_factory):
    return imported(make_collector(tmp_path_factory.mktemp('legacy')), task='insert the needle')


def test_the_planted_step_is_aligned_in_every_stream(result):
    steps = result[0].step_times()
    assert len(steps) == 8
    assert_step_is_aligned(steps)


def test_overlapping_windows_become_one_stream_without_duplicates(result):
    stamps, force, profile = result[0].sensor()
    count = len(stamps)
    assert 650 < count <= len(SENSOR)
    assert np.array_equal(force, samples(SENSOR)[0][:count])
    assert np.array_equal(profile, samples(SENSOR)[1][:count])
    assert np.abs(stamps - SENSOR[:count]).max() < 10_000  # 10 microseconds
    assert result[1].has('overlapping_windows')


def test_task_and_the_recording_s_own_metadata_are_kept(result):
    written, _ = result
    assert written.messages('task')[0].data == 'insert the needle'
    assert written.closed['extra']['legacy']['metadata']['sensor_hz'] == 650


def test_samples_beside_lost_ones_are_left_out_because_their_time_is_unknown(tmp_path):
    keep = np.delete(np.arange(len(SENSOR)), slice(1000, 1015))
    written, report = imported(make_collector(tmp_path, keep=keep))
    stamps, _, profile = written.sensor()
    assert np.abs(stamps - SENSOR[profile[:, 0].astype(int)]).max() < MS
    assert 50 < report.count('uncertain_time') < 150
    assert len(stamps) + report.count('uncertain_time') <= len(keep)


@settings(max_examples=20)
@given(
    every_s=st.floats(0.05, 1.5),
    lost=st.lists(st.tuples(st.integers(650, 2400), st.integers(1, 40)), max_size=3),
    drift=st.floats(-1e-3, 1e-3),
)
def test_whatever_was_lost_no_sample_is_doubled_or_misdated(
    tmp_path_factory, every_s, lost, drift
):
    stamps = grid(650.0 * (1 + drift), 0.0007)
    keep = np.ones(len(stamps), bool)
    for start, count in lost:
        keep[start : start + count] = False
    times, data = collector_windows(stamps, every_s=every_s, keep=keep)
    path = tmp_path_factory.mktemp('w') / 'sensor_data.npz'
    np.savez(path, timestamps=times, data=data)
    stream = read_windows(path, 650.0, ImportOptions(), ImportReport('x', 'collector'))
    got = list(stream.blocks())
    when = np.concatenate([block[0] for block in got])
    which = np.concatenate([block[2][:, 0] for block in got]).astype(int)
    assert (np.diff(when) > 0).all() and (np.diff(which) > 0).all()
    assert len(when) == stream.count
    dated_back = every_s >= 0.95  # windows that do not overlap hold losses nobody can see
    assert dated_back or np.abs(when - stamps[which]).max() < 1.1 * MS


def test_windows_that_do_not_overlap_leave_a_gap(tmp_path):
    times, data = collector_windows(grid(650.0, seconds=8.0), every_s=1.4)
    folder = make_collector(tmp_path, sensor=False)
    np.savez(folder / 'sensor_data.npz', timestamps=times, data=data)
    written, report = imported(folder)
    stamps = written.sensor()[0]
    assert len(stamps) == 650 * len(times)
    assert report.has('nominal_rate') and report.count('lost_samples') > 200


def test_a_window_of_zeros_is_dropped_and_counted(tmp_path):
    times, data = collector_windows(SENSOR)
    data[3] = 0
    folder = make_collector(tmp_path, sensor=False)
    np.savez(folder / 'sensor_data.npz', timestamps=times, data=data)
    written, report = imported(folder)
    assert report.count('zero_window') == 1
    assert (written.sensor()[1] > 0.5).all()


def test_missing_sensor_is_absent(tmp_path):
    written, report = imported(make_collector(tmp_path, sensor=False))
    assert 'sensor/samples' not in written.types and report.has('no_sensor')


def test_float32_window_times_are_refused(tmp_path):
    folder = make_collector(tmp_path, sensor=False)
    times, data = collector_windows(SENSOR)
    for stored in (times.astype('f4'), times.astype('f4').astype('f8')):
        np.savez(folder / 'sensor_data.npz', timestamps=stored, data=data)
        with pytest.raises(LegacyDataError, match='float32 times of 128 s'):
            imported(folder)


def test_robot_states_of_the_later_npz_have_poses_only(tmp_path):
    folder = make_collector(tmp_path, sensor=False)
    (folder / 'robot_states.csv').unlink()
    stamps = grid(100.0, 0.0031)
    np.savez(folder / 'robot_states.npz', timestamps=stamps / 1e9, poses=pose_mm_deg(stamps))
    written, report = imported(folder)
    assert 'robot/joint_states' not in written.types and report.has('no_joints')
    before, after = (
        [t for t, m in written.stamped('robot/tcp_pose') if m.pose.position.x < 0.2005][-1],
        [t for t, m in written.stamped('robot/tcp_pose') if m.pose.position.x > 0.2005][0],
    )
    assert before < EVENT_NS <= after


def test_derived_actions_are_not_taken_over(tmp_path):
    folder = make_collector(tmp_path, sensor=False)
    np.savez(folder / 'actions.npz', actions=np.zeros((3, 7)))
    assert imported(folder)[1].has('derived_actions')


def test_metadata_that_is_no_json_is_named(tmp_path):
    folder = make_collector(tmp_path, sensor=False)
    (folder / 'metadata.json').write_text('{"a": ')
    with pytest.raises(LegacyDataError, match='metadata.json: not readable as JSON'):
        imported(folder)


def test_padded_windows_lose_their_zeros(tmp_path):
    times, data = collector_windows(SENSOR)
    data[0, :100] = 0
    folder = make_collector(tmp_path, sensor=False)
    np.savez(folder / 'sensor_data.npz', timestamps=times[:1], data=data[:1])
    written, _ = imported(folder)
    assert len(written.sensor()[0]) == 550 and written.sensor()[2].shape[1] == BINS


def test_the_report_can_be_stored_as_json(result):
    json.dumps(result[0].closed)
