"""The engines in step with a replay: nothing depends on how fast this machine is.

Used by the two model nodes when their parameter `lockstep` is set, which only `vla replay
--lockstep` does. The replay moves /clock by small steps and waits for both nodes at each; here a
pass starts at a step, its result takes effect a modelled latency later. Deliberately knows no ROS,
and no replay: only that time stands still until this step was answered.
"""

from collections.abc import Callable
from dataclasses import replace
import threading

from vla_core.timebase import Clock
from vla_inference.engine.image_inbox import ImageInbox
from vla_inference.engine.records import FeatureSet, ImageSet

POLL_S = 0.001  # how soon a step of the clock is noticed


class LockstepPasses:
    """Passes at simulated times. `hold` takes the worker's results, `step` lets them go when due.

    One pass at a time: while one is under way, from its start to `latency_ns` later, no other
    starts. One thread calls everything.
    """

    def __init__(
        self,
        inbox: ImageInbox,
        process: Callable[[ImageSet], object],
        publish: Callable[[FeatureSet], None],
        latency_ns: int,
    ) -> None:
        """`process` runs one pass and gives its result to `hold`; `publish` is called with it when
        the latency is over. The inbox must run on simulated time.
        """
        self._inbox = inbox
        self._process = process
        self._publish = publish
        self._latency_ns = latency_ns
        self._made: FeatureSet | None = None

    def hold(self, made: FeatureSet) -> None:
        """Keep a result until it is due."""
        self._made = made

    def step(self, now_ns: int) -> bool:
        """Publish what is due at `now_ns`, start the pass that may start; True if published."""
        published = self._release(now_ns)
        if self._made is None and (images := self._inbox.take_if_ready()) is not None:
            self._process(images)
            published = self._release(now_ns) or published
        return published

    def _release(self, now_ns: int) -> bool:
        made = self._made
        if made is None or now_ns < made.started_ns + self._latency_ns:
            return False
        self._made = None
        self._publish(replace(made, published_ns=now_ns))
        return True


class HeldFeatures:
    """Features wait here until the first tick after they were published.

    A tick and a result of the same simulated time would otherwise race. One thread.
    """

    def __init__(self) -> None:
        self._waiting: list[FeatureSet] = []

    def add(self, features: FeatureSet) -> None:
        """Take in features as they come."""
        self._waiting.append(features)

    def take(self, tick_ns: int) -> list[FeatureSet]:
        """Return those published before `tick_ns`, oldest first; the others stay."""
        due = [item for item in self._waiting if item.published_ns < tick_ns]
        self._waiting = [item for item in self._waiting if item.published_ns >= tick_ns]
        return sorted(due, key=lambda item: (item.published_ns, item.feature_id))

    def clear(self) -> None:
        """Forget all."""
        self._waiting.clear()


def follow_clock(
    clock: Clock,
    step: Callable[[int], object],
    answer: Callable[[int], None],
    stop: threading.Event,
) -> None:
    """Call `step(now)` and then `answer(now)` once for every new time of the clock, until `stop`.

    A clock at 0 has not begun.
    """
    last_ns = 0
    while not stop.is_set():
        now_ns = clock.now_ns()
        if now_ns == last_ns:
            stop.wait(POLL_S)
            continue
        last_ns = now_ns
        step(now_ns)
        answer(now_ns)
