"""What was sent to the robot lately: where it may have gone since its newest state.

Used by the gate, under its lock. Deliberately models no dynamics: the robot is taken to have
followed every command from the moment it was sent, or not yet.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from vla_core.timebase import NS, s_to_ns

Array = NDArray[np.float64]

KEPT = 64


class SentHistory:
    """Velocities (6,) with the time they were sent at. Not thread-safe."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._sent: deque[tuple[int, Array]] = deque(maxlen=KEPT)

    def last(self, now_ns: int, longest_s: float) -> Array:
        """Velocity (6,) that the robot still has: the newest sent, zero when that was more than
        `longest_s` ago, for the robot stops by itself then.
        """
        if not self._sent or (now_ns - self._sent[-1][0]) / NS > longest_s:
            return np.zeros(6)
        return self._sent[-1][1]

    def add(self, now_ns: int, velocity: Array) -> None:
        """Remember what was sent at `now_ns`."""
        self._sent.append((now_ns, velocity))

    def forget_times(self) -> None:
        """The clock was set back: keep only the newest velocity, undated motion is unknown."""
        while len(self._sent) > 1:
            self._sent.popleft()

    def reach(self, since_ns: int, now_ns: int, longest_s: float) -> Array:
        """Displacements (K, 6), m and rad, that the robot may have made since `since_ns`; the
        first is zero. A command lasts until the next one, at most `longest_s`.
        """
        # One period earlier: the command may not have been carried out at the state's time.
        from_ns = since_ns - s_to_ns(self._period_s)
        moves = [np.zeros(6)]
        end_ns = now_ns
        for sent_ns, velocity in reversed(self._sent):
            lasted_s = max((end_ns - sent_ns) / NS, self._period_s)
            moves.append(velocity * min(lasted_s, longest_s))
            end_ns = sent_ns
            if sent_ns < from_ns:
                break
        moves[1:] = moves[:0:-1]
        reached: Array = np.cumsum(moves, axis=0)
        return reached
