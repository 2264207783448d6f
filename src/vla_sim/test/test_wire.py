"""The simulator's program and real sockets on loopback."""

from collections import Counter
import io

import numpy as np
from PIL import Image
import pytest
from wire_tools import run_and_receive

from vla_core.arms import meca500 as kin
from vla_core.errors import WireFormatError
from vla_core.wire import camera_frame, oct_force, robot_state
from vla_sim.camera_stream import CAMERA_NAMES

PERIOD_650_NS = 1e9 / 650


def decode_all(decoder, messages):
    """Decoded messages and the number of those that were refused."""
    good, refused = [], 0
    for message in messages:
        try:
            good.append(decoder(message))
        except WireFormatError:
            refused += 1
    return good, refused


@pytest.fixture(scope='module')
def clean(tmp_path_factory):
    return run_and_receive(tmp_path_factory.mktemp('wire'))


def test_sensor_samples_received_equal_those_sent(clean):
    receiver, stats = clean
    records = [oct_force.decode(data) for data in receiver.sensor]
    assert sum(len(r.force) for r in records) == stats['sensor_samples_sent'] > 1000
    assert {len(r.force) for r in records} == {5}
    assert not stats['streams']['sensor']['send_errors']


def test_sensor_capture_times_are_an_exact_grid(clean):
    receiver, stats = clean
    records = [oct_force.decode(data) for data in receiver.sensor]
    capture = np.concatenate([r.capture_ns for r in records])
    np.testing.assert_allclose(np.diff(capture), PERIOD_650_NS, atol=2500)
    assert abs(capture[0] - stats['first_capture_ns']['sensor']) < 2000
    assert abs(capture[-1] - stats['last_capture_ns']['sensor']) < 2000
    assert all((r.send_ns >= r.capture_ns - 2000).all() for r in records)


def test_sensor_signal_is_alive_and_plausible(clean):
    receiver, _ = clean
    records = [oct_force.decode(data) for data in receiver.sensor]
    profile = np.concatenate([r.profile for r in records])
    assert profile.mean() == pytest.approx(50, abs=6)
    assert np.concatenate([r.force for r in records]).mean() == pytest.approx(1.0, abs=0.05)
    assert len({row.tobytes() for row in profile}) == len(profile)


def test_images_received_equal_those_sent(clean):
    receiver, stats = clean
    frames = [camera_frame.decode(parts) for parts in receiver.cameras]
    received = Counter(frame.camera for frame in frames)
    for view, name in CAMERA_NAMES['new'].items():
        assert received[name] == stats['images_sent'][view] >= 8
    assert all(frame.send_ns is None for frame in frames)


def test_views_share_a_trigger_and_every_image_is_new(clean):
    receiver, stats = clean
    frames = [camera_frame.decode(parts) for parts in receiver.cameras]
    triggers = Counter(frame.stamp_ns for frame in frames)
    assert set(triggers.values()) == {5}
    np.testing.assert_allclose(np.diff(sorted(triggers)), 200e6, atol=2000)
    assert abs(max(triggers) - stats['last_capture_ns']['view1']) < 2000
    assert len({frame.jpeg for frame in frames}) == len(frames)


def test_images_are_baseline_jpeg_of_the_wanted_size(clean):
    receiver, _ = clean
    frame = camera_frame.decode(receiver.cameras[0])
    picture = Image.open(io.BytesIO(frame.jpeg))
    assert (picture.format, picture.size, picture.mode) == ('JPEG', (64, 36), 'RGB')
    assert not picture.info.get('progressive')


def test_robot_states_have_no_gaps_up_to_the_last_one_sent(clean):
    receiver, stats = clean
    assert all(len(parts) == 2 and parts[0] == robot_state.TOPIC for parts in receiver.robot)
    states = [robot_state.decode(parts[1]) for parts in receiver.robot]
    origin = np.array([state.origin_ns for state in states])
    np.testing.assert_allclose(np.diff(origin), 10e6, atol=2500)
    assert abs(origin[-1] - stats['last_capture_ns']['robot']) < 2000
    assert stats['robot_states_sent'] - len(states) < 20, 'only those before the subscription'


def test_robot_pose_is_that_of_its_joints(clean):
    receiver, _ = clean
    state = robot_state.decode(receiver.robot[-1][1])
    position, rotation = kin.forward(state.joint_rad)
    np.testing.assert_allclose(state.position_m, position, atol=1e-6)
    np.testing.assert_allclose(state.euler_rad, kin.euler_rad(rotation), atol=1e-5)


def test_nothing_was_skipped_late_or_dropped(clean):
    _, stats = clean
    for counts in stats['streams'].values():
        assert not any(value for name, value in counts.items() if name != 'sent'), counts


