"""What the action expert knows at a tick, aligned, judged and with its lineage.

The executor's thread feeds it, the action loop's thread calls `snapshot` once a tick. Freshness is
judged by new content, never by arrival: a frozen camera, sensor or robot is stale. Deliberately
runs no model and publishes nothing.
"""

from dataclasses import dataclass
import math
import threading

import numpy as np

from vla_core.contract import Contract
from vla_core.counters import Counters
from vla_core.freshness import ContentTracker, Reaction, worst
from vla_core.model_input import build_state, ModelInput
from vla_core.ring import SampleRing
from vla_core.timebase import NS
from vla_core.window import read_window, Window
from vla_inference.engine.records import FeatureSet, Lineage
from vla_inference.engine.robot_pair import RobotPair, RobotSample
from vla_inference.engine.verdicts import Arrived, judge_all

UNIT_TOLERANCE = 0.01  # how far a quaternion's length may be from 1
RING_DURATION_S = 1.0  # ten windows: room for a receiver that lags behind


@dataclass(frozen=True)
class BufferSettings:
    """Which features are accepted, and whether a robot that does not change at all counts as
    frozen.
    """

    checkpoint_hash: str
    robot_must_change: bool = True


@dataclass(frozen=True)
class Snapshot:
    """Everything about one tick's inputs. `inputs` is None when the reaction forbids them."""

    task: str
    reaction: Reaction
    reasons: tuple[str, ...]
    lineage: Lineage
    features: FeatureSet | None
    inputs: ModelInput | None


