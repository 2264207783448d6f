"""Samples of one or many bags by index: what a trainer, an exporter or a plot iterates over.

Ticks lie on an absolute grid of the contract's action period. A sample holds what the live node
would have known at its tick, and what the robot did from there on. Deliberately loads nothing but
the seconds around a tick, decodes no picture and normalises nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from vla_core.contract import check_same, Contract
from vla_core.timebase import NS
from vla_data.bag_reader import Bag, open_bag
from vla_data.errors import BagError
from vla_data.samples.feed import CountsOnce, Feed
from vla_data.samples.topics import find_topics, InputTopics, POSE, stamp_ns
from vla_data.samples.values import Sample

WARM_UP_NS = 4 * NS  # where reading starts before a tick that is jumped to
JUMP_NS = 2 * NS  # a tick further ahead than this is jumped to

BagLike = Bag | str | PathLike[str]


@dataclass(frozen=True)
class SampleSettings:
    """How samples are laid out. The grid of ticks passes through `anchor_ns`."""

    anchor_ns: int = 0
    robot_must_change: bool = True  # as the action expert's parameter of that name


class SampleReader:
    """A sequence of samples, bag after bag, in order of time. One thread; may be pickled.

    In order it reads each bag once. A jump reads the two seconds before the tick, more where a
    stream stood still, so that the sample is the same as in order, bit for bit.
    `counters`: what was left out and why, summed over what has been read, each message once as
    long as reading goes forwards.
    """

    def __init__(
        self,
        bags: BagLike | Sequence[BagLike],
        contract: Contract | None = None,
        settings: SampleSettings | None = None,
    ) -> None:
        """Open the bags. Without `contract`, that of the first bag.

        BagError names the bag that cannot be used, ContractMismatch the keys in which a bag's own
        contract differs.
        """
        listed = [bags] if isinstance(bags, Bag | str | PathLike) else list(bags)
        opened = [bag if isinstance(bag, Bag) else open_bag(Path(bag)) for bag in listed]
        if not opened:
            raise ValueError('no bags given')
        self.settings = settings or SampleSettings()
        self.contract = contract or _own_contract(opened[0])
        self.counters = CountsOnce()
        self.episodes = [
            Episode(bag, self.contract, self.settings, self.counters) for bag in opened
        ]

    def __len__(self) -> int:
        return sum(len(episode) for episode in self.episodes)

    def __getitem__(self, index: int) -> Sample:
        """Return one sample; IndexError beyond the ends, negative counts from the end."""
        left = index + len(self) if index < 0 else index
        if left >= 0:
            for number, episode in enumerate(self.episodes):
                if left < len(episode):
                    return episode.sample(left, number)
                left -= len(episode)
        raise IndexError(f'sample {index} of {len(self)}')

    def __iter__(self) -> Iterator[Sample]:
        for number, episode in enumerate(self.episodes):
            for index in range(len(episode)):
                yield episode.sample(index, number)

    def close(self) -> None:
        """Close the bags."""
        for episode in self.episodes:
            episode.close()

    def __enter__(self) -> 'SampleReader':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        bags = [episode.bag for episode in self.episodes]
        return SampleReader, (bags, self.contract, self.settings)


class Episode:
    """The ticks of one bag. One thread."""

    def __init__(
        self, bag: Bag, contract: Contract, settings: SampleSettings, counters: CountsOnce
    ) -> None:
        self.bag, self._contract, self._settings = bag, contract, settings
        own = bag.info.contract()
        if own is not None:
            check_same(contract, own, 'asked for', f'of {bag.path}')
        self.topics: InputTopics = find_topics(bag, contract)
        self._counters = counters
        self._counted_ns = 0
        self._feed: Feed | None = None
        self.first_ns, self._count = self._lay_grid()

    def __len__(self) -> int:
        return self._count

    @property
    def missing(self) -> tuple[str, ...]:
        """Topics of the contract that the bag does not have: masked, or left out of `views`."""
        return self.topics.missing

    def tick_ns(self, index: int) -> int:
        """Tick of a sample, Unix ns."""
        return self.first_ns + index * self._contract.action.period_ns

    def sample(self, index: int, episode: int = 0) -> Sample:
        """Return one sample; IndexError unless 0 <= index < len."""
        if not 0 <= index < self._count:
            raise IndexError(f'sample {index} of {self._count} of {self.bag.path}')
        tick_ns, feed = self.tick_ns(index), self._feed
        period_ns = self._contract.action.period_ns
        self._feed = None  # an error on the way leaves no half-read feed behind
        if feed is not None and feed.tick_ns <= tick_ns <= feed.tick_ns + JUMP_NS:
            for between_ns in range(feed.tick_ns + period_ns, tick_ns + 1, period_ns):
                feed.advance(between_ns)
        else:
            if feed is not None:
                self._counted_ns = max(self._counted_ns, feed.counted_ns)
                del feed  # its memory, before another one takes as much
            feed = self._jump(tick_ns)
        self._feed = feed
        return feed.sample(episode)

    def close(self) -> None:
        """Close the bag."""
        self._feed = None
        self.bag.close()

    def _jump(self, tick_ns: int) -> Feed:
        back_ns = WARM_UP_NS
        while True:
            start_ns = max(tick_ns - back_ns, self.bag.start_ns)
            feed = Feed(
                self.bag,
                self.topics,
                self._contract,
                start_ns,
                self._counters,
                self._counted_ns,
                self._settings.robot_must_change,
            )
            feed.jump(tick_ns)
            self._counted_ns = max(self._counted_ns, feed.counted_ns)
            if start_ns == self.bag.start_ns or feed.settled():
                return feed
            back_ns *= 4

    def _lay_grid(self) -> tuple[int, int]:
        """First tick: all topics that are there have begun. Last: one action step is known."""
        period_ns = self._contract.action.period_ns
        begin_ns = max(self.bag.topics[topic].first_ns for topic in self.topics.streamed)
        topic = self.topics.topic(POSE)
        assert topic is not None
        last_ns = self.bag.topics[topic].last_ns
        tail = self.bag.messages([topic], last_ns - NS, last_ns + 1)
        end_ns = max(stamp_ns(message) for _, _, message in tail)
        offset_ns = self._settings.anchor_ns % period_ns
        first = -((offset_ns - begin_ns) // period_ns)
        last = (end_ns - period_ns - offset_ns) // period_ns
        if last < first:
            raise BagError(self.bag.path, 'is too short for one sample')
        return first * period_ns + offset_ns, last - first + 1


def _own_contract(bag: Bag) -> Contract:
    contract = bag.info.contract()
    if contract is None:
        raise BagError(bag.path, 'holds no contract', 'name the one to read it by')
    return contract
