"""Which of a source's time stamps are new, repeated, out of order or impossible.

Used by the streams of all three drivers, on the source's own stamps. No wire format has a sequence
number, so stamps are all there is. Deliberately does no conversion between clocks and drops
nothing itself.
"""

from collections import deque
from enum import Enum

from vla_core.timebase import NS

# Further back than this is not reordering, further ahead is not jitter: the source's clock was
# set, or
# the stamp is garbage. Which of the two shows when others follow suit.
STEP_NS = NS
CONFIRMATIONS = 3
HISTORY = 4096  # stamps remembered to tell a late one from a repeated one: 6 s at 700 Hz
_LEAD_DECAY = (
    1e-3  # share per message by which the lead follows: drift is slower, queueing shorter
)


class Novelty(Enum):
    """What a stamp is; the values are the kinds to count by."""

    NEW = 'new'
    DUPLICATE = 'duplicate'
    REORDERED = 'reordered'
    IMPOSSIBLE = 'impossible_time'


class Timeline:
    """Judges the stamps of one source in the order they come. One thread."""

    def __init__(self, history: int = HISTORY):
        self._seen: set[int] = set()
        self._order: deque[int] = deque()
        self._history = history
        self._lead_ns: float | None = None  # source's stamp minus our receive time, at its largest
        self._suspects: list[tuple[int, int]] = []
        self.newest_ns: int | None = None
        self.steps = 0

    def judge(self, stamp_ns: int, receive_ns: int) -> Novelty:
        """Judge one stamp and remember it."""
        if self.newest_ns is not None and self._impossible(stamp_ns, receive_ns):
            if not self._confirmed(stamp_ns, receive_ns):
                return Novelty.IMPOSSIBLE
            self._restart()
        else:
            self._suspects.clear()
        return self._place(stamp_ns, receive_ns)

    def _impossible(self, stamp_ns: int, receive_ns: int) -> bool:
        too_old = stamp_ns < self.newest_ns - STEP_NS
        return too_old or stamp_ns - receive_ns > self._lead_ns + STEP_NS

    def _confirmed(self, stamp_ns: int, receive_ns: int) -> bool:
        """Gather stamps on another time line; true when enough of them agree with each other."""
        if self._suspects:
            stamp, receive = self._suspects[-1]
            if abs((stamp_ns - stamp) - (receive_ns - receive)) > STEP_NS:
                self._suspects.clear()
            elif stamp_ns == stamp:
                return False  # a repeated one confirms nothing
        self._suspects.append((stamp_ns, receive_ns))
        return len(self._suspects) >= CONFIRMATIONS

    def _restart(self) -> None:
        self.steps += 1
        self.newest_ns = self._lead_ns = None
        self._suspects.clear()
        self._seen.clear()
        self._order.clear()

    def _place(self, stamp_ns: int, receive_ns: int) -> Novelty:
        lead_ns = stamp_ns - receive_ns
        if self._lead_ns is None or lead_ns > self._lead_ns:
            self._lead_ns = lead_ns
        else:
            self._lead_ns += (lead_ns - self._lead_ns) * _LEAD_DECAY
        if stamp_ns in self._seen:
            return Novelty.DUPLICATE
        self._seen.add(stamp_ns)
        self._order.append(stamp_ns)
        if len(self._order) > self._history:
            self._seen.discard(self._order.popleft())
        if self.newest_ns is not None and stamp_ns < self.newest_ns:
            return Novelty.REORDERED
        self.newest_ns = stamp_ns
        return Novelty.NEW
