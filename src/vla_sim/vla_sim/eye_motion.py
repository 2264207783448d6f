"""How the eye moves in the task variant `moving`: it drifts, turns a little, now and then jumps.

`Lab` asks it before every physics step. Everything follows from seed and time, so that processes
agree and episodes repeat. Deliberately no physics: how the eye gives way to a needle is in
cannula.py.

Sizes as in the task's description: drift of about 2 mm from end to end at 0.1 to 0.3 Hz, small
rotations; jumps after the model of saccades, fast (some 50 ms) and rare.
"""

from bisect import bisect_right
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

VARIANTS = ('still', 'moving')


@dataclass(frozen=True)
class EyeMotionSettings:
    """Sizes of the motion; lengths m, angles rad."""

    drift_m: float = 0.0006  # amplitude along each axis of the base frame, of the slower wave
    turn_rad: float = math.radians(0.7)  # amplitude about each axis
    frequency_hz: tuple[float, float] = (0.1, 0.3)
    jump_m: float = 0.0008  # how far from its middle the eye may jump, each axis
    jump_every_s: float = 6.0  # mean
    jump_lasts_s: float = 0.05
    calm_s: float = 2.0  # no jump this long after another


class EyeMotion:
    """Offset and turn of an eye's centre over time. Stateless once made; times from 0 on."""

    def __init__(
        self, seed: int, settings: EyeMotionSettings | None = None, horizon_s: float = 3600.0
    ) -> None:
        """Jumps are drawn up to `horizon_s`; after that the eye only drifts."""
        self._settings = settings = settings or EyeMotionSettings()
        rng = np.random.default_rng([seed, 0xE7E])
        # Two waves an axis, the faster with half the size: no plain sine that could be learned.
        self._omega = 2 * np.pi * rng.uniform(*settings.frequency_hz, (2, 6))
        self._phase = rng.uniform(0, 2 * np.pi, (2, 6))
        size = np.array([settings.drift_m] * 3 + [settings.turn_rad] * 3)
        self._size = np.stack([size, size / 2])
        self._draw_jumps(rng, horizon_s)

    def _draw_jumps(self, rng: np.random.Generator, horizon_s: float) -> None:
        settings = self._settings
        self._jump_s: list[float] = []
        self._places: list[Array] = [np.zeros(3)]  # before the first jump, after the first ...
        at_s = 0.0
        while settings.jump_m > 0.0:
            at_s += settings.calm_s + rng.exponential(settings.jump_every_s - settings.calm_s)
            if at_s > horizon_s:
                return
            self._jump_s.append(at_s)
            self._places.append(rng.uniform(-1, 1, 3) * settings.jump_m)

    def at(self, time_s: float) -> tuple[Array, Array]:
        """Offset (3,) m and rotation vector (3,) rad from the scene's own pose, base frame."""
        waves = (self._size * np.sin(self._omega * time_s + self._phase)).sum(0)
        return waves[:3] + self._jumped(time_s), waves[3:]

    def _jumped(self, time_s: float) -> Array:
        number = bisect_right(self._jump_s, time_s)
        place = self._places[number]
        if not number:
            return place
        share = min((time_s - self._jump_s[number - 1]) / self._settings.jump_lasts_s, 1.0)
        smooth = share**3 * (10 - 15 * share + 6 * share**2)  # minimum jerk
        before = self._places[number - 1]
        return before + smooth * (place - before)
