"""How the scripted expert moves: a speed that falls with the distance left, reached smoothly.

`scripted` uses it for every phase. Deliberately knows no trocar: a distance in, a velocity out.
"""

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SMOOTHING_S = 0.12  # how fast the wanted velocity is taken on


@dataclass(frozen=True)
class Pace:
    """Limits of one kind of motion; lengths in m, or angles in rad: only `speed` has meaning here.

    gain_s: speed per distance close to the target (1/s); braking is the deceleration before that.
    """

    speed: float
    braking: float
    gain_s: float

    def at(self, distance: float) -> float:
        """Speed at a distance: constant, then constant deceleration, then proportional.

        The three pieces meet without a kink in their slope.
        """
        linear = self.braking / self.gain_s**2
        if distance <= linear:
            return min(self.speed, self.gain_s * distance)
        return min(self.speed, math.sqrt(2.0 * self.braking * (distance - linear / 2.0)))

    def towards(self, error: Array) -> Array:
        """Velocity (3,) along the error (3,) that is left, at this pace."""
        distance = math.sqrt(float(error @ error))
        return error * (self.at(distance) / distance) if distance > 0.0 else np.zeros(3)


class Smoother:
    """Follows a wanted velocity with bounded acceleration and jerk. A value: `copy` before trying
    something out.
    """

    def __init__(self, acceleration: float, jerk: float) -> None:
        self._most = acceleration
        self._jerk = jerk
        self.velocity: Array = np.zeros(3)
        self.acceleration: Array = np.zeros(3)

    def copy(self) -> 'Smoother':
        """Return one in the same state."""
        other = Smoother(self._most, self._jerk)
        other.velocity, other.acceleration = self.velocity, self.acceleration
        return other

    def rest(self) -> None:
        """Forget the motion: the arm stands still."""
        self.velocity, self.acceleration = np.zeros(3), np.zeros(3)

    def follow(self, wanted: Array, dt_s: float) -> Array:
        """One step of dt_s towards the wanted velocity (3,); return the step's mean velocity."""
        asked = _shortened((wanted - self.velocity) / SMOOTHING_S, self._most)
        change = _shortened(asked - self.acceleration, self._jerk * dt_s)
        self.acceleration = self.acceleration + change
        before = self.velocity
        self.velocity = before + self.acceleration * dt_s
        return (before + self.velocity) / 2.0


def _shortened(vector: Array, length: float) -> Array:
    size = math.sqrt(float(vector @ vector))
    return vector * (length / size) if size > length else vector