class InputBuffers:
    """One lock guards all but the ring, which has its own.

    Counters: samples_*, robot_bad, robot_late, features_accepted, features_refused,
    features_late, empty_task.
    """

    def __init__(self, contract: Contract, settings: BufferSettings) -> None:
        self.contract = contract
        self.counters = Counters()
        self._settings = settings
        self._lock = threading.Lock()
        capacity = round(RING_DURATION_S * contract.sensor.rate_hz)
        self._ring = SampleRing(contract.sensor.channels, capacity)
        self._sensor_content = ContentTracker()
        self._pair = RobotPair()
        self._robot: RobotSample | None = None
        self._robot_content = ContentTracker()
        self._features: FeatureSet | None = None
        self._refusal: tuple[str, int] | None = None
        self._task = ('', 0)

    @property
    def task(self) -> str:
        """The instruction in force."""
        return self._task[0]

    def set_task(self, task: str, now_ns: int) -> bool:
        """Change the instruction; False if it is empty or the same."""
        if not task.strip():
            self.counters.add('empty_task')
            return False
        with self._lock:
            if task == self._task[0]:
                return False
            self._task = (task, now_ns)
        return True

    def push_samples(self, stamps_ns: np.ndarray, values: np.ndarray) -> None:
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
                self._sensor_content.observe(
                    int(stamps_ns[newest]), hash(values[newest].tobytes())
                )

    def set_joints(self, stamp_ns: int, joint_rad: np.ndarray) -> None:
        """Take in joint angles (6,) rad."""
        if joint_rad.shape != (6,) or not np.isfinite(joint_rad).all():
            self.counters.add('robot_bad')
            return
        with self._lock:
            self._set_robot(self._pair.add_joints(stamp_ns, joint_rad))

    def set_pose(self, stamp_ns: int, position_m: np.ndarray, quat_xyzw: np.ndarray) -> None:
        """Take in the TCP pose in the base frame: (3,) m, (4,) xyzw."""
        length = float(np.linalg.norm(quat_xyzw))
        if not np.isfinite(position_m).all() or not abs(length - 1) < UNIT_TOLERANCE:
            self.counters.add('robot_bad')
            return
        with self._lock:
            self._set_robot(self._pair.add_pose(stamp_ns, position_m, quat_xyzw))

    def set_features(self, features: FeatureSet, now_ns: int) -> bool:
        """Take in features; False if they are another checkpoint's (refused) or older than those
        at hand.
        """
        refusal = self._refuse(features)
        with self._lock:
            if refusal:
                self.counters.add('features_refused')
                self._refusal = (refusal, now_ns)
                return False
            last = self._features
            # A restarted VLM node counts from 1 again, a clock that was set back has older stamps:
            # not both at once.
            if (
                last
                and features.feature_id <= last.feature_id
                and features.published_ns <= last.published_ns
            ):
                self.counters.add('features_late')
                return False
            self._features = features
        self.counters.add('features_accepted')
        return True

    def snapshot(self, tick_ns: int) -> Snapshot:
        """Align and judge everything at the grid point `tick_ns`."""
        window = self.read_window(tick_ns)
        with self._lock:
            robot, features, (task, task_ns) = self._robot, self._features, self._task
            arrived = Arrived(
                sensor_ns=_oldest(
                    window.last_ns or self._ring.newest_ns, self._sensor_content.changed_ns
                ),
                robot_ns=self._robot_ns(),
                features=features,
                refusal=self._refusal,
                task=task,
                task_ns=task_ns,
                fill=window.fill,
            )
        lineage = self._lineage(tick_ns, window, arrived)
        verdicts = judge_all(self.contract, arrived, tick_ns)
        reaction = worst(verdicts)
        inputs = None
        if reaction < Reaction.HOLD and robot is not None:
            inputs = self._model_input(window, robot, lineage, tick_ns)
        reasons = tuple(verdict.reason for verdict in verdicts if verdict.reason)
        return Snapshot(task, reaction, reasons, lineage, features, inputs)

    def read_window(self, tick_ns: int) -> Window:
        """Return the sensor window of one tick."""
        sensor = self.contract.sensor
        return read_window(self._ring, tick_ns, sensor.window, sensor.period_ns)

    def forget(self) -> None:
        """Drop all data (deactivation); counters and the task stay."""
        self._ring.clear()
        with self._lock:
            self._sensor_content, self._robot_content = ContentTracker(), ContentTracker()
            self._pair, self._robot, self._features, self._refusal = RobotPair(), None, None, None

    def _set_robot(self, sample: RobotSample | None) -> None:
        if sample is None:
            return
        steps = self._robot_content.clock_steps
        self._robot_content.observe(sample.stamp_ns, hash(sample.content))
        stepped = self._robot_content.clock_steps != steps
        if self._robot is not None and sample.stamp_ns < self._robot.stamp_ns and not stepped:
            self.counters.add('robot_late')
            return
        self._robot = sample

    def _robot_ns(self) -> int | None:
        """Acquisition time of the newest robot state with new content."""
        if self._robot is None:
            return None
        changed_ns = self._robot_content.changed_ns if self._settings.robot_must_change else None
        return _oldest(self._robot.stamp_ns, changed_ns)

    def _refuse(self, features: FeatureSet) -> str:
        for what, theirs, ours in (
            ('checkpoint', features.checkpoint_hash, self._settings.checkpoint_hash),
            ('contract', features.contract_hash, self.contract.hash),
        ):
            if theirs != ours:
                return f'made with {what} {theirs or "unknown"}, this expert has {ours}'
        if features.views != self.contract.view_names:
            views = ', '.join(self.contract.view_names)
            return f'made from views {", ".join(features.views)}, not {views}'
        return ''

    def _lineage(self, tick_ns: int, window: Window, arrived: Arrived) -> Lineage:
        features = arrived.features
        stamps = features.view_stamps_ns if features else ()
        return Lineage(
            views=self.contract.view_names,
            view_stamps_ns=stamps or (0,) * len(self.contract.views),
            feature_id=features.feature_id if features else 0,
            features_ns=features.published_ns if features else 0,
            sensor_first_ns=window.first_ns,
            sensor_last_ns=window.last_ns,
            robot_ns=arrived.robot_ns or 0,
            sensor_samples=window.count,
            sensor_fill=window.fill,
            sensor_max_gap_s=window.max_gap_ns / NS,
            image_age_s=_age_s(tick_ns, min(stamps, default=None)),
            feature_age_s=_age_s(tick_ns, features.published_ns if features else None),
            sensor_age_s=_age_s(tick_ns, arrived.sensor_ns),
            robot_age_s=_age_s(tick_ns, arrived.robot_ns),
        )

    def _model_input(
        self, window: Window, robot: RobotSample, lineage: Lineage, tick_ns: int
    ) -> ModelInput:
        state = build_state(
            robot.joint_rad, robot.position_m, robot.quat_xyzw, self.contract.state.reference_xyzw
        )
        image_age_s = [_age_s(tick_ns, stamp_ns) for stamp_ns in lineage.view_stamps_ns]
        return ModelInput(
            window=window.values,
            window_mask=window.mask,
            state=state,
            state_age_s=lineage.robot_age_s,
            image_age_s=np.array(image_age_s, np.float32),
            feature_age_s=lineage.feature_age_s,
        )


def _age_s(tick_ns: int, stamp_ns: int | None) -> float:
    return math.nan if stamp_ns is None else (tick_ns - stamp_ns) / NS


def _oldest(*stamps_ns: int | None) -> int | None:
    return min((stamp_ns for stamp_ns in stamps_ns if stamp_ns is not None), default=None)
