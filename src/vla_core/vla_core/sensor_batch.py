"""The arrays of a SensorBatch message, whoever decoded it.

Called by `vla_ros.convert` for rclpy's messages and by the samples made from bags for those of
`rosbags`, so that both refuse the same. Deliberately knows no message class: anything with the
fields will do.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import WireFormatError


class BatchFields(Protocol):
    """Fields of vla_msgs/SensorBatch; the arrays are anything that has a buffer."""

    stamp_ns: Any  # int64
    force_n: Any  # float32
    profile: Any  # float32, row-major
    profile_length: int


def sensor_arrays(
    batch: BatchFields,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Stamps (N,) int64 ns, force (N,) float32, profile (N, P) float32; views into the batch.

    WireFormatError('bad_shape') when they do not fit each other.
    """
    stamps_ns = np.frombuffer(batch.stamp_ns, np.int64)
    force_n = np.frombuffer(batch.force_n, np.float32)
    profile = np.frombuffer(batch.profile, np.float32)
    if len(force_n) != len(stamps_ns) or len(profile) != len(stamps_ns) * batch.profile_length:
        raise WireFormatError(
            'bad_shape',
            f'SensorBatch of {len(stamps_ns)} stamps, {len(force_n)} forces, '
            f'{len(profile)} profile values of length {batch.profile_length}',
        )
    return stamps_ns, force_n, profile.reshape(len(stamps_ns), batch.profile_length)


def sensor_matrix(batch: BatchFields) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Stamps (N,) int64 ns and samples (N, 1 + P) float32 = [force, profile]: what the ring
    takes. Errors as `sensor_arrays`.
    """
    stamps_ns, force_n, profile = sensor_arrays(batch)
    samples = np.empty((len(stamps_ns), 1 + profile.shape[1]), np.float32)
    samples[:, 0] = force_n
    samples[:, 1:] = profile
    return stamps_ns, samples
