"""The tool moved on since the pictures: what features are acted on with, as pretraining data.

Used by `batches`. Features tell where things were relative to the tool when the pictures were
taken; the expert is told how the tool has moved since. With rendered scenes both are exact, so the
trunk learns to put them together before it sees a demonstration. Deliberately pure geometry.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_core.arms import meca500 as kin
from vla_core.model_input import build_state
from vla_core.rotation import euler_to_quat, rotate, rotvec_to_quat

Array = NDArray[np.float64]

_STILL = 0.3  # share of samples whose tool has not moved
_MOTION_M, _MOTION_RAD = 0.004, 0.06  # standard deviations of the largest motions
_AGE_S = 1.2  # beyond, the robot is held


@dataclass(frozen=True, eq=False)
class Moved:
    """One sample after the motion."""

    state: NDArray[np.float32]  # (12,)
    pose: NDArray[np.float32]  # (6,) see labels.POSE
    motion: NDArray[np.float32]  # (6,) m and rotation vector rad, base frame
    age_s: float  # of the pictures


def move_on(
    state: NDArray[np.float32], pose: NDArray[np.float32], rng: np.random.Generator
) -> Moved:
    """Move the tool of a sample at random; it stays where the arm cannot go there."""
    if rng.random() < _STILL:
        return Moved(state, pose, np.zeros(6, np.float32), 0.0)
    size, age_s = rng.random(), float(rng.uniform(0.0, _AGE_S))
    motion = size * rng.standard_normal(6) * ([_MOTION_M] * 3 + [_MOTION_RAD] * 3)
    try:
        return _moved(state, pose, motion, age_s)
    except kin.UnreachableError:
        return Moved(state, pose, np.zeros(6, np.float32), age_s)


def move_each(
    states: Iterable[NDArray[np.float32]], poses: Iterable[NDArray[np.float32]],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], ...]:  # fmt: skip
    """Move the tool of each sample: state (B, 12), pose (B, 6), motion (B, 6), age_s (B,)."""
    after = [move_on(state, pose, rng) for state, pose in zip(states, poses)]
    names = ('state', 'pose', 'motion', 'age_s')
    return tuple(np.array([getattr(row, name) for row in after], np.float32) for name in names)


def _moved(state: NDArray, pose: NDArray, motion: Array, age_s: float) -> Moved:
    tip, rotation = kin.forward(np.asarray(state[:6], np.float64))
    turn = rotvec_to_quat(motion[3:])
    now, turned = tip + motion[:3], rotate(turn, rotation.T).T
    joints = kin.inverse(now, turned)
    after = build_state(joints, now, euler_to_quat(kin.euler_rad(turned)))
    needle = rotation[:, 2]
    change = np.concatenate([motion[:3], turned[:, 2] - needle])
    return Moved(after, (pose - change).astype(np.float32), motion.astype(np.float32), age_s)
