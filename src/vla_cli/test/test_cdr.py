"""Stamps read from serialized messages are those that rclpy reads."""

import numpy as np
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage

from vla_cli.bench.cdr import header_stamp_ns, sensor_stamps_ns
from vla_ros import convert


@pytest.mark.parametrize('frame', ['', 'a', 'ab', 'abc', 'needle_tip', 'x' * 50])
@pytest.mark.parametrize('count', [1, 5, 15])
def test_stamps_of_a_batch_are_read_whatever_the_length_of_the_frame_name(frame, count):
    stamps = 1_700_000_000_000_000_000 + np.arange(count, dtype=np.int64) * 1_538_461
    message = convert.sensor_batch(
        stamps, np.zeros(count, np.float32), np.zeros((count, 1025), np.float32)
    )
    message.header.frame_id = frame
    data = serialize_message(message)
    assert sensor_stamps_ns(data).tolist() == stamps.tolist()
    assert header_stamp_ns(data) == stamps[-1]


def test_stamp_of_an_image_is_read():
    message = convert.compressed_image(1_700_000_000_123_456_789, 'view1', b'jpeg')
    assert isinstance(message, CompressedImage)
    assert header_stamp_ns(serialize_message(message)) == 1_700_000_000_123_456_789
