"""The mean of several chunks' steps for the same instant: temporal ensembling (ACT).

Called by the chunk executor. Pure arithmetic; deliberately knows no times.
"""

import numpy as np
from numpy.typing import NDArray

from vla_core.rotation import quat_inverse, quat_multiply, quat_to_rotvec, rotvec_to_quat

Array = NDArray[np.float64]

# Below this the mean of rotation vectors and the mean rotation differ by less than angle^3 / 12,
# under 1e-3 rad at most and 1e-5 rad for the steps of a surgical motion.
SMALL_ROTATION_RAD = 0.2
REFINEMENTS = 8


def weights(count: int, decay: float) -> Array:
    """Return the weights (count,) of predictions, oldest first: exp(-decay i), summing to 1.

    arXiv 2304.13705, section IV: a small decay lets new predictions in fast.
    """
    raw: Array = np.exp(-decay * np.arange(count))
    share: Array = raw / raw.sum()
    return share


def mean_step(steps: Array, decay: float) -> Array:
    """Weighted mean (6,) of steps (N, 6): displacement (m), rotation vector (rad), oldest first.

    Displacements and small rotation vectors are averaged as they are; from SMALL_ROTATION_RAD on
    the rotation is the mean on the sphere, so that turns near 180 degrees do not cancel.
    """
    share = weights(len(steps), decay)
    mean: Array = share @ steps
    if np.abs(steps[:, 3:]).max() > SMALL_ROTATION_RAD:
        mean[3:] = _mean_rotation(steps[:, 3:], share)
    return mean


def _mean_rotation(rotvec_rad: Array, share: Array) -> Array:
    quats = rotvec_to_quat(rotvec_rad)
    mean = quats[np.argmax(share)]
    for _ in range(REFINEMENTS):
        away = quat_to_rotvec(quat_multiply(quats, quat_inverse(mean)))
        mean = quat_multiply(rotvec_to_quat(share @ away), mean)
    return quat_to_rotvec(mean)
