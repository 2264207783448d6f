"""What the action expert knows at a tick, aligned, judged and with its lineage.

The executor's thread feeds it, the action loop's thread calls `snapshot` once a tick. Sensor and
robot are aligned by `vla_core.alignment`, as samples from recordings are. Deliberately runs no
model and publishes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import math
import threading

import numpy as np

from vla_core.alignment import InputAligner
from vla_core.contract import Contract
from vla_core.counters import Counters
from vla_core.freshness import Reaction, worst
from vla_core.model_input import ModelInput
from vla_core.robot_pair import RobotSample
from vla_core.timebase import NS
from vla_core.window import Window
from vla_inference.engine.records import FeatureSet, Lineage
from vla_inference.engine.verdicts import Arrived, judge_all


@dataclass(frozen=True)
class BufferSettings:
    """Which features are accepted, whether a robot that does not change at all counts as frozen,
    and the features of how many passes the expert sees.
    """

    checkpoint_hash: str
    robot_must_change: bool = True
    passes: int = 1


@dataclass(frozen=True)
class Snapshot:
    """Everything about one tick's inputs. `inputs` is None when the reaction forbids them.

    `features` are the newest; `tokens` (T, D) those of all passes, newest first.
    """

    task: str
    reaction: Reaction
    reasons: tuple[str, ...]
    lineage: Lineage
    features: FeatureSet | None
    tokens: np.ndarray | None
    inputs: ModelInput | None


class InputBuffers:
    """One lock guards features and task; the aligner has its own.

    Counters: those of InputAligner, and features_accepted, features_refused,
    features_late, empty_task.
    """

    def __init__(self, contract: Contract, settings: BufferSettings) -> None:
        self.contract = contract
        self.counters = Counters()
        self._settings = settings
        self._lock = threading.Lock()
        self._aligner = InputAligner(contract, settings.robot_must_change, self.counters)
        self._features: tuple[FeatureSet, ...] = ()  # newest first
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
        self._aligner.push_samples(stamps_ns, values)

    def set_joints(self, stamp_ns: int, joint_rad: np.ndarray) -> None:
        """Take in joint angles (6,) rad."""
        self._aligner.set_joints(stamp_ns, joint_rad)

    def set_pose(self, stamp_ns: int, position_m: np.ndarray, quat_xyzw: np.ndarray) -> None:
        """Take in the TCP pose in the base frame: (3,) m, (4,) xyzw."""
        self._aligner.set_pose(stamp_ns, position_m, quat_xyzw)

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
            last = self._features[0] if self._features else None
            # A restarted VLM node counts from 1 again, a clock that was set back has older stamps:
            # not both at once.
            if (
                last
                and features.feature_id <= last.feature_id
                and features.published_ns <= last.published_ns
            ):
                self.counters.add('features_late')
                return False
            earlier = [known for known in self._features if _continues(features, known)]
            self._features = (features, *earlier)[: self._settings.passes]
        self.counters.add('features_accepted')
        return True

    def snapshot(self, tick_ns: int) -> Snapshot:
        """Align and judge everything at the grid point `tick_ns`."""
        aligned = self._aligner.at(tick_ns)
        with self._lock:
            passes, refusal = self._features, self._refusal
            task, task_ns = self._task
        window, features = aligned.window, passes[0] if passes else None
        arrived = Arrived(
            sensor_ns=aligned.sensor_ns,
            robot_ns=aligned.robot_ns,
            features=features,
            refusal=refusal,
            task=task,
            task_ns=task_ns,
            fill=window.fill,
        )
        lineage = self._lineage(tick_ns, window, arrived, passes[1:])
        verdicts = judge_all(self.contract, arrived, tick_ns)
        reaction = worst(verdicts)
        inputs, tokens = None, None
        if reaction < Reaction.HOLD and aligned.robot is not None and passes:
            # Before there are enough passes the oldest stands for those before it.
            seen = passes + passes[-1:] * (self._settings.passes - len(passes))
            tokens = _joined([known.tokens for known in seen])
            inputs = self._model_input(window, aligned.robot, seen, lineage, tick_ns)
        reasons = tuple(verdict.reason for verdict in verdicts if verdict.reason)
        return Snapshot(task, reaction, reasons, lineage, features, tokens, inputs)

    def read_window(self, tick_ns: int) -> Window:
        """Return the sensor window of one tick."""
        return self._aligner.read_window(tick_ns)

    def forget(self) -> None:
        """Drop all data (deactivation); counters and the task stay."""
        self._aligner.forget()
        with self._lock:
            self._features, self._refusal = (), None

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

    def _lineage(
        self, tick_ns: int, window: Window, arrived: Arrived, earlier: Sequence[FeatureSet]
    ) -> Lineage:
        features = arrived.features
        before = [stamp_ns for known in earlier for stamp_ns in known.view_stamps_ns]
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
            earlier_feature_ids=tuple(known.feature_id for known in earlier),
            earlier_image_age_s=_age_s(tick_ns, min(before, default=None)),
        )

    def _model_input(
        self,
        window: Window,
        robot: RobotSample,
        passes: Sequence[FeatureSet],
        lineage: Lineage,
        tick_ns: int,
    ) -> ModelInput:
        stamps_ns = [stamp_ns for known in passes for stamp_ns in known.view_stamps_ns]
        image_age_s = [_age_s(tick_ns, stamp_ns) for stamp_ns in stamps_ns]
        return ModelInput(
            window=window.values,
            window_mask=window.mask,
            state=self._aligner.state(robot),
            state_age_s=lineage.robot_age_s,
            image_age_s=np.array(image_age_s, np.float32),
            view_motion=self._aligner.motion_since(stamps_ns, robot),
            feature_age_s=lineage.feature_age_s,
        )


def _continues(newer: FeatureSet, known: FeatureSet) -> bool:
    """Whether features and those before them tell how one scene moved."""
    return (
        known.feature_id < newer.feature_id
        and known.published_ns < newer.published_ns
        and known.task == newer.task
        and known.tokens.shape == newer.tokens.shape
    )


def _joined(tokens: Sequence[np.ndarray]) -> np.ndarray:
    return tokens[0] if len(tokens) == 1 else np.concatenate(tokens)


def _age_s(tick_ns: int, stamp_ns: int | None) -> float:
    return math.nan if stamp_ns is None else (tick_ns - stamp_ns) / NS
