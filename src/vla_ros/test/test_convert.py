"""Messages <-> numpy and nanoseconds."""

import array

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage

from vla_core.errors import WireFormatError
from vla_core.freshness import Reaction
from vla_msgs.msg import ActionChunk, SensorBatch, VLFeatures
from vla_ros import convert


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_a_stamp_survives_the_round_trip(stamp_ns):
    assert convert.to_ns(convert.to_time(stamp_ns)) == stamp_ns


@given(st.integers(1, 15), st.integers(1, 50))
def test_a_sensor_batch_survives_the_round_trip(count, length):
    stamps_ns = np.arange(count, dtype=np.int64) * 1_538_461 + 1_700_000_000_000_000_000
    force_n = np.linspace(0, 1, count, dtype=np.float32)
    profile = np.arange(count * length, dtype=np.float32).reshape(count, length)
    message = convert.sensor_batch(stamps_ns, force_n, profile)
    back = convert.sensor_arrays(message)
    assert all((a == b).all() for a, b in zip(back, (stamps_ns, force_n, profile)))
    assert convert.to_ns(message.header.stamp) == stamps_ns[-1]
    _, samples = convert.sensor_matrix(message)
    assert (samples[:, 0] == force_n).all()
    assert (samples[:, 1:] == profile).all()


def test_message_fields_are_arrays_so_that_publishing_does_not_copy_by_element():
    message = convert.sensor_batch(
        np.array([5], np.int64), np.ones(1, np.float32), np.ones((1, 4), np.float32)
    )
    assert all(
        isinstance(field, array.array)
        for field in (message.stamp_ns, message.force_n, message.profile)
    )


def test_a_sensor_batch_whose_sizes_disagree_is_refused():
    message = SensorBatch(stamp_ns=[1, 2], force_n=[0.0], profile_length=3, profile=[0.0] * 6)
    with pytest.raises(WireFormatError, match='bad_shape'):
        convert.sensor_arrays(message)
    with pytest.raises(ValueError, match='shapes'):
        convert.sensor_batch(np.zeros(2, np.int64), np.zeros(1), np.zeros((2, 3)))


@pytest.mark.parametrize('dtype', [np.float16, np.float32])
def test_features_survive_the_round_trip(dtype):
    tokens = np.random.default_rng(0).normal(size=(81, 64)).astype(dtype)
    message = VLFeatures()
    convert.set_features(message, tokens)
    assert (convert.features_array(message) == tokens).all()
    message.info.tokens = 80
    with pytest.raises(WireFormatError, match='bad_shape'):
        convert.features_array(message)
    message.dtype = 'object'
    with pytest.raises(WireFormatError, match='bad_dtype'):
        convert.features_array(message)


def test_a_chunk_survives_the_round_trip():
    delta = np.arange(48, dtype=np.float64).reshape(8, 6)
    stamps_ns = [1_700_000_000_000_000_000 + k * 100_000_000 for k in range(8)]
    message = ActionChunk()
    convert.set_chunk_steps(message, stamps_ns, delta)
    back_ns, back = convert.chunk_steps(message)
    assert back_ns.tolist() == stamps_ns
    assert (back == delta).all()
    with pytest.raises(ValueError, match='step stamps'):
        convert.set_chunk_steps(message, stamps_ns[:3], delta)


def test_a_chunk_for_the_gate_has_all_that_the_gate_judges():
    delta = np.arange(48, dtype=np.float64).reshape(8, 6)
    message = ActionChunk(
        chunk_id=7,
        reaction=ActionChunk.MARK,
        reasons=['images: old'],
        checkpoint_hash='a',
        contract_hash='b',
        committed_steps=2,
    )
    message.header.stamp, message.header.frame_id = convert.to_time(5), 'base_link'
    convert.set_chunk_steps(message, range(8), delta)
    chunk = convert.timed_chunk(message)
    assert (chunk.chunk_id, chunk.made_ns, chunk.frame) == (7, 5, 'base_link')
    assert (chunk.reaction, chunk.reasons) == (Reaction.MARK, ('images: old',))
    assert (chunk.checkpoint_hash, chunk.contract_hash, chunk.committed_steps) == ('a', 'b', 2)
    assert chunk.step_stamps_ns.tolist() == list(range(8))
    assert (chunk.delta == delta).all()


@pytest.mark.parametrize(
    ('steps', 'dims', 'numbers'), [(8, 6, 10), (0, 0, 6), (8, 0, 0), (3, 7, 0)]
)
def test_a_malformed_chunk_is_handed_on_for_the_gate_to_refuse(steps, dims, numbers):
    message = ActionChunk(dims=dims, delta=[0.0] * numbers, reaction=200)
    message.step_stamps = convert.to_times(range(steps))
    chunk = convert.timed_chunk(message)
    assert chunk.delta.shape != (8, 6)
    assert chunk.reaction is Reaction.STOP


def test_joint_speeds_are_passed_on_where_they_are_measured():
    message = convert.joint_state(7, ['a'], np.array([0.1]), np.array([0.5]))
    assert list(message.velocity) == [0.5]
    assert list(convert.joint_state(7, ['a'], np.array([0.1])).velocity) == []


def test_joints_and_pose_survive_the_round_trip():
    joints = convert.joint_state(7, ['a', 'b'], np.array([0.1, -2.0]))
    assert convert.joint_positions(joints).tolist() == [0.1, -2.0]
    pose = convert.pose_stamped(7, 'base_link', np.array([1, 2, 3.0]), np.array([0, 0, 0, 1.0]))
    position_m, quat_xyzw = convert.pose_arrays(pose)
    assert position_m.tolist() == [1, 2, 3]
    assert quat_xyzw.tolist() == [0, 0, 0, 1]
    assert convert.to_ns(pose.header.stamp) == 7


def test_a_jpeg_passes_untouched_and_decodes_to_rgb():
    cv2 = pytest.importorskip('cv2')
    red = np.zeros((36, 64, 3), np.uint8)
    red[:, :, 2] = 255  # OpenCV: BGR
    jpeg = cv2.imencode('.jpg', red)[1].tobytes()
    message = convert.compressed_image(5, 'view1', jpeg)
    assert bytes(message.data) == jpeg
    image = convert.compressed_to_rgb(message)
    assert image.shape == (36, 64, 3)
    assert image[10, 10, 0] > 200 > 50 > image[10, 10, 2]


@pytest.mark.parametrize('data', [b'', b'\xff\xd8\xff\xd9', b'not a picture'])
def test_a_broken_jpeg_is_a_typed_error(data):
    message = CompressedImage(format='jpeg', data=convert.to_bytes_array(data))
    with pytest.raises(WireFormatError, match='bad_image'):
        convert.compressed_to_rgb(message)
