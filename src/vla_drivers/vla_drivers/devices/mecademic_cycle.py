"""Real-time messages of a Mecademic robot, put together into one state a cycle.

Used by mecademic.py with every message that the official library receives. Deliberately no
connection and no status: only joints, joint speeds and tool pose, with the robot's own time.
"""

from mecademicpy.mx_robot_def import MxRobotStatusCode as Code
import numpy as np
from numpy.typing import NDArray

from vla_core.counters import Counters
from vla_core.wire.robot_state import RobotState
from vla_drivers.devices.base import RobotReading

Array = NDArray[np.float64]
US = 1000  # ns; the robot stamps in microseconds since it was switched on
MM = 1e-3
JOINTS = int(Code.MX_ST_RT_JOINT_POS)
SPEEDS = int(Code.MX_ST_RT_JOINT_VEL)
POSE = int(Code.MX_ST_RT_CART_POS)
CYCLE_END = int(Code.MX_ST_RT_CYCLE_END)
MONITORED = [Code.MX_ST_RT_JOINT_POS, Code.MX_ST_RT_JOINT_VEL, Code.MX_ST_RT_CART_POS]
_NAMES = {JOINTS: 'joints', SPEEDS: 'joint speeds', POSE: 'pose'}


class CycleAssembler:
    """One thread. Counts 'bad_values' (not six finite numbers) and 'incomplete_cycles'."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._parts: dict[int, tuple[int, Array]] = {}  # code -> (stamp in us, six numbers)

    def take(self, code: int, data: str, receive_ns: int) -> RobotReading | None:
        """Take in one message; return the state when a cycle is complete."""
        if code in _NAMES:
            self._keep(code, data)
        elif code == CYCLE_END:
            return self._finish(data, receive_ns)
        return None

    def _keep(self, code: int, data: str) -> None:
        try:
            stamp, *numbers = data.split(',')
            values = np.array(numbers, np.float64)
            stamp_us = int(float(stamp))
        except (ValueError, OverflowError):
            self._counters.add('bad_values')
            return
        if values.shape != (6,) or not np.isfinite(values).all():
            self._counters.add('bad_values')
            return
        self._parts[code] = (stamp_us, values)

    def _finish(self, data: str, receive_ns: int) -> RobotReading | None:
        parts, self._parts = self._parts, {}
        if JOINTS not in parts or POSE not in parts:
            self._counters.add('incomplete_cycles')
            return None
        stamp_us, joint_deg = parts[JOINTS]
        pose = parts[POSE][1]
        try:
            end_us = int(float(data))
        except (ValueError, OverflowError):
            end_us = stamp_us
        speeds = parts.get(SPEEDS)
        state = RobotState(
            origin_ns=stamp_us * US,
            send_ns=max(end_us, stamp_us) * US,
            force_n=0.0,
            joint_rad=np.radians(joint_deg),
            position_m=pose[:3] * MM,
            euler_rad=np.radians(pose[3:]),
        )
        return RobotReading(state, receive_ns, None if speeds is None else np.radians(speeds[1]))
