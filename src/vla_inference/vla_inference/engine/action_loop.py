"""The fast side: one chunk of actions at every point of the 10 Hz grid, whatever the inputs do.

`run` is the body of the action expert node's one worker thread. An input that is too old, an
expert that raises or gives numbers that are not finite: the chunk is zero, says why, and is
published on time. Nothing latches. Step k of a chunk is the motion during [stamp_k, stamp_k +
period), so step 0 begins at the tick itself: published some 25 ms later, a chunk takes over in the
middle of it, and the chunk before covers the time until then. Deliberately knows no ROS: the tick
source, the expert and the publishing are passed in, and no decoding, logging or disk happens here.
"""

from collections.abc import Callable
from dataclasses import dataclass
import threading
import time
from typing import Protocol

import numpy as np

from vla_core.counters import Counters
from vla_core.execution.continuation import Continuation, Prefix
from vla_core.freshness import Reaction
from vla_core.timebase import Clock, NS, Tick
from vla_inference.engine.input_buffers import InputBuffers, Snapshot
from vla_inference.engine.records import Chunk, Expert

# More than this in one 0.1 s step (1 m, or 1 rad) is no action but a broken one: the Meca500
# reaches 0.33 m, and turns its fastest joint by 0.87 rad. The safety limits proper belong to the
# gate in the driver's process.
MOST_STEP = 1.0


class TickSource(Protocol):
    """What `vla_core.timebase.SteadyGrid` is."""

    period_ns: int

    def wait(self, stop: threading.Event) -> Tick | None:
        """Sleep to the next grid point; None once `stop` is set."""
        ...


@dataclass(frozen=True)
class LoopSettings:
    """Shape of a chunk, and the seed that makes a run repeatable."""

    steps: int = 8
    dims: int = 6
    step_period_ns: int = NS // 10
    seed: int = 0
    publish_phase_ns: int = 0  # publish this long after the grid point; 0: as soon as ready
    realtime_chunking: bool = False  # continue the chunk before; the expert must take a prefix
    actuation_delay_s: float = 0.0  # publication to motion, added to the measured delay


@dataclass(frozen=True)
class Inferred:
    """What `_infer` found: the steps and whether they may be used."""

    delta: np.ndarray  # (steps, dims)
    reaction: Reaction
    reasons: tuple[str, ...]
    committed_steps: int = 0


