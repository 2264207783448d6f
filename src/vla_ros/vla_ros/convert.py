"""Messages <-> numpy and integer nanoseconds, without copies that can be avoided.

Called by all nodes and tools. Filling a `float32[]` or `uint8[]` field from a list or ndarray
takes rclpy 60 ns a byte; from an array.array it is a pointer. Reading goes through
numpy.frombuffer, so results share the message's memory and must not outlive it unless copied. It
deliberately contains no policy: shapes are checked, ages and limits are not.
"""

import array
from collections.abc import Iterable

from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped
import numpy as np
from sensor_msgs.msg import CompressedImage, JointState

from vla_core.errors import WireFormatError
from vla_core.execution.values import TimedChunk
from vla_core.freshness import Reaction
from vla_core.sensor_batch import sensor_arrays, sensor_matrix
from vla_msgs.msg import ActionChunk, SensorBatch, VLFeatures

__all__ = ['sensor_arrays', 'sensor_matrix']  # those of vla_core take rclpy's messages as they are

NS = 1_000_000_000
_TYPECODES = {'float32': 'f', 'float64': 'd', 'uint8': 'B', 'int64': 'q'}


def to_time(stamp_ns: int) -> Time:
    """Integer ns since the Unix epoch -> builtin_interfaces/Time."""
    seconds, nanoseconds = divmod(int(stamp_ns), NS)
    return Time(sec=seconds, nanosec=nanoseconds)


def to_ns(stamp: Time) -> int:
    """builtin_interfaces/Time -> integer ns since the Unix epoch."""
    return stamp.sec * NS + stamp.nanosec


def to_times(stamps_ns: Iterable[int]) -> list[Time]:
    """Several stamps at once."""
    return [to_time(stamp_ns) for stamp_ns in stamps_ns]


def to_array(values: np.ndarray) -> array.array:
    """Return any-shape ndarray (float32, float64, uint8, int64) as the flat array that message
    fields want.
    """
    values = np.ascontiguousarray(values)
    flat = array.array(_TYPECODES[values.dtype.name])
    flat.frombytes(memoryview(values).cast('B'))
    return flat


def to_bytes_array(data: bytes | bytearray | memoryview) -> array.array:
    """Return bytes as the array that a `uint8[]` field wants."""
    flat = array.array('B')
    flat.frombytes(data)
    return flat


def sensor_batch(stamps_ns: np.ndarray, force_n: np.ndarray, profile: np.ndarray) -> SensorBatch:
    """(N,) int64, (N,) float32, (N, P) float32 -> SensorBatch with its arrays and header stamp
    filled.
    """
    count = len(stamps_ns)
    if count == 0 or force_n.shape != (count,) or profile.ndim != 2 or len(profile) != count:
        raise ValueError(f'sensor batch shapes {stamps_ns.shape} {force_n.shape} {profile.shape}')
    message = SensorBatch()
    message.header.stamp = to_time(int(stamps_ns.max()))
    message.stamp_ns = to_array(stamps_ns.astype(np.int64, copy=False))
    message.force_n = to_array(force_n.astype(np.float32, copy=False))
    message.profile_length = profile.shape[1]
    message.profile = to_array(profile.astype(np.float32, copy=False))
    return message


def joint_state(
    stamp_ns: int,
    names: list[str],
    joint_rad: np.ndarray,
    joint_rad_s: np.ndarray | None = None,
) -> JointState:
    """Joint angles (J,) rad and, where measured, speeds (J,) rad/s -> JointState; effort stays
    empty.
    """
    message = JointState(name=names, position=to_array(np.asarray(joint_rad, np.float64)))
    if joint_rad_s is not None:
        message.velocity = to_array(np.asarray(joint_rad_s, np.float64))
    message.header.stamp = to_time(stamp_ns)
    return message


def joint_positions(message: JointState) -> np.ndarray:
    """JointState -> (J,) float64 rad, in the message's order."""
    return np.asarray(message.position, np.float64)


def pose_stamped(
    stamp_ns: int, frame: str, position_m: np.ndarray, quat_xyzw: np.ndarray
) -> PoseStamped:
    """Position (3,) m and unit quaternion (4,) x,y,z,w -> PoseStamped."""
    message = PoseStamped()
    message.header.stamp = to_time(stamp_ns)
    message.header.frame_id = frame
    point, turn = message.pose.position, message.pose.orientation
    point.x, point.y, point.z = (float(value) for value in position_m)
    turn.x, turn.y, turn.z, turn.w = (float(value) for value in quat_xyzw)
    return message


def pose_arrays(message: PoseStamped) -> tuple[np.ndarray, np.ndarray]:
    """PoseStamped -> position (3,) float64 m, quaternion (4,) float64 x,y,z,w."""
    point, turn = message.pose.position, message.pose.orientation
    return np.array([point.x, point.y, point.z]), np.array([turn.x, turn.y, turn.z, turn.w])


