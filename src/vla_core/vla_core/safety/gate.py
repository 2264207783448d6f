"""The safety gate: the last thing before the robot. It does not trust the policy.

The robot driver owns one. Threads: `command` and `admit` from the driver's threads, `observe_*`
from those that receive, `enable`, `disable`, `emergency_stop`, `reset`, `set_limits` from any; one
lock guards all. `now_ns` is the system clock: when it is set back, everything that came before is
forgotten and has to come anew.

Deliberately knows no device: whoever calls it sends what `command` returns and nothing else, and
drives the robot in a mode that stops by itself when commands cease. Knows neither the dynamics of
the arm nor collisions of anything but the tool centre point with the workspace box.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
import math
import threading

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_core.arms.base import Arm
from vla_core.counters import Counters
from vla_core.errors import VlaError
from vla_core.execution.values import Motion, TimedChunk
from vla_core.freshness import Reaction
from vla_core.safety import shaping
from vla_core.safety.admission import Admission
from vla_core.safety.advice import explain
from vla_core.safety.history import SentHistory, Tracking
from vla_core.safety.inputs import Inputs, outside
from vla_core.safety.limits import loosened, SafetyLimits
from vla_core.safety.motion import check_motion
from vla_core.safety.pose import Pose, pose_of
from vla_core.safety.retraction import Retraction
from vla_core.safety.rules import age_s, Finding, Grade, stop
from vla_core.safety.values import ArmState, GateOutput, GateState, Intervention, Result
from vla_core.spatial import length
from vla_core.timebase import s_to_ns

Array = NDArray[np.float64]

CLOCK_STEP_S = 0.002  # command thread only: its own time never goes back by more than jitter
VERIFY = 1e-6  # relative tolerance of the last look at the limits


@dataclass(frozen=True)
class Ages:
    """How old everything is, s; NaN before the first. `force_n` is the newest, zero subtracted."""

    chunk_s: float
    sensor_s: float
    state_s: float
    force_n: float


class SafetyGate:
    """See the module. Counters: chunks, chunks_refused, refused_<kind>; commands,
    commands_limited, commands_held, commands_retracting, limited_<kind>, held_<kind>; stops,
    stopped_<kind>, emergency_stops, retractions, withdrawals, clock_steps; those of Inputs and
    ForceWatch.
    """

    def __init__(self, limits: SafetyLimits, arm: Arm, period_s: float) -> None:
        if not 0.0005 <= period_s <= 0.1:
            raise ValueError(f'period_s = {period_s}: expected 0.0005 to 0.1 s')
        self.counters = Counters()
        self._limits, self._arm, self._period_s = limits, arm, period_s
        self._lock = threading.Lock()
        self._state = GateState.DISABLED
        self._causes: tuple[Intervention, ...] = ()  # of the latched state
        self._pressed: set[str] = set()
        self._admission = Admission()
        self._inputs = Inputs(self.counters)
        self._sent = SentHistory(period_s)
        self._tracking = Tracking()
        self._retraction: Retraction | None = None
        self._now_ns: int | None = None  # of the newest command

    @property
    def state(self) -> GateState:
        """Whether commands may pass. STOPPED already while withdrawing."""
        return self._state

    @property
    def limits(self) -> SafetyLimits:
        """The limits in force."""
        return self._limits

    @property
    def retracting(self) -> bool:
        """Whether the needle is being withdrawn."""
        return self._retraction is not None

    @property
    def causes(self) -> tuple[Intervention, ...]:
        """Why it is STOPPED or in EMERGENCY_STOP; () otherwise."""
        return self._causes

    def ages(self, now_ns: int) -> Ages:
        """Ages of chunk, sensor and state and the newest force, for whoever shows them."""
        with self._lock:
            pose = self._inputs.pose
            found = (
                age_s(now_ns, self._admission.alive_ns),
                age_s(now_ns, self._inputs.force.changed_ns),
                age_s(now_ns, pose.stamp_ns if pose else None),
            )
            chunk, sensor, state = (math.nan if age is None else age for age in found)
            return Ages(chunk, sensor, state, self._inputs.force.newest_n)

    def admit(self, chunk: TimedChunk, now_ns: int) -> tuple[Intervention, ...]:
        """() when the chunk may go to the executor; else why not, and the robot holds."""
        with self._lock:
            self.counters.add('chunks')
            found = self._admission.judge(chunk, now_ns, self._limits)
            if self._state is not GateState.ENABLED:
                kind = 'not_enabled' if self._state is GateState.DISABLED else str(self._state)
                found = (Intervention(kind), *found)
            elif chunk.reaction == Reaction.STOP:  # obeyed however the chunk is made
                self._stop((Intervention('upstream_stop'),))
            if found:
                self._admission.refuse(found)
                self._tally('refused', found)
                self.counters.add('chunks_refused')
            else:
                self._admission.admit(chunk)
            return found

    def observe_state(self, state: ArmState) -> None:
        """Take in the robot's newest state; a state with an error stops at the next command."""
        pose = pose_of(state, self._arm)
        with self._lock:
            self._inputs.take_state(state, pose)

    def observe_force(self, stamps_ns: ArrayLike, force_n: ArrayLike, now_ns: int) -> bool:
        """Take in samples (N,) int64 ns and (N,) N. True: a limit was crossed, command now."""
        with self._lock:
            crossed = self._inputs.force.observe(stamps_ns, force_n, now_ns, self._limits)
            if not crossed or self._state is not GateState.ENABLED:
                return False
            actions = {what.kind: self._action(what) for what in crossed}
            if 'stop' in actions.values():
                self._stop(crossed)
            elif 'retract' in actions.values():
                self._retract(crossed, now_ns)
            return True

    def observe_dead_man(self, pressed: bool, now_ns: int) -> None:
        """Take in the dead-man switch; it has to be said again before dead_man_hold_s is over."""
        with self._lock:
            self._inputs.dead_man = (pressed, now_ns)

    def observe_emergency_stop(self, source: str, pressed: bool) -> None:
        """Take in a button or topic that stays pressed: no reset before it is released."""
        with self._lock:
            (self._pressed.add if pressed else self._pressed.discard)(source)
        if pressed:
            self.emergency_stop(source)

    def command(self, motion: Motion | None, now_ns: int) -> GateOutput:
        """What may go to the robot now; to be called every period and whenever
        `observe_force` says so. Finite and inside every limit whatever comes in.
        """
        with self._lock:
            self._check_clock(now_ns)
            if self._retraction is not None:
                out = self._withdraw(self._retraction, now_ns)
            elif self._state is GateState.ENABLED:
                out = self._execute(motion, now_ns)
            else:
                out = self._rest()
            out = self._verify(out)
            velocity = out.velocity.tolist()
            self._sent.add(now_ns, velocity)
            self._tracking.add(now_ns, velocity, self._limits.look_ahead_s)
            self._count(out)
            return out

    def enable(self, now_ns: int) -> None:
        """Let chunks that come from now on move the robot. VlaError says what stands against."""
        with self._lock:
            if self._state is GateState.ENABLED:
                return
            if self._state is not GateState.DISABLED:
                raise VlaError(f'not enabled: the gate is {self._state}; call reset first')
            causes = self._inputs.check(now_ns, self._limits)
            if self._inputs.pose is not None:
                causes += outside(self._inputs.pose, self._arm, self._limits)
            if causes:
                raise VlaError('not enabled: ' + _sentence(c.what for c in causes))
            # From here on a clock that is set back is noticed, commands or not.
            self._now_ns = now_ns if self._now_ns is None else max(now_ns, self._now_ns)
            self._admission.enable(now_ns, self._limits)
            self._tracking.restart()
            self._state = GateState.ENABLED

    def disable(self) -> None:
        """Let nothing through any more. A latched stop stays latched; a withdrawal ends."""
        with self._lock:
            self._retraction = None
            if self._state is GateState.ENABLED:
                self._state = GateState.DISABLED
            self._admission.forget()

    def emergency_stop(self, source: str) -> None:
        """Zero velocity from now on, whatever else happens; `source` is for the reader."""
        with self._lock:
            if self._state is not GateState.EMERGENCY_STOP:
                self.counters.add('emergency_stops')
                self.counters.add(f'emergency_stop_{source}')
            self._retraction = None
            self._state = GateState.EMERGENCY_STOP
            self._causes = (Intervention('emergency_stop'),)
            self._admission.forget()

    def reset(self) -> None:
        """Leave a latched stop for DISABLED. VlaError while its cause is still there."""
        with self._lock:
            if self._state not in (GateState.STOPPED, GateState.EMERGENCY_STOP):
                return
            if self._retraction is not None:
                raise VlaError('not reset: the needle is being withdrawn; wait for its end')
            if self._pressed:
                names = ', '.join(sorted(self._pressed))
                raise VlaError(f'not reset: release the emergency stop first ({names})')
            causes = self._standing()
            if causes:
                raise VlaError('not reset: ' + _sentence(causes))
            self._state, self._causes = GateState.DISABLED, ()

    def withdraw(self, now_ns: int) -> None:
        """Pull the needle out along its axis, as an operator asks for; ends STOPPED.

        From any state but an emergency stop. VlaError says what stands against it.
        """
        with self._lock:
            if self._retraction is not None:
                return
            if self._state is GateState.EMERGENCY_STOP:
                raise VlaError('not withdrawn: the gate is in emergency stop; call reset first')
            pose = self._inputs.pose
            against = self._inputs.check_robot(now_ns, self._limits)
            against += self._inputs.check_dead_man(now_ns, self._limits)
            if against or pose is None:
                raise VlaError('not withdrawn: ' + _sentence(c.what for c in against))
            if self._state is not GateState.STOPPED:
                self._state, self._causes = GateState.STOPPED, (Intervention('withdrawal'),)
                self._admission.forget()
            self._tracking.restart()
            self._begin_retraction(pose, self._causes, whole=True)
            self.counters.add('withdrawals')

    def set_limits(self, limits: SafetyLimits) -> None:
        """Put other limits in force. VlaError when one is loosened while the robot may move."""
        with self._lock:
            looser = loosened(self._limits, limits)
            if looser and (self._state is GateState.ENABLED or self._retraction is not None):
                raise VlaError(
                    f'{", ".join(looser)}: may not be loosened while enabled; disable first'
                )
            self._limits = limits

    # What follows is called with the lock held.

    def _standing(self) -> tuple[Intervention, ...]:
        """What still stands of the causes that a reset looks at; ages are for `enable`."""
        found = self._inputs.force.over(self._limits)
        if self._inputs.error:
            found += (Intervention('robot_error'),)
        return found

    def _action(self, what: Intervention) -> str:
        limits = self._limits
        return limits.force_action if what.kind == 'force_limit' else limits.slope_action

    def _check_clock(self, now_ns: int) -> None:
        """A clock that was set back makes old data look fresh: forget it all."""
        if self._now_ns is not None and now_ns < self._now_ns - s_to_ns(CLOCK_STEP_S):
            self.counters.add('clock_steps')
            self._admission.forget_motion()
            self._inputs.forget()
            self._sent.forget_times()
            self._tracking.restart()
        self._now_ns = now_ns

    def _execute(self, motion: Motion | None, now_ns: int) -> GateOutput:
        findings = self._inputs.check(now_ns, self._limits)
        findings += check_motion(motion, self._admission, now_ns, self._limits)
        findings += self._check_tracking()
        why = tuple(finding.what for finding in findings)
        pose = self._inputs.pose
        if any(finding.grade is Grade.STOP for finding in findings):
            self._stop(tuple(f.what for f in findings if f.grade is Grade.STOP))
            return GateOutput(np.zeros(6), Result.STOPPED, why)
        if findings or motion is None or pose is None:
            return GateOutput(np.zeros(6), Result.HELD, why)
        velocity = np.asarray(motion.velocity, np.float64).tolist()
        shaped = self._shape(velocity, pose, now_ns)
        result = Result.EXECUTED
        if shaped.why:
            result = Result.LIMITED if any(shaped.velocity) else Result.HELD
        return GateOutput(np.array(shaped.velocity), result, shaped.why)

    def _check_tracking(self) -> tuple[Finding, ...]:
        limit_m = self._limits.max_tracking_error_m
        if self._inputs.pose is None:
            return ()
        error_m = self._tracking.error_m(self._inputs.pose, self._limits.look_ahead_s)
        return (stop('tracking', error_m, limit_m),) if error_m > limit_m else ()

    def _shape(self, velocity: Sequence[float], pose: Pose, now_ns: int) -> shaping.Shaped:
        """Slow a finite velocity down to every limit."""
        ahead_s = self._limits.look_ahead_s
        moves = self._sent.reach(pose.stamp_ns, now_ns, ahead_s)
        last = self._sent.last(now_ns, ahead_s)
        return shaping.shape(velocity, last, moves, pose, self._arm, self._period_s, self._limits)

    def _rest(self, *more: Intervention) -> GateOutput:
        """Zero velocity of a gate that is not enabled."""
        if self._state is GateState.DISABLED:
            return GateOutput(np.zeros(6), Result.HELD, (Intervention('not_enabled'), *more))
        return GateOutput(np.zeros(6), Result.STOPPED, (*self._causes, *more))

    def _stop(self, causes: tuple[Intervention, ...]) -> None:
        if self._state is not GateState.ENABLED:
            return
        self._state, self._causes = GateState.STOPPED, causes
        self._admission.forget()
        self.counters.add('stops')
        self._tally('stopped', causes)

    def _retract(self, causes: tuple[Intervention, ...], now_ns: int) -> None:
        """Begin to withdraw if the arm can be trusted to, else only stop."""
        self._stop(causes)
        pose = self._inputs.pose
        if pose is None or self._inputs.check_robot(now_ns, self._limits):
            return
        self._begin_retraction(pose, causes)
        self.counters.add('retractions')

    def _begin_retraction(
        self, pose: Pose, causes: tuple[Intervention, ...], *, whole: bool = False
    ) -> None:
        newest_n = self._inputs.force.newest_n
        force_n = abs(newest_n) if math.isfinite(newest_n) else 0.0
        self._retraction = Retraction(pose.position_m, pose.axis, force_n, causes, whole)

    def _withdraw(self, retraction: Retraction, now_ns: int) -> GateOutput:
        pose, limits = self._inputs.pose, self._limits
        findings = self._inputs.check_robot(now_ns, limits)
        findings += self._inputs.check_dead_man(now_ns, limits) + self._check_tracking()
        why = retraction.causes + tuple(finding.what for finding in findings)
        if findings or pose is None:
            self._retraction = None
            return GateOutput(np.zeros(6), Result.STOPPED, why)
        end = retraction.end(pose, self._inputs.force.newest_n, self._period_s, limits)
        if end is not None:
            self._retraction = None
            return GateOutput(np.zeros(6), Result.STOPPED, (*why, end))
        shaped = self._shape(retraction.velocity(limits), pose, now_ns)
        retraction.note(shaped.velocity, self._period_s)
        return GateOutput(np.array(shaped.velocity), Result.RETRACTING, why + shaped.why)

    def _verify(self, out: GateOutput) -> GateOutput:
        """A last look, independent of how the velocity came about."""
        x, y, z, a, b, c = out.velocity.tolist()
        linear, angular = length((x, y, z)), length((a, b, c))
        limits = self._limits
        if linear <= limits.max_speed_m_s * (1 + VERIFY) and angular <= limits.max_turn_rad_s * (
            1 + VERIFY
        ):
            return out
        cause = Intervention('gate_fault', linear, limits.max_speed_m_s)
        self._retraction = None
        self._stop((cause,))
        return replace(
            out,
            velocity=np.zeros(6),
            result=Result.STOPPED,
            interventions=(*out.interventions, cause),
        )

    def _count(self, out: GateOutput) -> None:
        self.counters.add('commands')
        words = {Result.LIMITED: 'limited', Result.HELD: 'held', Result.RETRACTING: 'retracting'}
        word = words.get(out.result)
        if word is not None and (self._state is GateState.ENABLED or word == 'retracting'):
            self.counters.add(f'commands_{word}')
            self._tally(word, out.interventions)

    def _tally(self, word: str, found: tuple[Intervention, ...]) -> None:
        for kind in {what.kind for what in found}:
            self.counters.add(f'{word}_{kind}')


def _sentence(causes: Iterable[Intervention]) -> str:
    return '; '.join(explain(what) for what in causes)
