"""How the tool moved from each picture to the tick, for many samples at once.

Used by the data set. The same numbers as `InputAligner.motion_since` gives the live node; a test
compares them. Deliberately reads no bag.
"""

import numpy as np
from numpy.typing import NDArray

from vla_core.contract import Contract
from vla_core.rotation import apply_rotvec, relative_rotvec
from vla_core.timebase import s_to_ns

Array = NDArray[np.float64]
_UNKNOWN = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)  # any pose: its result is replaced


def motion_since(
    contract: Contract,
    stamps_ns: np.ndarray,
    poses: Array,
    state: np.ndarray,
    robot_ns: np.ndarray,
) -> NDArray[np.float32]:
    """Displacement (m) and rotation vector (rad) (B, V, 6) of the tool, base frame.

    stamps_ns (B, V) of the pictures, poses (B, V, 7) at those times (NaN where unknown), state
    (B, 12) and robot_ns (B,) of the tick. NaN where it is not known, or the picture too old.
    """
    known = np.isfinite(poses).all(-1)
    poses = np.where(known[..., None], poses, _UNKNOWN)
    position_m, quat = pose_of(contract, state)
    moved = np.concatenate(
        [position_m[:, None] - poses[..., :3], relative_rotvec(poses[..., 3:], quat[:, None])], -1
    )
    robot = robot_ns[:, None]
    known &= stamps_ns >= robot - s_to_ns(contract.images.limits.stop_s)
    moved[~known] = np.nan
    moved[stamps_ns >= robot] = 0.0
    return moved.astype(np.float32)


def pose_of(contract: Contract, state: np.ndarray) -> tuple[Array, Array]:
    """Position (..., 3) m and quaternion (..., 4) of state vectors (..., 12)."""
    values = np.asarray(state, np.float64)
    reference = np.asarray(contract.state.reference_xyzw)
    return values[..., 6:9], apply_rotvec(values[..., 9:12], reference)
