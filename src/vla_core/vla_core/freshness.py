"""How old is too old: age limits, graded reactions, and age by NEW content.

Called by the action loop at every tick and by the drivers' diagnostics. Deliberately knows no
clock: ages come in. A frozen camera that keeps sending the same frame with new stamps is stale,
because the `ContentTracker` keeps the stamp of the last frame that was different.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
import hashlib
import math

from vla_core.timebase import NS

# Clocks of the lab agree within 20 ms (legacy docs); an input dated further ahead than this would
# look fresh for ever, so it is held like a stale one.
FUTURE_TOLERANCE_S = 0.1
# An older stamp is reordering up to here, beyond it the source's clock was set back.
BACKWARD_STEP_NS = NS


class Reaction(IntEnum):
    """What to do about an input; the numbers are those of vla_msgs/ActionChunk."""

    USE = 0
    MARK = 1
    HOLD = 2
    STOP = 3


@dataclass(frozen=True)
class Limits:
    """Ages, s, above which an input is marked, the robot holds, the robot stops."""

    mark_s: float
    hold_s: float
    stop_s: float

    def __post_init__(self) -> None:
        if not 0 < self.mark_s <= self.hold_s <= self.stop_s:
            raise ValueError(
                'limits must be 0 < mark_s <= hold_s <= stop_s, '
                f'not {self.mark_s}, {self.hold_s}, {self.stop_s}'
            )


@dataclass(frozen=True)
class Verdict:
    """The judgement of one input at one tick."""

    name: str
    reaction: Reaction
    reason: str  # '' when fresh
    age_s: float | None = None


def judge(name: str, age_s: float | None, limits: Limits) -> Verdict:
    """Judge one input by its age, s; None or NaN means that nothing came yet."""
    if age_s is None or math.isnan(age_s):
        return Verdict(name, Reaction.HOLD, f'{name}: nothing received yet')
    if age_s < -FUTURE_TOLERANCE_S:
        text = f'{name}: dated {-age_s:.2f} s ahead of this clock (hold); check the clocks'
        return Verdict(name, Reaction.HOLD, text, age_s)
    for reaction, limit_s in (
        (Reaction.STOP, limits.stop_s),
        (Reaction.HOLD, limits.hold_s),
        (Reaction.MARK, limits.mark_s),
    ):
        if age_s > limit_s:
            text = f'{name}: age {age_s:.2f} s > {limit_s:.2f} s ({reaction.name.lower()})'
            return Verdict(name, reaction, text, age_s)
    return Verdict(name, Reaction.USE, '', age_s)


def worst(verdicts: Iterable[Verdict]) -> Reaction:
    """Return the gravest reaction; USE when there are no verdicts."""
    return max((verdict.reaction for verdict in verdicts), default=Reaction.USE)


class ContentTracker:
    """Remembers when a source last brought NEW content. One thread observes; any may read."""

    def __init__(self) -> None:
        self._digest: bytes | int | None = None
        self.changed_ns: int | None = None  # stamp of the newest content that differed
        self.seen_ns: int | None = None  # stamp of the newest observation, changed or not
        self.frozen_count = 0  # observations in a row that brought nothing new
        self.frozen_total = 0
        self.changed_total = 0  # observations that brought something new
        self.clock_steps = 0  # times the source's stamps went back by more than a second

    def observe(self, stamp_ns: int, content: bytes | bytearray | memoryview | int) -> bool:
        """Take in one observation (its bytes, or a hash of them); True if the content is new."""
        if self.seen_ns is not None and stamp_ns < self.seen_ns - BACKWARD_STEP_NS:
            self.clock_steps += 1
            self.seen_ns = stamp_ns
            self.changed_ns = None
        self.seen_ns = stamp_ns if self.seen_ns is None else max(self.seen_ns, stamp_ns)
        digest = (
            content
            if isinstance(content, int)
            else hashlib.blake2b(content, digest_size=16).digest()
        )
        if digest == self._digest and self.changed_ns is not None:
            self.frozen_count += 1
            self.frozen_total += 1
            return False
        self._digest = digest
        self.changed_ns = stamp_ns if self.changed_ns is None else max(self.changed_ns, stamp_ns)
        self.frozen_count = 0
        self.changed_total += 1
        return True

    def age_s(self, now_ns: int) -> float | None:
        """Seconds since the last new content, None before the first."""
        changed_ns = self.changed_ns
        return None if changed_ns is None else (now_ns - changed_ns) / NS
