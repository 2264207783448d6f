"""Joint angles and TCP pose come on two topics: puts those of one instant together.

Called by `alignment` under its lock. Drivers of this suite stamp both with the same
acquisition time; where a driver does not, the newest of each is used and the older stamp counts.
Deliberately interpolates nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RobotSample:
    """One robot state: joints (6,) rad, position (3,) m, quaternion (4,) xyzw, base frame."""

    stamp_ns: int
    joint_rad: Array
    position_m: Array
    quat_xyzw: Array

    @property
    def content(self) -> bytes:
        """What must change for the state to be new."""
        parts = (self.joint_rad, self.position_m, self.quat_xyzw)
        return b''.join(part.tobytes() for part in parts)


class RobotPair:
    """Newest pair. Not thread-safe. `add_*` return the new sample when one came about, None
    otherwise.
    """

    # Messages of one side that may come before the other's: they are published back to back.
    PATIENCE = 3

    def __init__(self) -> None:
        self._joints: tuple[int, Array] | None = None
        self._pose: tuple[int, Array, Array] | None = None
        self._alone = 0

    def add_joints(self, stamp_ns: int, joint_rad: Array) -> RobotSample | None:
        """Take in joint angles (6,) rad."""
        self._joints = (stamp_ns, joint_rad)
        return self._pair()

    def add_pose(
        self, stamp_ns: int, position_m: Array, quat_xyzw: Array
    ) -> RobotSample | None:
        """Take in a pose: (3,) m, (4,) xyzw."""
        self._pose = (stamp_ns, position_m, quat_xyzw)
        return self._pair()

    def _pair(self) -> RobotSample | None:
        if self._joints is None or self._pose is None:
            return None
        same = self._joints[0] == self._pose[0]
        self._alone = 0 if same else self._alone + 1
        if not same and self._alone < self.PATIENCE:
            return None
        return RobotSample(min(self._joints[0], self._pose[0]), self._joints[1], *self._pose[1:])