class ActionLoop:
    """Ticks, asks the expert, publishes. `run` and `step` belong to one thread.

    Counters: ticks, deadline_misses, skipped_ticks, expert_failed, invalid_action,
    reaction_use/mark/hold/stop; with real-time chunking those of `continuation` beside them.
    """

    def __init__(
        self,
        buffers: InputBuffers,
        expert: Expert,
        ticks: TickSource,
        publish: Callable[[Chunk], None],
        settings: LoopSettings | None = None,
        clock: Clock | None = None,
        steady: Callable[[], int] = time.monotonic_ns,
        idle: Callable[[int], None] = lambda remaining_ns: None,
        sleep: Callable[[float], None] = time.sleep,
        refill: Callable[[], object] = lambda: None,
    ) -> None:
        self.counters = Counters()
        self.last: Chunk | None = None
        self._buffers = buffers
        self._expert = expert
        self._ticks = ticks
        self._publish = publish
        self._settings = settings = settings or LoopSettings()
        self.continuation = Continuation(
            settings.steps, settings.step_period_ns, settings.actuation_delay_s
        )
        self._clock = clock
        self._steady = steady
        self._idle = idle
        self._sleep = sleep
        self._refill = refill
        self._misses = 0

    def run(self, stop: threading.Event) -> None:
        """Tick until `stop` is set."""
        while (tick := self._ticks.wait(stop)) is not None:
            self.step(tick)
            self._idle(tick.deadline_steady_ns + self._ticks.period_ns - self._steady())

    def step(self, tick: Tick) -> Chunk:
        """Do one tick: take a snapshot of the inputs, infer if they allow it, publish."""
        if tick.skipped:
            self.counters.add('skipped_ticks', tick.skipped)
            self._count_misses(tick.skipped)
        begin_ns = self._steady()
        self._refill()
        snapshot = self._buffers.snapshot(tick.stamp_ns)
        ready_ns = self._steady()
        inferred = self._infer(snapshot, tick)
        end_ns = self._steady()
        self._await_phase(tick)
        chunk = self._chunk(tick, snapshot, inferred, (begin_ns, ready_ns, end_ns))
        self._publish(chunk)
        self.last = chunk
        self._remember(chunk)
        self.counters.add('ticks')
        self.counters.add(f'reaction_{chunk.reaction.name.lower()}')
        if self._steady() > tick.deadline_steady_ns + self._ticks.period_ns:
            self._count_misses(1)
        return chunk

    def _await_phase(self, tick: Tick) -> None:
        """Even out the varying time of inference where a constant period is worth the delay."""
        phase_ns = self._settings.publish_phase_ns
        remaining_ns = tick.deadline_steady_ns + phase_ns - self._steady()
        if phase_ns > 0 and remaining_ns > 0:
            self._sleep(remaining_ns / NS)

    def _infer(self, snapshot: Snapshot, tick: Tick) -> Inferred:
        settings = self._settings
        shape = (settings.steps, settings.dims)
        if snapshot.inputs is None or snapshot.tokens is None:
            return Inferred(np.zeros(shape), snapshot.reaction, snapshot.reasons)
        prefix, note = self._prefix(snapshot, tick)
        reaction = max(Reaction.MARK, snapshot.reaction) if note else snapshot.reaction
        reasons = (*snapshot.reasons, note) if note else snapshot.reasons
        problem = ''
        try:
            given = (snapshot.tokens, snapshot.inputs, settings.seed + tick.index)
            if prefix is None:
                delta = self._expert.act(*given)
            else:
                delta = self._expert.act(*given, prefix.delta, prefix.committed_steps)
            problem = _invalid(delta, shape)
        except Exception as error:  # noqa: BLE001 - whatever it is: counted, shown, and the robot holds
            self.counters.add('expert_failed')
            problem = f'failed: {type(error).__name__}: {_one_line(error)}'
        else:
            if problem:
                self.counters.add('invalid_action')
        if problem:
            reaction = max(Reaction.HOLD, reaction)
            return Inferred(np.zeros(shape), reaction, (*reasons, f'expert: {problem} (hold)'))
        committed = prefix.committed_steps if prefix else 0
        return Inferred(np.asarray(delta, np.float64), reaction, reasons, committed)

    def _prefix(self, snapshot: Snapshot, tick: Tick) -> tuple[Prefix | None, str]:
        if not self._settings.realtime_chunking:
            return None, ''
        return self.continuation.prefix(tick.stamp_ns, snapshot.task)

    def _remember(self, chunk: Chunk) -> None:
        """What was published is what the next chunk continues; a hold ends that."""
        if not self._settings.realtime_chunking:
            return
        if chunk.reaction >= Reaction.HOLD:
            self.continuation.held(chunk.total_s)
        else:
            self.continuation.published(chunk.tick_ns, chunk.delta, chunk.task, chunk.total_s)

    def _chunk(
        self,
        tick: Tick,
        snapshot: Snapshot,
        inferred: Inferred,
        times_ns: tuple[int, int, int],
    ) -> Chunk:
        begin_ns, ready_ns, end_ns = times_ns
        step_ns = self._settings.step_period_ns
        total_ns = self._steady() - tick.deadline_steady_ns
        return Chunk(
            chunk_id=tick.index + 1,
            tick_ns=tick.stamp_ns,
            step_stamps_ns=tuple(
                tick.stamp_ns + step * step_ns for step in range(self._settings.steps)
            ),
            delta=inferred.delta,
            reaction=inferred.reaction,
            reasons=inferred.reasons,
            task=snapshot.task,
            lineage=snapshot.lineage,
            published_ns=tick.stamp_ns + total_ns if self._clock is None else self._clock.now_ns(),
            tick_late_s=tick.late_ns / NS,
            snapshot_s=(ready_ns - begin_ns) / NS,
            inference_s=(end_ns - ready_ns) / NS,
            total_s=total_ns / NS,
            deadline_misses=self._misses,
            committed_steps=inferred.committed_steps,
        )

    def _count_misses(self, count: int) -> None:
        self._misses += count
        self.counters.add('deadline_misses', count)


def _invalid(delta: np.ndarray, shape: tuple[int, int]) -> str:
    """Return what is wrong with the expert's output, '' if nothing is."""
    if np.shape(delta) != shape:
        return f'gave shape {np.shape(delta)}, not {shape}'
    if not np.isfinite(delta).all():
        return 'gave numbers that are not finite'
    most = float(np.abs(delta).max())
    return f'gave a step of {most:.3g}, more than {MOST_STEP:g}' if most > MOST_STEP else ''


def _one_line(error: BaseException) -> str:
    text = ' '.join(str(error).split())
    return text if len(text) <= 120 else text[:117] + '...'
