"""Where the tool was: poses ordered by acquisition time, looked up between them.

Used by `alignment` (how the tool has moved since a picture was taken) and by the samples made from
bags (what the robot did). Deliberately guesses nothing: where there is a hole, nothing is known.
"""

import bisect
import math

import numpy as np
from numpy.typing import NDArray

from vla_core.counters import Counters
from vla_core.rotation import apply_rotvec, relative_rotvec

Array = NDArray[np.float64]

UNIT_TOLERANCE = 0.01  # how far a quaternion's length may be from 1


class PoseTrack:
    """Poses ordered by stamp; of two with one stamp the first stays. One thread.

    Counters: pose_bad (not finite, or no rotation), pose_duplicates.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._stamps: list[int] = []
        self._poses: list[Array] = []  # (7,) position m, quaternion xyzw

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def last_ns(self) -> int | None:
        """Stamp of the newest pose."""
        return self._stamps[-1] if self._stamps else None

    def add(self, stamp_ns: int, position_m: Array, quat_xyzw: Array) -> None:
        """Take in one pose: (3,) m, (4,) xyzw, base frame."""
        if not is_pose(position_m, quat_xyzw):
            self._counters.add('pose_bad')
            return
        at = bisect.bisect_left(self._stamps, stamp_ns)
        if at < len(self._stamps) and self._stamps[at] == stamp_ns:
            self._counters.add('pose_duplicates')
            return
        self._stamps.insert(at, stamp_ns)
        self._poses.insert(at, np.concatenate((position_m, quat_xyzw)))

    def forget_before(self, stamp_ns: int) -> None:
        """Drop poses older than `stamp_ns`."""
        at = bisect.bisect_left(self._stamps, stamp_ns)
        del self._stamps[:at], self._poses[:at]

    def at(self, time_ns: int, max_gap_ns: int) -> Array | None:
        """Return the pose (7,) at a time, None where it is not known.

        Between the two poses around it, which may be `max_gap_ns` apart at most: linear, and along
        the shortest turn. Nothing is known beyond the ends.
        """
        at = bisect.bisect_left(self._stamps, time_ns)
        if at == len(self._stamps):
            return None
        after = self._poses[at]
        if self._stamps[at] == time_ns:
            return after
        span_ns = self._stamps[at] - self._stamps[at - 1] if at else 0
        if not 0 < span_ns <= max_gap_ns:
            return None
        before, share = self._poses[at - 1], (time_ns - self._stamps[at - 1]) / span_ns
        turn = relative_rotvec(before[3:], after[3:])
        position_m = before[:3] + share * (after[:3] - before[:3])
        return np.concatenate((position_m, apply_rotvec(share * turn, before[3:])))


def motion_between(begin: Array, end: Array) -> Array:
    """Displacement (m) and rotation vector (rad) (6,), base frame, from one pose (7,) to another.

    The rotation vector v is that with R_end = exp(v) R_begin.
    """
    return np.concatenate((end[:3] - begin[:3], relative_rotvec(begin[3:], end[3:])))


def is_pose(position_m: Array, quat_xyzw: Array) -> bool:
    """Say whether (3,) m and (4,) xyzw are finite and of unit length: what a pose must be."""
    # Plain floats: of so few numbers, numpy takes five times as long.
    length = math.hypot(*quat_xyzw.tolist())
    return all(map(math.isfinite, position_m.tolist())) and abs(length - 1) < UNIT_TOLERANCE
