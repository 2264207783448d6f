"""Messages of an episode at their original pace, with a simulated clock if wanted.

Used by `vla replay`. The schedule is absolute: lateness of one message never moves the next. Clock
ticks lie on multiples of their period, so that two replays tell the same times. Deliberately knows
no ROS: what to do with a message is a callable.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
import time

NS = 1_000_000_000
FINE_S = 0.001  # the end of a wait is slept in one piece this long at most


@dataclass(frozen=True)
class Event:
    """What to do at `time_ns` of the episode: a message, or a tick of the clock (topic '')."""

    time_ns: int
    topic: str = ''
    data: bytes = b''


def timeline(
    messages: Iterable[tuple[str, int, bytes]],
    start_ns: int,
    stop_ns: int,
    clock_period_ns: int = 0,
) -> Iterator[Event]:
    """Merge messages (topic, log time, bytes; sorted) with clock ticks; a tick comes before the
    messages of its time. The first tick is at `start_ns`, the last at or before `stop_ns`.
    """
    if not clock_period_ns:
        yield from (Event(log_ns, topic, data) for topic, log_ns, data in messages)
        return
    yield Event(start_ns)
    tick_ns = (start_ns // clock_period_ns + 1) * clock_period_ns
    for topic, log_ns, data in messages:
        while tick_ns <= log_ns:
            yield Event(tick_ns)
            tick_ns += clock_period_ns
        yield Event(log_ns, topic, data)
    while tick_ns <= stop_ns:
        yield Event(tick_ns)
        tick_ns += clock_period_ns


@dataclass
class Played:
    """What a replay did. Lateness is against the schedule, s, of messages only."""

    messages: int = 0
    ticks: int = 0
    lateness_s: list[float] = field(default_factory=list)
    stopped: bool = False

    def late_ms(self, share: float) -> float:
        """Return the lateness that `share` of the messages kept, ms."""
        late = sorted(self.lateness_s)
        return 1e3 * late[min(len(late) - 1, int(share * len(late)))] if late else 0.0


LATENESS_KEPT = 100_000  # half an hour at the lab's rates would be 800,000: the newest count


class Player:
    """Plays a timeline. One thread; `stop` may be called from another or a signal handler."""

    def __init__(
        self,
        rate: float,
        publish: Callable[[Event], None],
        steady: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """rate: episode seconds in a second."""
        self._rate = rate
        self._publish = publish
        self._steady = steady
        self._sleep = sleep
        self._stopped = False

    def stop(self) -> None:
        """End `play` soon."""
        self._stopped = True

    def play(self, events: Iterable[Event], start_ns: int) -> Played:
        """Publish every event at its time; `start_ns` of the episode is now."""
        played, origin_s = Played(), self._steady()
        for event in events:
            due_s = origin_s + (event.time_ns - start_ns) / NS / self._rate
            if not self._wait(due_s):
                played.stopped = True
                return played
            self._publish(event)
            if event.topic:
                played.messages += 1
                played.lateness_s.append(self._steady() - due_s)
                if len(played.lateness_s) > 2 * LATENESS_KEPT:
                    del played.lateness_s[:LATENESS_KEPT]
            else:
                played.ticks += 1
        return played

    def _wait(self, due_s: float) -> bool:
        """Sleep until `due_s`; False once stopped."""
        while not self._stopped:
            left_s = due_s - self._steady()
            if left_s <= 0:
                return True
            self._sleep(min(left_s, 0.1) if left_s > FINE_S else left_s)
        return False
