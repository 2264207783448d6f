"""Sensor and robot as they are known at a tick: the one alignment for live nodes and recordings.

Fed message by message and read at a tick, by the input buffers of the action expert and by the
samples made from bags, so that both see the same numbers. Freshness is judged by new content,
never by arrival: a frozen sensor or robot is stale. Deliberately judges no age and knows neither
images nor features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import threading

import numpy as np
from numpy.typing import NDArray

from vla_core.contract import Contract
from vla_core.counters import Counters
from vla_core.freshness import ContentTracker
from vla_core.model_input import build_state
from vla_core.pose_track import is_pose, motion_between, PoseTrack
from vla_core.ring import SampleRing
from vla_core.robot_pair import RobotPair, RobotSample
from vla_core.timebase import s_to_ns
from vla_core.window import read_window, Window

RING_DURATION_S = 1.0  # ten windows: room for a receiver that lags behind

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Aligned:
    """What is known at a tick. Times are of the newest NEW content, None where nothing came."""

    window: Window
    sensor_ns: int | None
    robot: RobotSample | None
    robot_ns: int | None


class InputAligner:
    """One lock guards all but the ring, which has its own. Any thread may call anything.

    Counters: samples_accepted, _duplicates, _reordered, _late, _not_finite, _restarts; robot_bad,
    robot_late. `robot_must_change`: a robot state that does not change at all counts as frozen.
    """

    def __init__(
        self,
        contract: Contract,
        robot_must_change: bool = True,
        counters: Counters | None = None,
    ) -> None:
        self.contract = contract
        self.counters = counters or Counters()
        self._robot_must_change = robot_must_change
        self._lock = threading.Lock()
        self._ring = SampleRing(contract.sensor.channels, ring_capacity(contract))
        self.forget()

    def forget(self) -> None:
        """Drop all data; counters stay."""
        self._ring.clear()
        with self._lock:
            self.sensor_content, self.robot_content = ContentTracker(), ContentTracker()
            self._pair = RobotPair()
            self._track = PoseTrack(Counters())
            self._robot: RobotSample | None = None

    def push_samples(self, stamps_ns: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Take in samples (N,) int64 ns and (N, channels) float32 = [force, A-scan]. ValueError on
        other shapes.
        """
        report = self._ring.push(stamps_ns, values)
        for kind in ('accepted', 'duplicates', 'reordered', 'late', 'not_finite', 'restarts'):
            count = getattr(report, kind)
            if count:
                self.counters.add(f'samples_{kind}', count)
        if len(stamps_ns):
            newest = int(np.argmax(stamps_ns))
            # A hash of the newest sample is enough: a live sensor's noise never repeats 1026
            # numbers.
            with self._lock:
                self.sensor_content.observe(int(stamps_ns[newest]), hash(values[newest].tobytes()))

    def set_joints(self, stamp_ns: int, joint_rad: Array) -> None:
        """Take in joint angles (6,) rad."""
        if joint_rad.shape != (6,) or not np.isfinite(joint_rad).all():
            self.counters.add('robot_bad')
            return
        with self._lock:
            self._set_robot(self._pair.add_joints(stamp_ns, joint_rad))

    def set_pose(self, stamp_ns: int, position_m: Array, quat_xyzw: Array) -> None:
        """Take in the TCP pose in the base frame: (3,) m, (4,) xyzw."""
        if not is_pose(position_m, quat_xyzw):
            self.counters.add('robot_bad')
            return
        with self._lock:
            self._set_robot(self._pair.add_pose(stamp_ns, position_m, quat_xyzw))

    def read_window(self, tick_ns: int) -> Window:
        """Return the sensor window of one tick."""
        sensor = self.contract.sensor
        return read_window(self._ring, tick_ns, sensor.window, sensor.period_ns)

    def at(self, tick_ns: int) -> Aligned:
        """Align everything at the grid point `tick_ns`."""
        window = self.read_window(tick_ns)
        with self._lock:
            sensor_ns = oldest(
                window.last_ns or self._ring.newest_ns, self.sensor_content.changed_ns
            )
            return Aligned(window, sensor_ns, self._robot, self._robot_ns())

    def motion_since(self, stamps_ns: Sequence[int], robot: RobotSample) -> NDArray[np.float32]:
        """How the tool has moved (N, 6) from each of N stamps to robot state `robot`, base frame.

        Displacement (m) and rotation vector (rad). NaN where no pose is known for a stamp, and for
        those older than the images' stop limit: with such a picture the robot is stopped anyway.
        """
        now = np.concatenate((robot.position_m, robot.quat_xyzw))
        known: dict[int, Array] = {}
        with self._lock:
            for stamp_ns in set(stamps_ns):
                known[stamp_ns] = self._motion_since(stamp_ns, robot.stamp_ns, now)
        return np.array([known[stamp_ns] for stamp_ns in stamps_ns], np.float32).reshape(-1, 6)

    def _motion_since(self, stamp_ns: int, robot_ns: int, now: Array) -> Array:
        limits = self.contract.images.limits
        if stamp_ns >= robot_ns:
            return np.zeros(6)  # no motion is known of
        if stamp_ns < robot_ns - s_to_ns(limits.stop_s):
            return np.full(6, np.nan)
        then = self._track.at(stamp_ns, s_to_ns(self.contract.state.limits.mark_s))
        return np.full(6, np.nan) if then is None else motion_between(then, now)

    def state(self, robot: RobotSample) -> NDArray[np.float32]:
        """Return the state vector (12,) of a robot state."""
        reference = self.contract.state.reference_xyzw
        return build_state(robot.joint_rad, robot.position_m, robot.quat_xyzw, reference)

    def _set_robot(self, sample: RobotSample | None) -> None:
        if sample is None:
            return
        steps = self.robot_content.clock_steps
        self.robot_content.observe(sample.stamp_ns, hash(sample.content))
        stepped = self.robot_content.clock_steps != steps
        if self._robot is not None and sample.stamp_ns < self._robot.stamp_ns and not stepped:
            self.counters.add('robot_late')
            return
        if stepped:
            self._track = PoseTrack(Counters())  # of another clock
        self._robot = sample
        self._track.add(sample.stamp_ns, sample.position_m, sample.quat_xyzw)
        self._track.forget_before(sample.stamp_ns - s_to_ns(self.contract.images.limits.stop_s))

    def _robot_ns(self) -> int | None:
        """Acquisition time of the newest robot state with new content."""
        if self._robot is None:
            return None
        changed_ns = self.robot_content.changed_ns if self._robot_must_change else None
        return oldest(self._robot.stamp_ns, changed_ns)


def ring_capacity(contract: Contract) -> int:
    """Samples that the ring of a contract's sensor holds."""
    return round(RING_DURATION_S * contract.sensor.rate_hz)


def oldest(*stamps_ns: int | None) -> int | None:
    """Return the least of the stamps that there are."""
    return min((stamp_ns for stamp_ns in stamps_ns if stamp_ns is not None), default=None)
