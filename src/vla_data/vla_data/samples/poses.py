"""The robot's recorded path, and the actions that follow from it.

Fed by the samples' reading thread. The action of a step is what the robot did, not what it was
told: displacement and rotation between its poses at the two ends, interpolated by acquisition
time. Deliberately guesses nothing: where the path has a hole, the step is masked.
"""

import bisect
from collections import deque

import numpy as np

from vla_core.alignment import is_pose
from vla_core.counters import Counters
from vla_core.rotation import apply_rotvec, relative_rotvec


class PoseTrack:
    """Poses ordered by stamp; of two with one stamp the first stays. One thread.

    Counters: pose_bad (not finite, or no rotation), pose_duplicates.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._stamps: list[int] = []
        self._poses: list[np.ndarray] = []  # (7,) position m, quaternion xyzw

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def last_ns(self) -> int | None:
        """Stamp of the newest pose."""
        return self._stamps[-1] if self._stamps else None

    def add(self, stamp_ns: int, position_m: np.ndarray, quat_xyzw: np.ndarray) -> None:
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

    def at(self, time_ns: int, max_gap_ns: int) -> np.ndarray | None:
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


class ActionPath:
    """The actions of ticks that follow each other by one period; anything else starts anew.

    A pose on the grid is looked up once, as soon as a chunk reaches that far, and kept: a pose
    that is logged later than that changes nothing, in whatever order ticks were visited.
    """

    def __init__(self, track: PoseTrack, steps: int, period_ns: int, max_gap_ns: int) -> None:
        self._track, self._max_gap_ns = track, max_gap_ns
        self._steps, self._period_ns = steps, period_ns
        self._poses: deque[np.ndarray | None] = deque(maxlen=steps + 1)
        self._deltas: deque[np.ndarray | None] = deque(maxlen=steps)
        self._next_ns = 0

    def advance(self, tick_ns: int) -> None:
        """Look up the path of the chunk that begins at `tick_ns`."""
        end_ns = tick_ns + self._steps * self._period_ns
        if self._next_ns != end_ns:
            self._poses.clear()
            self._deltas.clear()
            self._next_ns = tick_ns
        while self._next_ns <= end_ns:
            pose = self._track.at(self._next_ns, self._max_gap_ns)
            if self._poses:
                self._deltas.append(_motion(self._poses[-1], pose))
            self._poses.append(pose)
            self._next_ns += self._period_ns

    def action(self) -> tuple[np.ndarray, np.ndarray]:
        """Action (steps, 6) float64 of the tick advanced to, base frame, and its mask (steps,).

        Step k is the motion in [tick + k x period, tick + (k + 1) x period): displacement (m) and
        the rotation vector v (rad) with R_end = exp(v) R_begin. 0 where it is not known.
        """
        action = np.zeros((self._steps, 6))
        mask = np.zeros(self._steps, bool)
        for number, delta in enumerate(self._deltas):
            if delta is not None:
                action[number], mask[number] = delta, True
        return action, mask


def _motion(begin: np.ndarray | None, end: np.ndarray | None) -> np.ndarray | None:
    if begin is None or end is None:
        return None
    return np.concatenate((end[:3] - begin[:3], relative_rotvec(begin[3:], end[3:])))
