"""Counters and stamps out of serialized messages, without decoding them.

Used by the loss account for every message of a recording, so a few microseconds count: a decoded
SensorBatch of 20 kB costs fifty times as much. Little-endian CDR version 1, as every ROS 2
middleware writes it; the tests compare with messages serialized by rosbags.
"""

import struct

NS = 1_000_000_000
LITTLE_ENDIAN = b'\x00\x01'
_START = 4  # bytes of the encapsulation; alignment counts from behind them
_STAMP = struct.Struct('<iII')  # seconds, nanoseconds, length of frame_id with its final NUL
_UINT32 = struct.Struct('<I')
_UINT64 = struct.Struct('<Q')
_THREE = struct.Struct('<QQQ')


def header_stamp_ns(data: bytes) -> int:
    """Return header.stamp of a message that begins with a std_msgs/Header, Unix ns."""
    seconds, nanoseconds, _ = _STAMP.unpack_from(data, _START)
    return seconds * NS + nanoseconds


def uint64_after_header(data: bytes) -> int:
    """Return the uint64 behind the header: ActionChunk.chunk_id, VLFeatureInfo.feature_id."""
    return _UINT64.unpack_from(data, _aligned(_behind_header(data, _START), 8))[0]


def uint64_after_two_headers(data: bytes) -> int:
    """Return the uint64 behind two headers: VLFeatures.info.feature_id."""
    second = _aligned(_behind_header(data, _START), 4)
    return _UINT64.unpack_from(data, _aligned(_behind_header(data, second), 8))[0]


def sensor_counters(data: bytes) -> tuple[int, int, int]:
    """Return sequence, received_total and lost_total of a vla_msgs/SensorBatch."""
    offset = _sequence_end(data, _behind_header(data, _START), 8)  # stamp_ns
    offset = _sequence_end(data, offset, 4)  # force_n
    offset = _aligned(offset, 4) + 4  # profile_length
    offset = _sequence_end(data, offset, 4)  # profile
    return _THREE.unpack_from(data, _aligned(offset, 8))


def _behind_header(data: bytes, start: int) -> int:
    """Offset behind the frame_id of the header at `start`."""
    return start + _STAMP.size + _STAMP.unpack_from(data, start)[2]


def _sequence_end(data: bytes, offset: int, item_bytes: int) -> int:
    offset = _aligned(offset, 4)
    (count,) = _UINT32.unpack_from(data, offset)
    offset += 4
    return _aligned(offset, item_bytes) + count * item_bytes if count else offset


def _aligned(offset: int, size: int) -> int:
    return _START + -(-(offset - _START) // size) * size
