"""When a task has succeeded, judged by what the sensors say and not by what the policy says.

`task_watch` asks at every tick. Insertion: the A-scan shows the surface at the target distance,
without a break for a while in which it hardly strays, and the needle has come forward since it
first saw any surface (a needle that stops in front of the eye also sees one at that distance).
Retraction: no surface is seen, and the policy has come to rest or a longer time has passed.
Deliberately no ROS, no clock.
"""

from collections import deque
from dataclasses import dataclass
import math
import statistics

import numpy as np
from numpy.typing import NDArray

from vla_inference.engine.instructions import Aim

Array = NDArray[np.float64]

_MEDIAN_OF = 5  # A-scans: one bad one neither ends nor makes a success
_REST_STEP_M, _REST_STEP_RAD = 1e-4, 2e-3  # a chunk whose steps are all smaller is at rest


@dataclass(frozen=True)
class SuccessSettings:
    """The conditions."""

    target_distance_m: float = 0.0010
    tolerance_m: float = 0.0004
    standing_m: float = 0.00025  # from the first distance; who creeps through holds nothing
    hold_s: float = 1.0
    insertion_travel_m: float = 0.012
    free_s: float = 10.0  # a retraction without rest of the policy counts after this long


class Success:
    """The condition of one goal; one thread. `held_s` is how long it has been fulfilled."""

    def __init__(self, aim: Aim, settings: SuccessSettings) -> None:
        self._aim, self._settings = aim, settings
        self._distances: deque[float] = deque(maxlen=_MEDIAN_OF)
        self._seen_at_m: Array | None = None  # tip where it first saw a surface
        self._tip_m: Array | None = None
        self._axis: Array = np.zeros(3)
        self._moving = True
        self._since_ns: int | None = None
        self._since_m = math.nan  # the surface's distance at that time
        self._rest_since_ns: int | None = None
        self.held_s = 0.0
        self.travel_m = 0.0

    @property
    def distance_m(self) -> float:
        """Tip to the surface, the median of the last A-scans; NaN when most show none."""
        seen = [d for d in self._distances if math.isfinite(d)]
        return statistics.median(seen) if 2 * len(seen) > len(self._distances) else math.nan

    def observe_surface(self, distance_m: float) -> None:
        """Take in what one A-scan shows; NaN: nothing."""
        self._distances.append(distance_m)
        if self._seen_at_m is None and math.isfinite(self.distance_m):
            self._seen_at_m = self._tip_m

    def observe_tip(self, tip_m: Array, axis: Array) -> None:
        """Take in the tip (3,) m and the needle's direction (3,), base frame."""
        self._tip_m, self._axis = tip_m, axis
        if self._seen_at_m is not None:
            self.travel_m = max(self.travel_m, float((tip_m - self._seen_at_m) @ axis))

    def observe_policy(self, delta: Array) -> None:
        """Take in a chunk's steps (H, 6) that were made for this goal."""
        linear = np.linalg.norm(delta[:, :3], axis=1).max()
        angular = np.linalg.norm(delta[:, 3:], axis=1).max()
        self._moving = bool(linear > _REST_STEP_M or angular > _REST_STEP_RAD)

    def tick(self, now_ns: int, fresh: bool) -> str:
        """Return what made it a success, '' while it is none. `fresh`: the sensor's data is."""
        settings = self._settings
        fulfilled = fresh and self._fulfilled()
        if not fulfilled:
            self._since_ns, self.held_s = None, 0.0
            return ''
        if self._since_ns is None or self._strayed():
            self._since_ns, self._since_m = now_ns, self.distance_m
        self._since_ns = min(self._since_ns, now_ns)
        self.held_s = (now_ns - self._since_ns) / 1e9
        if self._aim is Aim.INSERT:
            return self._inserted() if self.held_s >= settings.hold_s else ''
        return self._retracted(now_ns)

    def progress(self) -> float:
        """0..1 towards the condition, as far as the sensors show it; the last tenth is holding."""
        settings = self._settings
        hold = min(self.held_s / settings.hold_s, 1.0)
        if self._aim is Aim.RETRACT:
            return 0.9 * float(math.isnan(self.distance_m)) * (len(self._distances) > 0) + (
                0.1 * hold
            )
        way = min(max(self.travel_m, 0.0) / max(settings.insertion_travel_m, 1e-9), 1.0)
        return 0.9 * way + 0.1 * hold

    def _fulfilled(self) -> bool:
        if self._aim is Aim.RETRACT:
            return len(self._distances) > 0 and math.isnan(self.distance_m)
        settings, distance_m = self._settings, self.distance_m
        off_m = abs(distance_m - settings.target_distance_m)  # NaN: never small enough
        return off_m <= settings.tolerance_m and self.travel_m >= settings.insertion_travel_m

    def _strayed(self) -> bool:
        return abs(self.distance_m - self._since_m) > self._settings.standing_m  # NaN: never

    def _inserted(self) -> str:
        return (
            f'surface at {self.distance_m * 1e3:.2f} mm '
            f'(target {self._settings.target_distance_m * 1e3:.2f} '
            f'+- {self._settings.tolerance_m * 1e3:.2f} mm) for {self.held_s:.1f} s'
        )

    def _retracted(self, now_ns: int) -> str:
        settings = self._settings
        if not self._moving:
            self._rest_since_ns = self._rest_since_ns or now_ns
            if (now_ns - self._rest_since_ns) / 1e9 >= settings.hold_s:
                return f'no surface in sight for {self.held_s:.1f} s and the policy at rest'
        else:
            self._rest_since_ns = None
        if self.held_s >= settings.free_s:
            return f'no surface in sight for {self.held_s:.1f} s'
        return ''
