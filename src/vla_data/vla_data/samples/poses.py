"""The robot's recorded path, and the actions that follow from it.

Fed by the samples' reading thread. The action of a step is what the robot did, not what it was
told: displacement and rotation between its poses at the two ends, interpolated by acquisition
time. Deliberately guesses nothing: where the path has a hole, the step is masked.
"""

import bisect

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

    def at(self, times_ns: np.ndarray, max_gap_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Poses (N, 7) at `times_ns` (N,) int64, and whether each is known (N,) bool.

        Linear between the two poses around a time, which may be `max_gap_ns` apart at most;
        nothing is known beyond the ends.
        """
        if not self._stamps:
            return np.zeros((len(times_ns), 7)), np.zeros(len(times_ns), bool)
        stamps = np.array(self._stamps, np.int64)
        right = np.searchsorted(stamps, times_ns)
        inside = right < len(stamps)
        right = np.minimum(right, len(stamps) - 1)
        exact = stamps[right] == times_ns
        left = np.where(exact, right, np.maximum(right - 1, 0))
        span = stamps[right] - stamps[left]
        known = inside & (exact | ((span > 0) & (span <= max_gap_ns)))
        share = np.where(span > 0, (times_ns - stamps[left]) / np.maximum(span, 1), 0.0)[:, None]
        before = np.stack([self._poses[number] for number in left])
        after = np.stack([self._poses[number] for number in right])
        turn = relative_rotvec(before[:, 3:], after[:, 3:])
        position_m = before[:, :3] + share * (after[:, :3] - before[:, :3])
        return np.hstack([position_m, apply_rotvec(share * turn, before[:, 3:])]), known

    def action(
        self, tick_ns: int, steps: int, period_ns: int, max_gap_ns: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Action (steps, 6) float64 from `tick_ns` on, base frame, and its mask (steps,) bool.

        Step k is the motion in [tick + k x period, tick + (k + 1) x period): displacement (m) and
        the rotation vector v (rad) with R_end = exp(v) R_begin. 0 where it is not known.
        """
        times_ns = tick_ns + period_ns * np.arange(steps + 1, dtype=np.int64)
        poses, known = self.at(times_ns, max_gap_ns)
        mask = known[:-1] & known[1:]
        action = np.zeros((steps, 6))
        begin, end = poses[:-1][mask], poses[1:][mask]
        action[mask, :3] = end[:, :3] - begin[:, :3]
        action[mask, 3:] = relative_rotvec(begin[:, 3:], end[:, 3:])
        return action, mask
