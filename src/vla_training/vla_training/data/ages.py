"""How old features are when they are used: the distribution that training draws from.

Used by the data set. Either what recordings measured (`vlm/info`), or a model of the pass: its
duration, how often one starts, and a tick that falls anywhere between two results. Deliberately
knows no pictures: which ones a pass could have used follows from the recording itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from vla_core.errors import VlaError
from vla_core.timebase import NS
from vla_data.bag_reader import Bag

INFO_TOPIC = 'vlm/info'
_MOST_S = 10.0  # an age beyond this is a restart or another clock, no measurement


class Drawn(NamedTuple):
    """Ages of `count` samples, (count,) s each."""

    age_s: np.ndarray  # of the features at the tick
    delay_s: np.ndarray  # duration of their pass
    period_s: np.ndarray  # from the pass before to this one


class AgeModel(Protocol):
    """A distribution of ages."""

    def draw(self, count: int, rng: np.random.Generator) -> Drawn:
        """Draw `count` ages."""
        ...


@dataclass(frozen=True)
class LatencyAges:
    """Passes of `delay_s` (drawn evenly from least to most), one every 1 / `rate_hz` at most.

    Defaults: the legacy system's 381 ms at 2.6 Hz.
    """

    delay_s: tuple[float, float] = (0.381, 0.381)
    rate_hz: float = 2.6

    def __post_init__(self) -> None:
        if not 0.0 <= self.delay_s[0] <= self.delay_s[1] < _MOST_S:
            raise VlaError(f'delay_s {self.delay_s}: expected 0 <= least <= most, in seconds')
        if not 0.01 <= self.rate_hz <= 1000.0:
            raise VlaError(f'rate_hz {self.rate_hz}: expected a number from 0.01 to 1000')

    def draw(self, count: int, rng: np.random.Generator) -> Drawn:
        """See AgeModel: a tick falls anywhere between two results."""
        delay_s = rng.uniform(*self.delay_s, count)
        period_s = np.maximum(1.0 / self.rate_hz, delay_s)
        return Drawn(rng.random(count) * period_s, delay_s, period_s)


@dataclass(frozen=True)
class FixedAges:
    """Always the same: with zeros, age sampling is off and features are as new as the pictures."""

    feature_age_s: float = 0.0
    delay_s: float = 0.0
    period_s: float = 1 / 2.6

    def draw(self, count: int, rng: np.random.Generator) -> Drawn:
        """See AgeModel."""
        own = self.feature_age_s, self.delay_s, self.period_s
        return Drawn(*(np.full(count, value) for value in own))


@dataclass(frozen=True, eq=False)
class MeasuredAges:
    """What recordings measured, drawn row by row: the numbers of a row belong together."""

    rows: np.ndarray  # (M, 3) s, as of `Drawn`

    def __post_init__(self) -> None:
        if self.rows.ndim != 2 or self.rows.shape[1] != 3 or not len(self.rows):
            raise VlaError(
                f'no feature ages were measured: the recordings hold no {INFO_TOPIC}; use the '
                'latency model'
            )

    def draw(self, count: int, rng: np.random.Generator) -> Drawn:
        """See AgeModel."""
        return Drawn(*self.rows[rng.integers(len(self.rows), size=count)].T.copy())


def ages_in(bag: Bag, ticks_ns: Sequence[int]) -> np.ndarray:
    """Measure (M, 3) s, see MeasuredAges: the newest `vlm/info` known at each tick, if there is
    one and one before it.
    """
    topic = bag.find(INFO_TOPIC)
    if topic is None or bag.topics[topic].type != 'vla_msgs/msg/VLFeatureInfo':
        return np.zeros((0, 3))
    known, started, published = [], [], []
    for _, log_ns, message in bag.messages([topic]):
        known.append(log_ns)
        started.append(_ns(message.started_stamp))
        published.append(_ns(message.published_stamp))
    if not known:
        return np.zeros((0, 3))
    ticks = np.asarray(ticks_ns, np.int64)
    newest = np.searchsorted(np.asarray(known, np.int64), ticks, 'right') - 1
    ticks, newest = ticks[newest >= 1], newest[newest >= 1]
    ready, begun = np.asarray(published, np.int64)[newest], np.asarray(started, np.int64)
    period = begun[newest] - begun[newest - 1]
    rows = np.stack([ticks - ready, ready - begun[newest], period], 1) / NS
    sound = ((rows >= 0.0) & (rows < _MOST_S)).all(1)
    return rows[sound]


def measured(folders: Sequence[Path], ticks_period_ns: int) -> MeasuredAges:
    """Measure ages in whole recordings, at ticks of a period. VlaError where there are none."""
    from vla_data.bag_reader import open_bag

    rows = []
    for folder in folders:
        with open_bag(folder) as bag:
            first = -(-bag.start_ns // ticks_period_ns) * ticks_period_ns
            rows.append(ages_in(bag, range(first, bag.last_ns + 1, ticks_period_ns)))
    return MeasuredAges(np.concatenate(rows) if rows else np.zeros((0, 3)))


def _ns(stamp: object) -> int:
    return int(stamp.sec) * NS + int(stamp.nanosec)  # type: ignore[attr-defined]
