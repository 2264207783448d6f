"""Which chunks may go to the executor at all: the gate's first half.

Used by `SafetyGate.admit`, under its lock. Judges a whole chunk by its own content and by the
chunks before it. Deliberately knows nothing of the robot, and never mends a chunk: one bad number
refuses all of it.
"""

import numpy as np
from numpy.typing import NDArray

from vla_core.execution.values import TimedChunk
from vla_core.freshness import FUTURE_TOLERANCE_S, Reaction
from vla_core.safety.limits import SafetyLimits
from vla_core.safety.rules import numbers
from vla_core.safety.values import Intervention
from vla_core.timebase import NS, s_to_ns

Array = NDArray[np.float64]

STAMP_TOLERANCE_S = 0.001  # the expert's stamps are exact; a bag or another host may round
REMEMBERED = 64  # admitted chunks that a motion may still belong to: 6 s at 10 Hz

# A repeated or overtaken chunk says nothing against the newer one that is being executed.
HARMLESS = frozenset({'late_chunk', 'not_enabled', 'stopped', 'emergency_stop'})


class Admission:
    """Memory of the chunks that came. Not thread-safe: the gate's lock guards it.

    `alive_ns` is the tick of the newest valid chunk, also of one that only says 'hold'.
    """

    def __init__(self) -> None:
        self.alive_ns: int | None = None
        self.refusal: tuple[Intervention, ...] = ()  # of the newest chunk, () when it was good
        self._last: tuple[int, int] | None = None  # id and tick of the newest valid chunk
        self._hashes: tuple[str, str] | None = None  # of the newest valid chunk
        self._pinned: tuple[str, str] | None = None
        self._pinning = False
        self._admitted: dict[tuple[int, int], None] = {}

    def judge(
        self, chunk: TimedChunk, now_ns: int, limits: SafetyLimits
    ) -> tuple[Intervention, ...]:
        """All objections to a chunk, () when it may be executed. Remembers what came."""
        if self._last is not None and self._last[1] > now_ns + s_to_ns(FUTURE_TOLERANCE_S):
            self._last = None  # the clock was set back: nothing before it can be compared
        found = check_content(chunk, limits)
        found += check_time(chunk, now_ns, limits) + self._check_order(chunk, limits)
        found += self._check_origin(chunk)
        if not found:
            self._remember(chunk)
            if chunk.reaction not in (Reaction.USE, Reaction.MARK):
                word = 'stop' if chunk.reaction == Reaction.STOP else 'hold'
                found = (Intervention(f'upstream_{word}'),)
        return found

    def admit(self, chunk: TimedChunk) -> None:
        """Remember a chunk that goes to the executor."""
        self.refusal = ()
        if self._pinning and self._pinned is None:
            self._pinned = (chunk.checkpoint_hash, chunk.contract_hash)
        self._admitted[(chunk.chunk_id, chunk.made_ns)] = None
        while len(self._admitted) > REMEMBERED:
            del self._admitted[next(iter(self._admitted))]

    def refuse(self, found: tuple[Intervention, ...]) -> None:
        """Remember why the robot has to hold until a good chunk comes."""
        if any(what.kind not in HARMLESS for what in found):
            self.refusal = found

    def is_admitted(self, chunk_id: int, made_ns: int) -> bool:
        """Whether a motion's chunk was admitted since the last enable."""
        return (chunk_id, made_ns) in self._admitted

    def enable(self, now_ns: int, limits: SafetyLimits) -> None:
        """Pin the checkpoint of the expert that is running, else of the first one that comes."""
        self.forget()
        fresh = self._last is not None and (
            abs(now_ns - self._last[1]) <= s_to_ns(limits.chunk_hold_s)
        )
        self._pinned = self._hashes if fresh else None
        self._pinning = True

    def forget(self) -> None:
        """Nothing admitted so far may move the robot any more; no checkpoint is pinned."""
        self._admitted.clear()
        self.alive_ns, self.refusal = None, ()
        self._pinned, self._pinning = None, False

    def forget_motion(self) -> None:
        """The clock was set back: what was admitted must not move the robot, the pin stays."""
        self._admitted.clear()
        self.alive_ns = None
        self._last = None

    def _remember(self, chunk: TimedChunk) -> None:
        self._last = (chunk.chunk_id, chunk.made_ns)
        self._hashes = (chunk.checkpoint_hash, chunk.contract_hash)
        self.alive_ns = chunk.made_ns

    def _check_order(self, chunk: TimedChunk, limits: SafetyLimits) -> tuple[Intervention, ...]:
        """A restarted expert counts from 1 again, but only after a pause: without one there are
        two of them.
        """
        if self._last is None or chunk.chunk_id > self._last[0]:
            return ()
        last_id, last_ns = self._last
        if chunk.made_ns <= last_ns:
            return (Intervention('late_chunk', float(chunk.chunk_id), float(last_id)),)
        if chunk.made_ns - last_ns <= s_to_ns(limits.chunk_hold_s):
            return (Intervention('second_expert', float(chunk.chunk_id), float(last_id)),)
        return ()

    def _check_origin(self, chunk: TimedChunk) -> tuple[Intervention, ...]:
        if self._pinned is None:
            return ()
        checkpoint, contract = self._pinned
        found: tuple[Intervention, ...] = ()
        if chunk.checkpoint_hash != checkpoint:
            found += (Intervention('other_checkpoint'),)
        if chunk.contract_hash != contract:
            found += (Intervention('other_contract'),)
        return found


