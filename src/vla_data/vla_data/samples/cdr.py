"""The few fields that samples need, straight out of the serialised bytes of standard messages.

Called by `feed` for every message of the robot and the cameras: a tenth of the time of building
the message, which is most of the time of reading. Deliberately gives up (None) on whatever is not
exactly as expected; the caller then has the whole message decoded, which also finds the error.
"""

import struct

import numpy as np

from vla_core.timebase import NS

LITTLE_ENDIAN = b'\x00\x01'  # encapsulation; alignment counts from the byte after these four
_HEADER = struct.Struct('<iII')  # seconds, nanoseconds, length of frame_id
_LENGTH = struct.Struct('<I')
_POSE = struct.Struct('<7d')

Pose = tuple[int, np.ndarray, np.ndarray]


def pose_stamped(data: bytes) -> Pose | None:
    """geometry_msgs/PoseStamped: stamp ns, position (3,) m, quaternion (4,) xyzw."""
    try:
        stamp_ns, at = _header(data)
        at = _aligned(at, 8)
        if not 0 <= len(data) - at - _POSE.size < 4:
            return None
        values = _POSE.unpack_from(data, at)
    except (struct.error, ValueError):
        return None
    return stamp_ns, np.array(values[:3]), np.array(values[3:])


def joint_state(data: bytes) -> tuple[int, np.ndarray] | None:
    """sensor_msgs/JointState: stamp ns, positions (J,) float64 rad."""
    try:
        stamp_ns, at = _header(data)
        at = _aligned(at, 4)
        (names,) = _LENGTH.unpack_from(data, at)
        at += 4
        for _ in range(names):
            at = _skip_string(data, _aligned(at, 4))
        for number in range(3):  # position, velocity, effort
            at = _aligned(at, 4)
            (count,) = _LENGTH.unpack_from(data, at)
            at = _aligned(at + 4, 8) if count else at + 4
            if number == 0:
                position = np.frombuffer(data, '<f8', count, at) if count else np.zeros(0)
            at += 8 * count
    except (struct.error, ValueError):
        return None
    return (stamp_ns, position) if 0 <= len(data) - at < 4 else None


def compressed_image(data: bytes) -> tuple[int, bytes] | None:
    """sensor_msgs/CompressedImage: stamp ns, the compressed bytes."""
    try:
        stamp_ns, at = _header(data)
        at = _aligned(_skip_string(data, _aligned(at, 4)), 4)
        (count,) = _LENGTH.unpack_from(data, at)
    except (struct.error, ValueError):
        return None
    at += 4
    return (stamp_ns, bytes(data[at : at + count])) if 0 <= len(data) - at - count < 4 else None


def _header(data: bytes) -> tuple[int, int]:
    """Stamp ns of a std_msgs/Header at the start, and where it ends."""
    if data[:2] != LITTLE_ENDIAN:
        raise ValueError('not little-endian CDR')
    seconds, nanoseconds, length = _HEADER.unpack_from(data, 4)
    return seconds * NS + nanoseconds, 4 + _HEADER.size + length


def _skip_string(data: bytes, at: int) -> int:
    return at + 4 + int(_LENGTH.unpack_from(data, at)[0])


def _aligned(at: int, size: int) -> int:
    return at + (4 - at) % size
