"""From chunks to the robot: gate, executor and device wired together, and the command thread.

Used by robot_driver with a device that takes commands. It decides nothing itself: chunks go
through the gate to the executor, and only what the gate returns goes to the device. Deliberately
no ROS and no limits. What keeps a robot from running on when this thread is stuck is not in here
either: it is the robot's own velocity time-out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
import threading
import time

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vla_core.counters import Counters
from vla_core.errors import VlaError
from vla_core.execution.executor import ChunkExecutor
from vla_core.execution.values import Motion, TimedChunk
from vla_core.health import RateMeter
from vla_core.realtime import prefer_this_thread
from vla_core.safety.gate import Ages, SafetyGate
from vla_core.safety.values import ArmState, GateOutput, GateState, Intervention, Result
from vla_core.timebase import NS, s_to_ns
from vla_drivers.devices.base import CommandDevice

Array = NDArray[np.float64]

# Zero velocity goes on for this long after the gate has closed: the robot's own time-out would do
# it, too, but later.
TAIL_S = 0.1
NOT_MOVING = ('not_enabled', 'stopped', 'emergency_stop')


@dataclass(frozen=True, eq=False)
class CommandReport:
    """What became of the newest command, or of a chunk that was refused (`step` -1)."""

    stamp_ns: int
    result: Result
    interventions: tuple[Intervention, ...]
    gate: GateState
    velocity: Array  # (6,) sent to the robot, m/s and rad/s; zero when nothing was sent
    chunk_id: int = 0
    step: int = -1

    @property
    def key(self) -> tuple:
        """What makes a report a change."""
        return self.result, self.gate, tuple(what.kind for what in self.interventions)


class CommandPath:
    """Threads: `run` and `tick` belong to the command thread, `on_state` to the reader's, the rest
    may be called from any. Gate, executor and counters have locks of their own; one lock here
    guards the newest robot state. Counters: ticks_missed, woken, sent, not_sent.
    """

    def __init__(
        self,
        gate: SafetyGate,
        executor: ChunkExecutor,
        device: CommandDevice,
        period_s: float,
        on_change: Callable[[], None] = lambda: None,
        now_ns: Callable[[], int] = time.time_ns,
    ):
        self.gate, self.executor, self.device = gate, executor, device
        self.counters = Counters()
        self.rate = RateMeter()
        self.priority = ''
        self.force_latency_s = float('nan')  # from a sample's stamp to the stop it led to
        self._period_ns = s_to_ns(period_s)
        self._on_change = on_change
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._state: ArmState | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._tail = 0
        self._crossed_ns = 0
        self._ticked_steady_ns = time.monotonic_ns()
        self._refusal: CommandReport | None = None
        self._newest = CommandReport(
            now_ns(), Result.HELD, (Intervention('not_enabled'),), gate.state, np.zeros(6)
        )

    # What comes in -------------------------------------------------------------------------------

    def on_chunk(self, chunk: TimedChunk) -> None:
        """A chunk from the policy; a refused one is shown, see `take_refusal`."""
        now_ns = self._now_ns()
        found = self.gate.admit(chunk, now_ns)
        if not found:
            self.executor.add(chunk, now_ns)
        elif not any(what.kind in NOT_MOVING for what in found):  # counted, but no news
            self._refusal = CommandReport(
                now_ns, Result.REFUSED, found, self.gate.state, np.zeros(6), chunk.chunk_id
            )
            self._on_change()

    def on_samples(self, stamps_ns: ArrayLike, force_n: ArrayLike) -> None:
        """Force samples (N,) int64 ns, (N,) N: a crossed limit wakes the command thread."""
        stamps_ns = np.asarray(stamps_ns)
        if self.gate.observe_force(stamps_ns, force_n, self._now_ns()):
            self._crossed_ns = int(stamps_ns.max()) if stamps_ns.size else 0
            self._wake.set()

    def on_state(self, state: ArmState) -> None:
        """A new state of the robot; readiness and error are filled in here."""
        with self._lock:
            self._state = self._judged(state)
            self.gate.observe_state(self._state)

    def on_dead_man(self, pressed: bool) -> None:
        """The dead-man switch says whether it is held down."""
        self.gate.observe_dead_man(pressed, self._now_ns())

    def on_emergency_stop(self, source: str, pressed: bool) -> None:
        """A button that stays pressed until it is released."""
        self.gate.observe_emergency_stop(source, pressed)
        if pressed:
            self._halt()

    # What an operator asks for -------------------------------------------------------------------

    def enable(self) -> None:
        """Let chunks move the robot; VlaError with the reason when it may not be."""
        self._begin_afresh('not enabled')
        self.gate.enable(self._now_ns())

    def disable(self) -> None:
        """Bring the robot to rest; chunks are not executed any more."""
        self.gate.disable()
        self._halt()

    def emergency_stop(self, source: str) -> None:
        """Stop at once, whatever else is going on; `reset` and `enable` lead out."""
        self.gate.emergency_stop(source)
        self._halt()

    def reset(self) -> None:
        """Leave a latched stop; VlaError while its cause stands."""
        self._refresh_state()
        self.executor.clear()
        self.gate.reset()
        self._wake.set()

    def withdraw(self) -> None:
        """Pull the needle out along its axis; VlaError with the reason when it may not be."""
        self._begin_afresh('not withdrawn')
        self.gate.withdraw(self._now_ns())
        self._wake.set()

    def _begin_afresh(self, refused: str) -> None:
        """The newest state for the gate, nothing left to execute; VlaError if the robot is not
        ready, beginning with `refused`.
        """
        report = self.device.report()
        if not report.ready:
            raise VlaError(f'{refused}: robot is not ready: {report.detail}')
        self._refresh_state()
        self.executor.clear()

    # The command thread --------------------------------------------------------------------------

    def run(self, realtime_priority: int = 0) -> None:
        """Command on an absolute grid until `finish`, and at once when woken; leave at rest."""
        self.priority = prefer_this_thread(realtime_priority)
        deadline_ns = time.monotonic_ns()
        try:
            while not self._stop.is_set():
                self.tick(self._now_ns())
                deadline_ns = self._wait(deadline_ns)
        finally:
            self.gate.disable()
            self.device.stop()

    def finish(self) -> None:
        """Let `run` end, with the robot at rest."""
        self._stop.set()
        self._wake.set()

    def tick(self, now_ns: int) -> CommandReport:
        """Ask the executor, let the gate judge, send what it returns."""
        self._refresh_state()
        motion = self.executor.at(now_ns)
        out = self.gate.command(motion, now_ns)
        sent = self._send(out)
        if self._crossed_ns:
            self.force_latency_s = (self._now_ns() - self._crossed_ns) / NS
            self._crossed_ns = 0
        self._ticked_steady_ns = time.monotonic_ns()
        self.rate.tick(self._ticked_steady_ns)
        return self._show(now_ns, motion, out, sent)

    # What is shown -------------------------------------------------------------------------------

    @property
    def newest(self) -> CommandReport:
        """What became of the newest command."""
        return self._newest

    @property
    def tick_age_s(self) -> float:
        """Time since the command thread did something, s."""
        return (time.monotonic_ns() - self._ticked_steady_ns) / NS

    def take_refusal(self) -> CommandReport | None:
        """Return the newest refused chunk once."""
        refusal, self._refusal = self._refusal, None
        return refusal

    def ages(self) -> Ages:
        """Ages of chunk, sensor, state and the newest force."""
        return self.gate.ages(self._now_ns())

    # ---------------------------------------------------------------------------------------------

    def _halt(self) -> None:
        """Zero velocity now, from this thread as well: the command thread might be stuck."""
        self.executor.clear()
        self._wake.set()
        self.device.stop()

    def _judged(self, state: ArmState) -> ArmState:
        """A robot that needs recovery while it may move is an error, so that the gate latches:
        it must not go on by itself when it is ready again.
        """
        report = self.device.report()
        error = report.error
        if not error and report.recovery_needed and self.gate.state is GateState.ENABLED:
            error = report.detail
        return replace(state, ready=report.ready, error=error)

    def _refresh_state(self) -> None:
        """Errors count at once, not only with the next state: there may be none any more."""
        with self._lock:
            if self._state is None:
                return
            judged = self._judged(self._state)
            if (judged.ready, judged.error) != (self._state.ready, self._state.error):
                self._state = judged
                self.gate.observe_state(judged)

    def _send(self, out: GateOutput) -> bool:
        if self.gate.state is GateState.ENABLED or out.velocity.any():
            self._tail = s_to_ns(TAIL_S) // self._period_ns
        elif self._tail <= 0:
            return False
        else:
            self._tail -= 1
        sent = self.device.send_velocity(out.velocity)
        self.counters.add('sent' if sent else 'not_sent')
        return sent

    def _show(
        self, now_ns: int, motion: Motion | None, out: GateOutput, sent: bool
    ) -> CommandReport:
        report = CommandReport(
            now_ns,
            out.result,
            out.interventions,
            self.gate.state,
            out.velocity if sent else np.zeros(6),
            motion.chunk_id if motion else 0,
            motion.step if motion else -1,
        )
        changed, self._newest = report.key != self._newest.key, report
        if changed:
            self._on_change()
        return report

    def _wait(self, deadline_ns: int) -> int:
        """Sleep to the next point of the grid or until woken; return the point last reached."""
        due_ns = deadline_ns + self._period_ns
        remaining_ns = due_ns - time.monotonic_ns()
        if remaining_ns > 0 and self._wake.wait(remaining_ns / NS):
            self._wake.clear()
            self.counters.add('woken')
            return deadline_ns
        self._wake.clear()
        missed = max(0, -remaining_ns) // self._period_ns
        if missed:
            self.counters.add('ticks_missed', missed)
        return due_ns + missed * self._period_ns
