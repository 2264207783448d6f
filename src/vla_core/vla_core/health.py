"""Health of a component as plain values: rates, levels, items with a message.

Made by devices, engines and nodes; vla_ros turns items into diagnostic_msgs, `vla monitor` draws
them. Deliberately publishes nothing and has no clock of its own.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
import threading

from vla_core.freshness import judge, Limits, Reaction
from vla_core.timebase import NS, s_to_ns


class Level(IntEnum):
    """Levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True)
class HealthItem:
    """One line of the diagnostics."""

    name: str
    level: Level
    message: str
    values: dict[str, str] = field(default_factory=dict)


class RateMeter:
    """Rate of events over the last `window_s`. Any thread may call; one lock guards all.

    Times are ns of one steady clock. Bursts are welcome: `n` events may come at one time.
    """

    def __init__(self, window_s: float = 5.0) -> None:
        self._window_ns = s_to_ns(window_s)
        self._lock = threading.Lock()
        self._events: deque[tuple[int, int]] = deque()
        self._count = 0
        self._total = 0

    def tick(self, now_ns: int, n: int = 1) -> None:
        """Count `n` events at `now_ns`."""
        with self._lock:
            self._events.append((now_ns, n))
            self._count += n
            self._total += n
            self._forget(now_ns)

    def hz(self, now_ns: int) -> float:
        """Events per second; falls to 0 within the window when they cease."""
        with self._lock:
            self._forget(now_ns)
            if len(self._events) < 2:
                return 0.0
            (first_ns, first_n), (last_ns, _) = self._events[0], self._events[-1]
            # Up to the last event a steady stream has its exact rate whatever the phase of the
            # asking; once the next one is overdue, the silence counts too.
            mean_ns = (last_ns - first_ns) / (len(self._events) - 1)
            end_ns = last_ns if now_ns - last_ns <= 2 * mean_ns else now_ns
            return (self._count - first_n) * NS / (end_ns - first_ns) if end_ns > first_ns else 0.0

    @property
    def total(self) -> int:
        """Events since construction."""
        return self._total

    def _forget(self, now_ns: int) -> None:
        while self._events and self._events[0][0] <= now_ns - self._window_ns:
            self._count -= self._events.popleft()[1]


def worst_level(items: Iterable[HealthItem]) -> Level:
    """Return the gravest level, OK when there are no items; ERROR is graver than STALE."""
    gravity = (Level.OK, Level.WARN, Level.STALE, Level.ERROR)
    return max((item.level for item in items), key=gravity.index, default=Level.OK)


def rate_item(
    name: str,
    hz: float,
    warn_below_hz: float,
    error_below_hz: float,
    values: dict[str, str] | None = None,
) -> HealthItem:
    """Judge a rate: STALE at 0, ERROR and WARN below their limits."""
    shown = {'rate_hz': f'{hz:.2f}', **(values or {})}
    if hz <= 0:
        return HealthItem(name, Level.STALE, 'nothing comes', shown)
    for level, limit in ((Level.ERROR, error_below_hz), (Level.WARN, warn_below_hz)):
        if hz < limit:
            return HealthItem(name, level, f'{hz:.2f} Hz < {limit:.2f} Hz', shown)
    return HealthItem(name, Level.OK, f'{hz:.2f} Hz', shown)


def age_item(
    name: str, age_s: float | None, limits: Limits, values: dict[str, str] | None = None
) -> HealthItem:
    """Judge an age by the contract's limits: mark WARN, hold ERROR, stop or nothing yet STALE."""
    verdict = judge(name, age_s, limits)
    shown = {'age_s': 'none' if age_s is None else f'{age_s:.3f}', **(values or {})}
    level = {
        Reaction.USE: Level.OK,
        Reaction.MARK: Level.WARN,
        Reaction.HOLD: Level.ERROR,
        Reaction.STOP: Level.STALE,
    }[verdict.reaction]
    if verdict.age_s is None:
        level = Level.STALE
    return HealthItem(name, level, verdict.reason or f'age {age_s:.3f} s', shown)
