"""One goal of ExecuteTask from begin to end: what ends it, and what the client is told meanwhile.

`task_node` feeds it from its subscriptions and calls `tick` five times a second, all in one
thread. It ends by success, a cancel, the time-out, or the safety gate. Deliberately commands
nothing and knows no ROS.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
import math

import numpy as np
from numpy.typing import NDArray

from vla_core.safety.telling import tell
from vla_core.surface import surface_distance_m, SurfaceSettings
from vla_inference.engine.instructions import aim_of
from vla_inference.engine.task_success import Success, SuccessSettings

Array = NDArray[np.float64]

ENABLED = 'enabled'


class Outcome(IntEnum):
    """How a goal ended; the numbers are those of vla_msgs/ExecuteTask, where 0 is unknown."""

    SUCCESS = 1
    CANCELED = 2
    TIMEOUT = 3
    GATE_STOP = 4
    REFUSED = 5


@dataclass(frozen=True)
class WatchSettings:
    """Limits of a goal."""

    timeout_s: float = 60.0  # of a goal that names none
    status_stale_s: float = 1.0  # without a CommandStatus for this long the driver is gone
    sensor_stale_s: float = 0.3  # an older A-scan says nothing


@dataclass(frozen=True)
class GateView:
    """The newest CommandStatus as far as the watch needs it."""

    stamp_ns: int  # when it arrived
    gate: str
    reasons: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    limits: tuple[float, ...] = ()

    def why(self) -> str:
        """The reasons with value and limit, for a person."""
        return tell(self.reasons, self.values, self.limits)


@dataclass(frozen=True)
class End:
    """The result of a goal."""

    outcome: Outcome
    detail: str
    duration_s: float = 0.0
    peak_force_n: float = math.nan


@dataclass(frozen=True)
class ChunkView:
    """The newest chunk as far as the client is told about it."""

    reaction: int = 0
    reasons: tuple[str, ...] = ()
    ages_s: tuple[float, float, float, float] = (math.nan,) * 4  # image, feature, sensor, robot


@dataclass(frozen=True)
class Progress:
    """What the client is told while it runs."""

    elapsed_s: float
    progress: float
    held_s: float
    surface_distance_m: float
    force_n: float
    chunk: ChunkView
    reasons: tuple[str, ...]


class TaskWatch:
    """Idle or running one goal. Observations are cheap while idle. One thread."""

    def __init__(
        self,
        settings: WatchSettings,
        success: SuccessSettings,
        surface: SurfaceSettings,
    ) -> None:
        self._settings, self._success_settings, self._surface = settings, success, surface
        self._gate: GateView | None = None
        self._success: Success | None = None
        self.instruction = ''
        self._chunk = ChunkView()

    @property
    def running(self) -> bool:
        """Whether a goal is being worked on."""
        return self._success is not None

    def refusal(self, instruction: str, timeout_s: float, now_ns: int) -> str:
        """Why a goal cannot begin now and what to do about it; '' when it can."""
        if self.running:
            return f"busy with '{self.instruction}': cancel it first"
        if aim_of(instruction) is None:
            return (
                f"instruction '{instruction}' names no aim that can be judged: say "
                "'insert ...' or 'retract ...'"
            )
        if not (math.isfinite(timeout_s) and timeout_s >= 0.0):
            return f'timeout_s = {timeout_s:g}: expected 0 (the default) or more'
        return self.gate_refusal(now_ns)

    def gate_refusal(self, now_ns: int) -> str:
        """Why the gate lets no goal begin; '' when it does."""
        gate = self._gate
        if gate is None or now_ns - gate.stamp_ns > self._settings.status_stale_s * 1e9:
            return 'the robot driver is silent on robot/command_status: start it (vla up)'
        if not gate.gate or 'device_state_only' in gate.reasons:
            return 'the robot driver takes no commands: start it with device: mecademic'
        if gate.gate != ENABLED:
            advice = 'vla robot enable'
            if gate.gate != 'disabled':
                advice = 'remove the cause, then vla robot reset and vla robot enable'
            return f'the safety gate is {gate.gate}: {advice}'
        return ''

    def begin(self, instruction: str, timeout_s: float, now_ns: int) -> None:
        """Start the goal that `refusal` had nothing against."""
        aim = aim_of(instruction)
        assert aim is not None
        self.instruction, self._aim = instruction, aim
        self._success = Success(aim, self._success_settings)
        self._begin_ns = now_ns
        self._timeout_s = timeout_s if timeout_s > 0.0 else self._settings.timeout_s
        self._scan_ns: int | None = None
        self._force_n = self._peak_force_n = math.nan
        self._chunk = ChunkView()

    def stop(self) -> None:
        """Forget the goal; it has been ended from outside."""
        self._success = None

    def observe_gate(self, view: GateView) -> None:
        """Take in a CommandStatus; also while idle."""
        self._gate = view

    def refused(self, now_ns: int) -> bool:
        """Take in that a chunk was refused: the driver lives, and nothing else. False when there
        is nothing known yet that this could leave as it is.
        """
        if self._gate is None or 'device_state_only' in self._gate.reasons:
            return False
        self._gate = replace(self._gate, stamp_ns=now_ns)
        return True

    def observe_samples(self, force_n: Array, profiles: Array, now_ns: int) -> None:
        """Take in samples: force (N,) N, A-scans (N, P), of which the newest is looked at."""
        if self._success is None or len(force_n) == 0:
            return
        self._scan_ns = now_ns
        finite = np.abs(force_n[np.isfinite(force_n)])
        if len(finite):
            self._force_n = float(force_n[-1])
            self._peak_force_n = float(np.nanmax([self._peak_force_n, finite.max()]))
        self._success.observe_surface(surface_distance_m(profiles[-1], self._surface))

    def observe_tip(self, tip_m: Array, axis: Array) -> None:
        """Take in the tip (3,) m and the needle's direction (3,), base frame."""
        if self._success is not None:
            self._success.observe_tip(tip_m, axis)

    def observe_chunk(self, task: str, delta: Array, view: ChunkView) -> None:
        """Take in a chunk; only one made for this goal's instruction tells about the policy."""
        if self._success is not None and task == self.instruction:
            self._chunk = view
            if delta.ndim == 2 and delta.shape[1] == 6 and len(delta) and view.reaction < 2:
                self._success.observe_policy(delta)

    def tick(self, now_ns: int, canceled: bool = False) -> End | Progress:
        """Judge: the end of the goal, which is over then, or how far it is."""
        assert self._success is not None
        success, elapsed_s = self._success, (now_ns - self._begin_ns) / 1e9
        # First, for its held time is part of what the others report.
        reached = success.tick(now_ns, self._sees(now_ns))
        end = self._ended_by_gate(now_ns)
        if end is None and canceled:
            end = (Outcome.CANCELED, 'canceled by the client')
        if end is None and reached:
            end = (Outcome.SUCCESS, reached)
        if end is None and elapsed_s >= self._timeout_s:
            end = (Outcome.TIMEOUT, f'no success within {self._timeout_s:g} s; {self._state()}')
        if end is None:
            return self._progress(success, elapsed_s)
        self._success = None
        return End(*end, elapsed_s, self._peak_force_n)

    def _sees(self, now_ns: int) -> bool:
        stale_ns = self._settings.sensor_stale_s * 1e9
        return self._scan_ns is not None and now_ns - self._scan_ns <= stale_ns

    def _ended_by_gate(self, now_ns: int) -> tuple[Outcome, str] | None:
        gate = self._gate
        assert gate is not None
        silent_s = (now_ns - gate.stamp_ns) / 1e9
        if silent_s > self._settings.status_stale_s:
            return (
                Outcome.GATE_STOP,
                f'no robot/command_status for {silent_s:.1f} s: the robot driver is silent',
            )
        if gate.gate != ENABLED:
            why = gate.why()
            return Outcome.GATE_STOP, f'the safety gate is {gate.gate}' + (why and f': {why}')
        return None

    def _state(self) -> str:
        assert self._success is not None
        distance_m = self._success.distance_m
        if not math.isfinite(distance_m):
            return 'no surface in sight'
        return (
            f'surface at {distance_m * 1e3:.2f} mm, needle {self._success.travel_m * 1e3:.1f} mm '
            'forward since it first saw one'
        )

    def _progress(self, success: Success, elapsed_s: float) -> Progress:
        reasons: Sequence[str] = self._gate.reasons if self._gate is not None else ()
        return Progress(
            elapsed_s,
            success.progress(),
            success.held_s,
            success.distance_m,
            self._force_n,
            self._chunk,
            (*self._chunk.reasons, *reasons),
        )
