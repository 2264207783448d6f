"""The samples of one bag at any rate: the contract's alignment on another grid of ticks.

Called by the exports. A tick knows what the live node would have known then; the action is what
the robot did until the next tick. At the contract's own rate these are exactly `SampleReader`'s
samples. Deliberately forward only.
"""

from collections.abc import Iterator
import dataclasses
from fractions import Fraction

from vla_core.contract import check_same, Contract
from vla_core.timebase import NS
from vla_data.bag_reader import Bag
from vla_data.errors import BagError
from vla_data.samples.feed import CountsOnce, Feed
from vla_data.samples.topics import find_topics, POSE, stamp_ns
from vla_data.samples.values import Sample


class Ticks:
    """Ticks of one bag at `rate_hz`, on the grid through the Unix epoch. One thread."""

    def __init__(self, bag: Bag, contract: Contract, rate_hz: int) -> None:
        """BagError when the bag has no robot, or is too short for one tick."""
        own = bag.info.contract()
        if own is not None:
            check_same(contract, own, 'asked for', f'of {bag.path}')
        self.bag = bag
        self.counters = CountsOnce()
        self._topics = find_topics(bag, contract)
        period_s = float(Fraction(1, rate_hz))
        action = dataclasses.replace(contract.action, period_s=period_s)
        self._contract = dataclasses.replace(contract, action=action)
        self._rate_hz = rate_hz
        self._first, self._count = self._lay_grid()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Sample]:
        feed = Feed(
            self.bag, self._topics, self._contract, self.bag.start_ns, self.counters, 0
        )  # fmt: skip
        for index in range(self._count):
            feed.advance(self.tick_ns(index))
            yield feed.sample(0)

    def tick_ns(self, index: int) -> int:
        """Tick of a frame, Unix ns; rounded from the exact grid, so that it never drifts."""
        return round(Fraction((self._first + index) * NS, self._rate_hz))

    @property
    def views(self) -> tuple[str, ...]:
        """Views that are there, in model order."""
        kinds = set(self._topics.kinds.values())
        return tuple(view for view in self._contract.view_names if view in kinds)

    @property
    def has_sensor(self) -> bool:
        """Whether the sensor was recorded."""
        return 'sensor' in self._topics.kinds.values()

    def _lay_grid(self) -> tuple[int, int]:
        begin_ns = max(self.bag.topics[topic].first_ns for topic in self._topics.streamed)
        topic = self._topics.topic(POSE)
        assert topic is not None
        last_ns = self.bag.topics[topic].last_ns
        tail = self.bag.messages([topic], last_ns - NS, last_ns + 1)
        end_ns = max(stamp_ns(message) for _, _, message in tail)
        first = -(-begin_ns * self._rate_hz // NS)
        last = end_ns * self._rate_hz // NS - 1
        if last < first:
            raise BagError(self.bag.path, f'is too short for one frame at {self._rate_hz} Hz')
        return first, last - first + 1
