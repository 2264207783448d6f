"""Robot state on the wire: 68 bytes `<ddf12f`, the second frame of a ZMQ PUB message.

f64 origin time, f64 send time (Unix s), f32 force, 6 f32 joints (deg), 3 f32 position (mm), 3 f32
Mecademic Euler angles (deg, mobile XYZ). Inside the suite: ns, N, rad, m. The origin time is
stamped at publishing, so freshness must be judged by change too (`freshness.ContentTracker`).
"""

from dataclasses import dataclass
import struct

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import WireFormatError
from vla_core.wire.times import decode_time, encode_time

TOPIC = b'robot_state'
MESSAGE_BYTES = 68
_FORMAT = struct.Struct('<ddf12f')
_DEG_PER_RAD = 180.0 / np.pi
_MM_PER_M = 1000.0


@dataclass(frozen=True, eq=False)
class RobotState:
    """One state of the arm. Pose: TCP in the robot's base frame."""

    origin_ns: int
    send_ns: int
    force_n: float  # always 0 from the legacy sender
    joint_rad: NDArray[np.float64]  # (6,)
    position_m: NDArray[np.float64]  # (3,)
    euler_rad: NDArray[np.float64]  # (3,) Mecademic a, b, r: mobile (intrinsic) XYZ


def encode(state: RobotState) -> bytes:
    """Return the 68 bytes; 'not_finite', 'bad_time' or 'bad_shape' if it cannot be sent."""
    joint_deg = _vector(state.joint_rad, 6, 'joints') * _DEG_PER_RAD
    position_mm = _vector(state.position_m, 3, 'position') * _MM_PER_M
    euler_deg = _vector(state.euler_rad, 3, 'Euler angles') * _DEG_PER_RAD
    numbers = np.concatenate([[state.force_n], joint_deg, position_mm, euler_deg])
    # Also refuses what would overflow f32.
    if not (np.abs(numbers) <= np.finfo(np.float32).max).all():
        raise WireFormatError('not_finite', 'robot state holds a number that is not finite')
    return _FORMAT.pack(encode_time(state.origin_ns), encode_time(state.send_ns), *numbers)


def decode(data: bytes) -> RobotState:
    """Read 68 bytes; WireFormatError 'bad_length', 'bad_time' or 'not_finite'."""
    if len(data) != MESSAGE_BYTES:
        raise WireFormatError(
            'bad_length', f'robot state of {len(data)} bytes, not {MESSAGE_BYTES}'
        )
    origin_s, send_s, *rest = _FORMAT.unpack(data)
    numbers = np.array(rest, np.float64)
    if not np.isfinite(numbers).all():
        raise WireFormatError('not_finite', 'robot state holds a number that is not finite')
    return RobotState(
        origin_ns=decode_time(origin_s),
        send_ns=decode_time(send_s),
        force_n=float(numbers[0]),
        joint_rad=numbers[1:7] / _DEG_PER_RAD,
        position_m=numbers[7:10] / _MM_PER_M,
        euler_rad=numbers[10:13] / _DEG_PER_RAD,
    )


def _vector(values: NDArray[np.float64], size: int, name: str) -> NDArray[np.float64]:
    vector = np.asarray(values, np.float64)
    if vector.shape != (size,):
        raise WireFormatError('bad_shape', f'{name} of shape {vector.shape}, not ({size},)')
    return vector
