"""An episode in small steps of simulated time, each of them answered before the next.

Used by `vla replay --lockstep`. Two replays of one episode give the nodes the same messages before
the same step, however slow the machine is. Deliberately knows no ROS: what the nodes are is a
protocol here.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
import time
from typing import Protocol

from vla_core.errors import VlaError

STEP_NS = 10_000_000  # resolution of what happens between two ticks: starts and ends of passes
RESEND_S = 0.2  # /clock is best effort: the same time is told again until it is answered


@dataclass(frozen=True)
class Step:
    """One time of the clock and the messages that were logged up to it, since the step before."""

    time_ns: int
    messages: tuple[tuple[str, bytes], ...]  # topic, serialized
    is_tick: bool  # a chunk is due


def first_tick_ns(start_ns: int, period_ns: int) -> int:
    """Return the last multiple of the period before `start_ns`: the first tick sees nothing."""
    return (start_ns - 1) // period_ns * period_ns


def steps(
    messages: Iterable[tuple[str, int, bytes]],
    start_ns: int,
    stop_ns: int,
    period_ns: int,
    step_ns: int = STEP_NS,
) -> Iterator[Step]:
    """Yield the steps from the first tick to `stop_ns`, without a gap.

    messages: (topic, log time, bytes), sorted, from `start_ns` on. ValueError when the period is
    no multiple of the step.
    """
    if period_ns % step_ns:
        raise ValueError(f'the step, {step_ns} ns, is no part of the period, {period_ns} ns')
    now_ns = first_ns = first_tick_ns(start_ns, period_ns)
    waiting: list[tuple[str, bytes]] = []
    for topic, log_ns, data in messages:
        while now_ns < log_ns:
            yield Step(now_ns, tuple(waiting), (now_ns - first_ns) % period_ns == 0)
            waiting.clear()
            now_ns += step_ns
        waiting.append((topic, data))
    while waiting or now_ns <= stop_ns:
        yield Step(now_ns, tuple(waiting), (now_ns - first_ns) % period_ns == 0)
        waiting.clear()
        now_ns += step_ns


class Nodes(Protocol):
    """The nodes under replay."""

    def send(self, topic: str, data: bytes) -> None:
        """Publish one message."""
        ...

    def undelivered(self, is_tick: bool) -> list[str]:
        """Wait a moment; return the topics whose messages not all readers have, of those that the
        step needs.
        """
        ...

    def advance(self, time_ns: int) -> None:
        """Tell the time."""
        ...

    def unanswered(self, step: Step, timeout_s: float) -> list[str]:
        """Wait that long at most; return who has not answered the step."""
        ...


class LockstepError(VlaError):
    """A node did not take in a message or did not answer a step in time."""


@dataclass
class Walked:
    """What a replay did."""

    steps: int = 0
    ticks: int = 0
    messages: int = 0
    stopped: bool = False


def walk(
    every: Iterable[Step],
    nodes: Nodes,
    patience_s: float,
    first_patience_s: float,
    stopped: Callable[[], bool] = lambda: False,
    steady: Callable[[], float] = time.monotonic,
) -> Walked:
    """Take the nodes through all steps. LockstepError after `patience_s` without an answer; at the
    first step, when they still load their models, after `first_patience_s`.
    """
    walked = Walked()
    for step in every:
        for topic, data in step.messages:
            nodes.send(topic, data)
        end_s = steady() + (patience_s if walked.steps else first_patience_s)
        while late := nodes.undelivered(step.is_tick):
            if stopped() or steady() > end_s:
                break
        while not late and not stopped():
            nodes.advance(step.time_ns)
            missing = nodes.unanswered(step, RESEND_S)
            if not missing:
                break
            if steady() > end_s:
                raise LockstepError(f'no answer to step {walked.steps} of {" and ".join(missing)}')
        if stopped():
            walked.stopped = True
            return walked
        if late:
            raise LockstepError(f'nobody takes in {", ".join(late)} at step {walked.steps}')
        walked.steps += 1
        walked.ticks += step.is_tick
        walked.messages += len(step.messages)
    return walked