def set_chunk_steps(
    message: ActionChunk, step_stamps_ns: Iterable[int], delta: np.ndarray
) -> None:
    """Fill an ActionChunk's steps from (steps, dims) float64 and one target time per step."""
    message.step_stamps = to_times(step_stamps_ns)
    if len(message.step_stamps) != len(delta):
        raise ValueError(f'{len(message.step_stamps)} step stamps for {len(delta)} steps')
    message.dims = delta.shape[1]
    message.delta = to_array(np.asarray(delta, np.float64))


def chunk_steps(message: ActionChunk) -> tuple[np.ndarray, np.ndarray]:
    """ActionChunk -> target times (steps,) int64 ns, delta (steps, dims) float64, a view into the
    message.
    """
    stamps_ns = np.array([to_ns(stamp) for stamp in message.step_stamps], np.int64)
    delta = np.frombuffer(message.delta, np.float64)
    if len(delta) != len(stamps_ns) * message.dims:
        raise WireFormatError(
            'bad_shape',
            f'ActionChunk of {len(stamps_ns)} steps x {message.dims} has {len(delta)} numbers',
        )
    return stamps_ns, delta.reshape(len(stamps_ns), message.dims)


def timed_chunk(message: ActionChunk) -> TimedChunk:
    """ActionChunk -> TimedChunk, whatever is wrong with it: the safety gate judges. Numbers that
    do not fit the steps stay flat, an unknown reaction is STOP. `delta` is a view into the
    message.
    """
    try:
        stamps_ns, delta = chunk_steps(message)
    except (WireFormatError, ValueError):
        stamps_ns = np.array([to_ns(stamp) for stamp in message.step_stamps], np.int64)
        delta = np.array(message.delta, np.float64)
    return TimedChunk(
        chunk_id=message.chunk_id,
        made_ns=to_ns(message.header.stamp),
        step_stamps_ns=stamps_ns,
        delta=delta,
        reaction=Reaction(min(message.reaction, int(Reaction.STOP))),
        reasons=tuple(message.reasons),
        frame=message.header.frame_id,
        checkpoint_hash=message.checkpoint_hash,
        contract_hash=message.contract_hash,
        committed_steps=message.committed_steps,
    )


def set_features(message: VLFeatures, tokens: np.ndarray) -> None:
    """Fill dtype, data and info.tokens/width from (T, D) float16 or float32."""
    if tokens.ndim != 2 or tokens.dtype.name not in ('float16', 'float32'):
        raise ValueError(
            f'features must be (T, D) float16 or float32, not {tokens.shape} {tokens.dtype}'
        )
    message.info.tokens, message.info.width = tokens.shape
    message.dtype = tokens.dtype.name
    message.data = to_bytes_array(memoryview(np.ascontiguousarray(tokens)).cast('B'))


def features_array(message: VLFeatures) -> np.ndarray:
    """VLFeatures -> (T, D) in its dtype, a view into the message."""
    if message.dtype not in ('float16', 'float32'):
        raise WireFormatError('bad_dtype', f'VLFeatures of dtype {message.dtype!r}')
    values = np.frombuffer(message.data, message.dtype)
    shape = (message.info.tokens, message.info.width)
    if values.size != shape[0] * shape[1]:
        raise WireFormatError('bad_shape', f'VLFeatures {shape} has {values.size} numbers')
    return values.reshape(shape)


def compressed_image(stamp_ns: int, frame: str, jpeg: bytes | memoryview) -> CompressedImage:
    """JPEG bytes -> CompressedImage, untouched."""
    message = CompressedImage(format='jpeg', data=to_bytes_array(jpeg))
    message.header.stamp = to_time(stamp_ns)
    message.header.frame_id = frame
    return message


def compressed_to_rgb(message: CompressedImage) -> np.ndarray:
    """CompressedImage -> (H, W, 3) uint8 RGB. WireFormatError('bad_image') when it cannot be
    decoded.

    cv_bridge where ROS is installed; elsewhere rosbags-image does the same.
    """
    try:
        image = _decoder()(message)
    except Exception as error:  # both libraries raise whatever OpenCV and numpy raise
        raise WireFormatError(
            'bad_image', f'{len(message.data)} bytes of {message.format!r}: {error}'
        ) from error
    if image is None or image.ndim != 3:
        raise WireFormatError(
            'bad_image', f'{len(message.data)} bytes of {message.format!r} are no picture'
        )
    return image


def _decoder():
    if not _DECODERS:
        try:
            from cv_bridge import CvBridge

            bridge = CvBridge()
            _DECODERS.append(lambda message: bridge.compressed_imgmsg_to_cv2(message, 'rgb8'))
        except ImportError:
            from rosbags.image import compressed_image_to_cvimage

            _DECODERS.append(lambda message: compressed_image_to_cvimage(message, 'rgb8'))
    return _DECODERS[0]


_DECODERS: list = []  # the import is deferred: a node without images must not load OpenCV
