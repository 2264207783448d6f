"""The short cut through the bytes gives what the whole decoding gives, or gives up."""

from bags import STORE, TYPES
from hypothesis import given
from hypothesis import strategies as st
import numpy as np

from vla_data.samples import cdr

TEXT = st.text(st.characters(codec='utf-8', exclude_characters='\x00'), max_size=9)
FLOATS = st.lists(st.floats(allow_nan=False), max_size=7)
SECONDS, NANOSECONDS = st.integers(-5, 2**31 - 1), st.integers(0, 999_999_999)
POSE = 'geometry_msgs/msg/PoseStamped'
JOINTS = 'sensor_msgs/msg/JointState'
IMAGE = 'sensor_msgs/msg/CompressedImage'


def header(seconds, nanoseconds, frame):
    time = TYPES['builtin_interfaces/msg/Time'](seconds, nanoseconds)
    return TYPES['std_msgs/msg/Header'](time, frame)


def serialised(message, kind, **how):
    return bytes(STORE.serialize_cdr(message, kind, **how))


@given(SECONDS, NANOSECONDS, TEXT, st.lists(st.floats(allow_nan=False), min_size=7, max_size=7))
def test_a_pose_is_read_as_it_was_written(seconds, nanoseconds, frame, values):
    pose = TYPES['geometry_msgs/msg/Pose'](
        TYPES['geometry_msgs/msg/Point'](*values[:3]),
        TYPES['geometry_msgs/msg/Quaternion'](*values[3:]),
    )
    message = TYPES[POSE](header(seconds, nanoseconds, frame), pose)
    data = serialised(message, POSE)
    stamp_ns, position_m, quat = cdr.pose_stamped(data)
    assert stamp_ns == seconds * 10**9 + nanoseconds
    assert [*position_m, *quat] == values
    assert cdr.pose_stamped(serialised(message, POSE, little_endian=False)) is None
    assert all(cdr.pose_stamped(data[:size]) is None for size in range(len(data)))


@given(SECONDS, NANOSECONDS, TEXT, st.lists(TEXT, max_size=4), FLOATS, FLOATS)
def test_joints_are_read_as_they_were_written(sec, nanosec, frame, names, position, other):
    arrays = [np.array(values, np.float64) for values in (position, other, position)]
    data = serialised(TYPES[JOINTS](header(sec, nanosec, frame), names, *arrays), JOINTS)
    stamp_ns, angles = cdr.joint_state(data)
    assert stamp_ns == sec * 10**9 + nanosec and angles.tolist() == position
    assert angles.dtype == np.float64
    assert all(cdr.joint_state(data[:size]) is None for size in range(len(data) - 3))


@given(SECONDS, NANOSECONDS, TEXT, TEXT, st.binary(max_size=50))
def test_an_image_is_read_as_it_was_written(seconds, nanoseconds, frame, form, jpeg):
    content = np.frombuffer(jpeg, np.uint8)
    message = TYPES[IMAGE](header(seconds, nanoseconds, frame), form, content)
    data = serialised(message, IMAGE)
    assert cdr.compressed_image(data) == (seconds * 10**9 + nanoseconds, jpeg)
    assert cdr.compressed_image(data + b'1234') is None


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_given_up_without_an_error(data):
    for start in (b'', b'\x00\x01\x00\x00'):
        for read in (cdr.pose_stamped, cdr.joint_state, cdr.compressed_image):
            read(start + data)
