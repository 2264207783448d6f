"""Perturbed demonstrations: pushes the tool off its way, so the expert shows how to come back.

A policy that has only seen perfect runs does not know what to do once it has drifted off. Whoever
records demonstrations executes `Disturber.disturb(plan, sight)` and keeps `plan.delta` as the
label: the expert sees the deviation at the next tick and its chunk corrects it. Deliberately
gentle where the needle is near the opening or inside: no push may make it touch the rim.
"""

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from vla_core.rotation import rotate
from vla_sim.scripted_values import PERIOD_S, Plan, Sight, STEPS
from vla_sim.tissue import BORE_RADIUS_M

Array = NDArray[np.float64]

_FREE_M = 0.010  # this far in front of the opening a push has its full size
_INSIDE_M = 0.20 * BORE_RADIUS_M  # sideways push inside the bore


@dataclass(frozen=True)
class Disturbance:
    """Size and frequency of the pushes; the sizes are standard deviations a direction."""

    every_s: float = 2.5  # mean time between the end of one push and the next
    lasts_s: tuple[float, float] = (0.3, 0.9)
    offset_m: float = 0.004
    turn_rad: float = math.radians(2.5)


class Disturber:
    """Draws pushes from its generator: each is a bell of velocity that sums up to an offset."""

    def __init__(
        self, generator: np.random.Generator, disturbance: Disturbance | None = None
    ) -> None:
        self._generator = generator
        self._settings = disturbance or Disturbance()
        self._push: Array = np.zeros((0, 6))  # what is still to come of the present push
        self._wait = self._draw_wait()
        self.pushes = 0

    def disturb(self, plan: Plan, sight: Sight) -> Array:
        """Return the chunk (8, 6) to execute instead of plan.delta; call once a tick."""
        if len(self._push) == 0:
            self._wait -= 1
            if self._wait > 0:
                return plan.delta
            self._push = self._draw_push(sight)
            self._wait = self._draw_wait()
            self.pushes += 1
        executed = plan.delta.copy()
        coming = self._push[:STEPS]
        executed[: len(coming)] += coming
        self._push = self._push[1:]
        return executed

    def _draw_wait(self) -> int:
        return 1 + round(self._generator.exponential(self._settings.every_s) / PERIOD_S)

    def _draw_push(self, sight: Sight) -> Array:
        """Push (N, 6), a row a step."""
        settings, generator = self._settings, self._generator
        steps = max(round(generator.uniform(*settings.lasts_s) / PERIOD_S), 2)
        bell = np.sin(np.pi * (np.arange(steps) + 0.5) / steps)
        offset = generator.normal(0.0, settings.offset_m, 3).clip(
            -2 * settings.offset_m, 2 * settings.offset_m
        )
        turn = generator.normal(0.0, settings.turn_rad, 3).clip(
            -2 * settings.turn_rad, 2 * settings.turn_rad
        )
        depth_m = sight.local_m[2]
        free = min(max((-depth_m - 2 * settings.offset_m) / _FREE_M, 0.0), 1.0)
        inside = np.array([_INSIDE_M, _INSIDE_M, 2 * _INSIDE_M]) / (2 * settings.offset_m)
        # Sizes in the trocar frame: sideways less than along the axis.
        offset *= np.maximum(free, inside)
        turn *= max(free, 0.1)
        whole = np.concatenate([rotate(sight.trocar_xyzw, offset), turn])
        return bell[:, None] / bell.sum() * whole
