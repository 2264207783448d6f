"""The actions that follow from the robot's recorded path.

Fed by the samples' reading thread. The action of a step is what the robot did, not what it was
told: displacement and rotation between its poses at the two ends, interpolated by acquisition
time. Deliberately guesses nothing: where the path has a hole, the step is masked.
"""

from collections import deque

import numpy as np

from vla_core.pose_track import motion_between, PoseTrack


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
    return motion_between(begin, end)
