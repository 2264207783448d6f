"""The tensors of one tick: the one place where live data and recordings become model input.

Called by the action loop and by whoever turns recordings into training samples. Deliberately no
torch and no normalisation (the checkpoint holds that).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_core.rotation import relative_rotvec

# Meca500 flange pointing forward: see contract.StateSpec.reference_xyzw.
REFERENCE_XYZW = (0.0, 0.5**0.5, 0.0, 0.5**0.5)


@dataclass(frozen=True, eq=False)
class ModelInput:
    """What the action expert sees besides the features. Ages are s at the tick."""

    window: NDArray[np.float32]  # (65, 1026) force and A-scan, oldest first
    window_mask: NDArray[np.bool_]  # (65,) True where the slot holds a real sample
    state: NDArray[np.float32]  # (12,) see build_state
    state_age_s: float
    image_age_s: NDArray[np.float32]  # (V,) per view, in model order; with features of several
    # passes one after another, newest first, V for each
    view_motion: NDArray[np.float32]  # (V, 6) how the tool has moved since each picture: m and
    # rotation vector rad, base frame; NaN where that is not known
    feature_age_s: float

    def __post_init__(self) -> None:
        if self.window.ndim != 2 or self.window_mask.shape != self.window.shape[:1]:
            raise ValueError(
                f'window {self.window.shape} and mask {self.window_mask.shape} do not fit'
            )
        if self.view_motion.shape != (*self.image_age_s.shape, 6):
            raise ValueError(
                f'view_motion {self.view_motion.shape} does not fit image_age_s '
                f'{self.image_age_s.shape}'
            )
        if self.state.ndim != 1 or self.image_age_s.ndim != 1:
            raise ValueError(
                f'state {self.state.shape}, image_age_s {self.image_age_s.shape}: expected 1-D'
            )


def build_state(
    joint_rad: ArrayLike,
    position_m: ArrayLike,
    quat_xyzw: ArrayLike,
    reference_xyzw: ArrayLike = REFERENCE_XYZW,
) -> NDArray[np.float32]:
    """Make the state vector (12,) float32 of contract.STATE_KEYS from the base-frame TCP pose.

    Joints (6) rad, position (3) m, rotation vector (3) rad from the reference orientation, in the
    base frame. ValueError on other shapes, on numbers that are not finite, and on a quaternion of
    length 0.
    """
    joints, position = np.asarray(joint_rad, np.float64), np.asarray(position_m, np.float64)
    quat = np.asarray(quat_xyzw, np.float64)
    if (joints.shape, position.shape, quat.shape) != ((6,), (3,), (4,)):
        raise ValueError(
            f'expected joints (6,), position (3,), quaternion (4,), got {joints.shape}, '
            f'{position.shape}, {quat.shape}'
        )
    state = np.concatenate([joints, position, relative_rotvec(reference_xyzw, quat)])
    if not np.isfinite(state).all():
        raise ValueError('robot state holds a number that is not finite')
    return state.astype(np.float32)