def test_variant_b_and_old_camera_names_with_right_eyes(tmp_path):
    receiver, stats = run_and_receive(
        tmp_path, '--variant=b', '--camera-names=old', '--right-eyes', '--rate=50', seconds=1.0
    )
    assert {len(data) for data in receiver.sensor} == {oct_force.RECORD_BYTES}
    assert len(receiver.sensor) == stats['sensor_samples_sent']
    frames = [camera_frame.decode(parts) for parts in receiver.cameras]
    received = Counter(frame.camera for frame in frames)
    assert received['zed_41182735_left'] == received['zed_41182735_right']
    assert received['oak_CAM_A'] == stats['images_sent']['view5'] > 0
    assert not any(name.startswith('oak') and name.endswith('right') for name in received)
    assert all(frame.send_ns >= frame.stamp_ns for frame in frames)
    origin = [robot_state.decode(parts[1]).origin_ns for parts in receiver.robot]
    np.testing.assert_allclose(np.diff(origin), 20e6, atol=2500)


def test_every_fault_on_the_wire_is_counted(tmp_path):
    receiver, stats = run_and_receive(
        tmp_path,
        *('--loss=0.1', '--duplicate=0.1', '--reorder=0.1', '--corrupt=0.1', '--delay-ms=20'),
        seconds=3.0,
    )
    records, refused = decode_all(oct_force.decode, receiver.sensor)
    sensor = stats['streams']['sensor']
    assert refused * 5 == sensor['corrupted'] > 0
    assert sum(len(r.force) for r in records) == expected(sensor)
    stamps = [int(r.capture_ns[0]) for r in records]
    assert stamps != sorted(stamps) and len(set(stamps)) < len(stamps)
    frames, refused = decode_all(camera_frame.decode, receiver.cameras)
    views = [counts for name, counts in stats['streams'].items() if name.startswith('view')]
    assert refused == sum(counts['corrupted'] for counts in views) > 0
    assert len(frames) == sum(expected(counts) for counts in views)
    assert stats['streams']['robot']['lost'] > 0
    _, refused = decode_all(lambda parts: robot_state.decode(parts[1]), receiver.robot)
    assert 0 < refused <= stats['streams']['robot']['corrupted']


def expected(counts):
    """Good units that must have arrived."""
    return counts['sent'] - counts['lost'] - counts['corrupted'] + counts['duplicated']


def test_frozen_streams_repeat_their_content_under_new_stamps(tmp_path):
    receiver, stats = run_and_receive(
        tmp_path, '--freeze=sensor@0.5', '--freeze=view2@0.5', '--freeze=robot@0.5', seconds=1.6
    )
    records = [oct_force.decode(data) for data in receiver.sensor]
    late = np.concatenate([r.profile for r in records])[-300:]
    assert len({row.tobytes() for row in late}) == 1
    frames = [camera_frame.decode(parts) for parts in receiver.cameras]
    pictures = {
        name: [f.jpeg for f in frames if f.camera == name][-3:]
        for name in ('ZED_49429257_left', 'OAK')
    }
    assert len(set(pictures['ZED_49429257_left'])) == 1
    assert len(set(pictures['OAK'])) == 3
    joints = [robot_state.decode(parts[1]).joint_rad.tobytes() for parts in receiver.robot]
    assert len(set(joints[-50:])) == 1 < len(set(joints))
    for stream in ('sensor', 'view2', 'robot'):
        assert stats['streams'][stream]['frozen'] > 0
    assert stats['streams']['view1']['frozen'] == 0


@pytest.mark.parametrize('device', ['robot', 'cameras', 'sensor'])
def test_each_device_runs_alone(tmp_path, device):
    receiver, stats = run_and_receive(tmp_path, f'--only={device}', seconds=0.8)
    got = {
        'robot': len(receiver.robot),
        'cameras': len(receiver.cameras),
        'sensor': len(receiver.sensor),
    }
    assert got.pop(device) > 0
    assert not any(got.values())
    assert (stats['robot_states_sent'] > 0) == (device == 'robot')


def test_a_device_alone_takes_its_own_rate_and_variant_of_batch(tmp_path):
    receiver, stats = run_and_receive(
        tmp_path, '--only=sensor', '--rate=700', '--batch=15', seconds=0.8
    )
    capture = np.concatenate([oct_force.decode(data).capture_ns for data in receiver.sensor])
    np.testing.assert_allclose(np.diff(capture), 1e9 / 700, atol=2500)
    assert len(capture) == stats['sensor_samples_sent']


def test_images_without_a_receiver_are_counted_as_dropped(tmp_path):
    _, stats = run_and_receive(tmp_path, '--only=cameras', '--target=127.0.0.2', seconds=0.8)
    view = stats['streams']['view1']
    assert view['dropped'] == view['sent'] > 0
    assert stats['images_sent']['view1'] == 0
