"""What the safety gate needs to know of an arm: joint limits and kinematics.

`vla_core.arms.meca500.Meca500` is one; another arm is another class with these members.
Deliberately no inverse kinematics, no dynamics and no collisions.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Arm(Protocol):
    """An arm of six joints with a tool. Calls must be thread-safe and keep no state."""

    @property
    def joint_min_rad(self) -> Array:
        """Lower joint limits (6,)."""
        ...

    @property
    def joint_max_rad(self) -> Array:
        """Upper joint limits (6,)."""
        ...

    @property
    def joint_max_rad_s(self) -> Array:
        """Largest joint speeds (6,) that the arm allows."""
        ...

    def forward(self, joint_rad: Array) -> tuple[Array, Array]:
        """Position (3,) m and rotation (3, 3) of the tool centre point, z out of the tool."""
        ...

    def jacobian(self, joint_rad: Array) -> Array:
        """Geometric Jacobian (6, 6) of the tool centre point: linear rows, then angular."""
        ...
