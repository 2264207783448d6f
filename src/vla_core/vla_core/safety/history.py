"""What was sent to the robot lately: where it may have gone since, and whether it went there.

Used by the gate, under its lock. Deliberately models no dynamics: the robot is taken to have
followed every command from the moment it was sent, or not yet.
"""

from collections import deque
from collections.abc import Sequence
from itertools import accumulate

from vla_core.safety.pose import Pose
from vla_core.spatial import combine, length, subtract, Vector
from vla_core.timebase import NS, s_to_ns

Six = Sequence[float]

KEPT = 64
WINDOW_S = 2.0  # of Tracking: a robot blocked at 5 mm/s is 10 mm behind by then


class SentHistory:
    """Velocities (6,) with the time they were sent at. Not thread-safe."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._sent: deque[tuple[int, Six]] = deque(maxlen=KEPT)

    def last(self, now_ns: int, longest_s: float) -> Six:
        """Velocity (6,) that the robot still has: the newest sent, zero when that was more than
        `longest_s` ago, for the robot stops by itself then.
        """
        if not self._sent or (now_ns - self._sent[-1][0]) / NS > longest_s:
            return [0.0] * 6
        return self._sent[-1][1]

    def add(self, now_ns: int, velocity: Six) -> None:
        """Remember what was sent at `now_ns`."""
        self._sent.append((now_ns, velocity))

    def forget_times(self) -> None:
        """The clock was set back: keep only the newest velocity, undated motion is unknown."""
        while len(self._sent) > 1:
            self._sent.popleft()

    def reach(self, since_ns: int, now_ns: int, longest_s: float) -> list[Six]:
        """Displacements (K, 6), m and rad, that the robot may have made since `since_ns`; the
        first is zero. A command lasts until the next one, at most `longest_s`.
        """
        # One period earlier: the command may not have been carried out at the state's time.
        from_ns = since_ns - s_to_ns(self._period_s)
        moves: list[list[float]] = []
        end_ns = now_ns
        for sent_ns, velocity in reversed(self._sent):
            lasted_s = min(max((end_ns - sent_ns) / NS, self._period_s), longest_s)
            moves.append([v * lasted_s for v in velocity])
            end_ns = sent_ns
            if sent_ns < from_ns:
                break
        rest: Six = [0.0] * 6
        return list(accumulate(reversed(moves), _sum, initial=rest))


class Tracking:
    """Whether the tip goes where it was sent. Not thread-safe.

    Compares the displacement sent up to each state's stamp with the displacement measured, over
    the last WINDOW_S. Sees a blocked robot, one that somebody else moves, and a state that is
    frozen under new stamps. A lag of the robot shows as speed x lag.
    """

    def __init__(self) -> None:
        self._total: Vector = (0.0, 0.0, 0.0)
        self._sent: deque[tuple[int, Vector, Vector]] = deque(maxlen=KEPT)  # time, speed, total
        self._errors: deque[tuple[int, Vector]] = deque()

    def add(self, now_ns: int, velocity: Six, longest_s: float) -> None:
        """Take note of what was sent at `now_ns`; it lasts at most `longest_s`."""
        if self._sent:
            sent_ns, speed, total = self._sent[-1]
            self._total = combine(1.0, total, _lasted_s(sent_ns, now_ns, longest_s), speed)
        self._sent.append((now_ns, (velocity[0], velocity[1], velocity[2]), self._total))

    def error_m(self, pose: Pose, longest_s: float) -> float:
        """How far measured and sent displacement have come apart within the window, m."""
        if not self._errors or pose.stamp_ns > self._errors[-1][0]:
            expected = self._expected(pose.stamp_ns, longest_s)
            if expected is not None:
                self._errors.append((pose.stamp_ns, subtract(pose.position_m, expected)))
        if not self._errors:
            return 0.0
        newest_ns, newest = self._errors[-1]
        while self._errors[0][0] < newest_ns - s_to_ns(WINDOW_S):
            self._errors.popleft()
        return length(subtract(newest, self._errors[0][1]))

    def restart(self) -> None:
        """Forget what was measured: at enable, or when the clock was set back."""
        self._errors.clear()
        self._sent.clear()

    def _expected(self, stamp_ns: int, longest_s: float) -> Vector | None:
        for sent_ns, speed, total in reversed(self._sent):
            if sent_ns <= stamp_ns:
                return combine(1.0, total, _lasted_s(sent_ns, stamp_ns, longest_s), speed)
        return None


def _lasted_s(from_ns: int, to_ns: int, longest_s: float) -> float:
    return min(max((to_ns - from_ns) / NS, 0.0), longest_s)


def _sum(u: Six, v: Six) -> Six:
    return [a + b for a, b in zip(u, v)]
