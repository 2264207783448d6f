"""Judges an episode of the live graph by the truth that the simulator publishes.

Fed by `vla eval --live`, sample by sample, from one thread; the verdict may be read from another.
The same judge as headless. Deliberately knows no ROS: what the task server thinks is not asked.
"""

import math

from vla_core.timebase import NS
from vla_sim.truth import TruthSample
from vla_training.evaluation.episode import EpisodeResult
from vla_training.simulation.judge import Judge, STANDING_M

MOVING_M_S = 0.0005  # the robot has begun
LONGEST_S = 0.05  # that one sample stands for: what happened in a gap is not known


class TruthWatch:
    """One episode. `take` every sample in order of time."""

    def __init__(self, seed: int, limit_s: float, standing_m: float = STANDING_M['still']) -> None:
        """`limit_s`: from the first motion; `standing_m`: see Judge."""
        self._seed, self._limit_s, self._standing_m = seed, limit_s, standing_m
        self._judge: Judge | None = None
        self._before_ns = self._began_ns = self._now_ns = 0
        self._entry_error_m = math.nan

    def take(self, sample: TruthSample) -> None:
        """Take in the newest truth; nothing counts before the first motion."""
        lasted_s = min((sample.stamp_ns - self._before_ns) / NS, LONGEST_S)
        self._before_ns = sample.stamp_ns
        if not self._began_ns and sample.commanded_speed_m_s > MOVING_M_S:
            self._began_ns = sample.stamp_ns
        if not self._began_ns or lasted_s <= 0.0 or self.verdict:
            return
        self._now_ns = sample.stamp_ns
        judge = self._judge = self._judge or Judge(sample.tissue_depth_m, self._standing_m)
        judge.see(
            sample.inside, sample.tissue_punctured, sample.force_n, sample.depth_m,
            sample.radial_m, sample.side_n, lasted_s,
        )  # fmt: skip
        if sample.inside and math.isnan(self._entry_error_m):
            self._entry_error_m = sample.radial_m

    @property
    def began(self) -> bool:
        """The robot has moved."""
        return self._began_ns > 0

    @property
    def verdict(self) -> str:
        """Why the episode is over, '' while it is not."""
        judge = self._judge
        if judge is None:
            return ''
        if judge.harm:
            return judge.harm
        if judge.held:
            return 'success'
        return 'time-out' if self._duration_s >= self._limit_s else ''

    @property
    def _duration_s(self) -> float:
        return (self._now_ns - self._began_ns) / NS

    def result(self, otherwise: str) -> EpisodeResult:
        """What became of it. `otherwise`: why it ended when the truth gives no verdict."""
        judge, unknown = self._judge, math.nan
        reason = self.verdict or otherwise
        entered = judge is not None and math.isfinite(self._entry_error_m)
        return EpisodeResult(
            self._seed, reason == 'success', reason, self._duration_s, self._entry_error_m,
            judge.depth_error_m if judge and entered else unknown,
            judge.max_force_n if judge else unknown, judge.max_side_n if judge else unknown,
            unknown, unknown, None, (), (),
        )  # fmt: skip
