"""Stamps out of serialized messages, without making message objects of 20 kB arrays.

Used by the benchmark, which must not disturb what it measures: a full SensorBatch costs rclpy 0.2
ms, its stamps alone a hundredth. Little-endian CDR version 1, as every ROS 2 middleware writes it;
tests compare with rclpy.
"""

import struct

import numpy as np

NS = 1_000_000_000
_ENCAPSULATION = 4  # bytes before the data; alignment counts from behind them
_STAMP = struct.Struct('<iI')
_LENGTH = struct.Struct('<I')


def header_stamp_ns(data: bytes) -> int:
    """Return header.stamp of any message that begins with a std_msgs/Header."""
    seconds, nanoseconds = _STAMP.unpack_from(data, _ENCAPSULATION)
    return seconds * NS + nanoseconds


def sensor_stamps_ns(data: bytes) -> np.ndarray:
    """Return stamp_ns (N,) int64 of a serialized vla_msgs/SensorBatch."""
    offset = _ENCAPSULATION + _STAMP.size
    (length,) = _LENGTH.unpack_from(data, offset)  # frame_id, its final NUL included
    offset = _aligned(offset + _LENGTH.size + length, 4)
    (count,) = _LENGTH.unpack_from(data, offset)
    return np.frombuffer(data, '<i8', count, _aligned(offset + _LENGTH.size, 8))


def _aligned(offset: int, size: int) -> int:
    return _ENCAPSULATION + -(-(offset - _ENCAPSULATION) // size) * size