def check_content(chunk: TimedChunk, limits: SafetyLimits) -> tuple[Intervention, ...]:
    """Frame, shape, finite numbers and size of every step."""
    found: tuple[Intervention, ...] = ()
    if chunk.frame != limits.base_frame:
        found += (Intervention('frame'),)
    shape = (limits.chunk_steps, 6)
    if np.shape(chunk.delta) != shape:
        steps = float((np.shape(chunk.delta) or (0,))[0])
        return (*found, Intervention('chunk_shape', steps, float(limits.chunk_steps)))
    delta = numbers(chunk.delta, shape)
    if delta is None:
        return (*found, Intervention('not_finite'))
    return found + _check_steps(delta, limits)


def _check_steps(delta: Array, limits: SafetyLimits) -> tuple[Intervention, ...]:
    found: tuple[Intervention, ...] = ()
    with np.errstate(over='ignore'):
        moves, turns = np.linalg.norm(delta[:, :3], axis=1), np.linalg.norm(delta[:, 3:], axis=1)
    for largest, limit in ((moves.max(), limits.max_step_m), (turns.max(), limits.max_step_rad)):
        if not largest <= limit:
            found += (Intervention('huge_step', float(largest), limit),)
    return found


def check_time(chunk: TimedChunk, now_ns: int, limits: SafetyLimits) -> tuple[Intervention, ...]:
    """Age of the chunk, and its steps on the period from its tick on."""
    age = (now_ns - chunk.made_ns) / NS
    found: tuple[Intervention, ...] = ()
    if age > limits.chunk_hold_s:
        found += (Intervention('old_chunk', age, limits.chunk_hold_s),)
    elif age < -FUTURE_TOLERANCE_S:
        found += (Intervention('future_chunk', age, -FUTURE_TOLERANCE_S),)
    return found + _check_stamps(chunk, limits)


def _check_stamps(chunk: TimedChunk, limits: SafetyLimits) -> tuple[Intervention, ...]:
    stamps = np.asarray(chunk.step_stamps_ns)
    if stamps.shape != (limits.chunk_steps,) or not np.issubdtype(stamps.dtype, np.integer):
        return (Intervention('step_stamps', float(stamps.size), float(limits.chunk_steps)),)
    # Python integers: the difference of two hostile int64 may not fit.
    times = [int(stamp) for stamp in stamps.tolist()]
    tolerance_ns = s_to_ns(STAMP_TOLERANCE_S)
    period_ns = s_to_ns(limits.step_period_s)
    off_ns = max((abs(b - a - period_ns) for a, b in zip(times, times[1:])), default=0)
    if off_ns > tolerance_ns:
        return (Intervention('step_stamps', off_ns / NS, STAMP_TOLERANCE_S),)
    # Step 0 begins at the tick or one period later.
    lead_ns = times[0] - chunk.made_ns
    if not -tolerance_ns <= lead_ns <= period_ns + tolerance_ns:
        return (Intervention('step_stamps', lead_ns / NS, limits.step_period_s),)
    return ()
