"""Checks one episode: reads it once, measures every stream, judges it against the contract.

Called by `vla episodes check` and by whoever filters data for training.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.contract import check_same, Contract
from vla_core.errors import ContractMismatch
from vla_core.freshness import Limits
from vla_core.timebase import NS
from vla_data.bag_reader import Bag
from vla_data.errors import BagError
from vla_data.quality import rules
from vla_data.quality.rules import Verdict
from vla_data.quality.streams import Meter, SensorMeter, StreamQuality

# Kinds of loss that are no loss of the episode: what the recorder counted as received or written.
_NOT_LOST = ('received', 'written', 'dropped_by_import')


@dataclass
class EpisodeQuality:
    """The result of one check."""

    path: Path
    duration_s: float
    streams: list[StreamQuality] = field(default_factory=list)
    others: list[StreamQuality] = field(default_factory=list)  # not in the contract: not judged
    verdicts: list[Verdict] = field(default_factory=list)
    skew_p50_s: float | None = None
    skew_p95_s: float | None = None

    @property
    def passed(self) -> bool:
        """No verdict is a failure."""
        return not any(verdict.level == 'fail' for verdict in self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            'episode': str(self.path),
            'passed': self.passed,
            'duration_s': self.duration_s,
            'skew_p50_s': self.skew_p50_s,
            'skew_p95_s': self.skew_p95_s,
            'verdicts': [vars(verdict) for verdict in self.verdicts],
            'streams': [stream.to_dict() for stream in self.streams],
            'other_streams': [stream.to_dict() for stream in self.others],
        }


@dataclass(frozen=True)
class _Wanted:
    """One stream of the contract."""

    name: str
    topic: str
    type: str
    limits: Limits
    may_rest: bool = False
    needed: bool = True
    derived: bool = False


def check_episode(bag: Bag, contract: Contract | None = None) -> EpisodeQuality:
    """Check one bag by `contract`, or by its own. BagError when it has none, or is damaged."""
    own = bag.info.contract()
    used = contract or own
    if used is None:
        raise BagError(bag.path, 'holds no contract', 'name the one to check it by')
    result = EpisodeQuality(bag.path, (bag.last_ns - bag.start_ns) / NS)
    if own is not None and contract is not None:
        result.verdicts += _other_contract(contract, own)
    meters, wanted = _meters(bag, used, result)
    for topic, log_ns, message in bag.messages(list(meters)):
        if hasattr(message, 'header'):
            meters[topic].add(log_ns, message)
    loss = bag.info.loss
    for topic, meter in meters.items():
        if isinstance(meter, SensorMeter) and meter.missing_batches:
            text = f'{meter.missing_batches} batches that the driver published are not here'
            result.verdicts.append(Verdict('warn', meter.name, 'batches', text))
        meter.lost = max(meter.lost, _recorded_loss(loss.get(topic, {})))
        stream = meter.quality()
        if topic not in wanted:
            if stream.count:  # without a header there is nothing to measure
                result.others.append(stream)
            continue
        result.streams.append(stream)
        result.verdicts += _judge(stream, wanted[topic], used)
    _skew(meters, used, result)
    return result


def _judge(stream: StreamQuality, wanted: _Wanted, contract: Contract) -> list[Verdict]:
    if not stream.count:
        return [rules.judge_absent(wanted.name, wanted.topic, 'no usable message')]
    found = rules.judge_stream(stream, wanted.limits, wanted.may_rest, wanted.derived)
    found += rules.judge_loss(stream)
    if wanted.topic == contract.sensor.topic:
        found += rules.judge_sensor(stream, contract)
    return found


def _wanted(contract: Contract) -> list[_Wanted]:
    state, images = contract.state, contract.images
    streams = [_Wanted(v.name, v.topic, images.type, images.limits) for v in contract.views]
    sensor, action, features = contract.sensor, contract.action, contract.features
    streams.append(_Wanted('sensor', sensor.topic, sensor.type, sensor.limits))
    streams.append(_Wanted('joints', state.joint_topic, state.joint_type, state.limits, True))
    streams.append(_Wanted('pose', state.pose_topic, state.pose_type, state.limits, True))
    # A demonstration has neither chunks nor features; where they are, the state's limits fit.
    # Features carry the stamp of their oldest image.
    streams.append(_Wanted('chunks', action.topic, action.type, state.limits, needed=False))
    streams.append(
        _Wanted(
            'features', features.topic, features.type, features.limits, needed=False, derived=True
        )
    )
    return streams


def _meters(
    bag: Bag, contract: Contract, result: EpisodeQuality
) -> tuple[dict[str, Meter], dict[str, _Wanted]]:
    """Meters of all topics with a header, and the contract's streams by their topic in the bag."""
    meters: dict[str, Meter] = {}
    wanted: dict[str, _Wanted] = {}
    for item in _wanted(contract):
        topic = bag.find(item.topic)
        if topic is None or not bag.topics[topic].count:
            if item.needed:
                result.verdicts.append(rules.judge_absent(item.name, item.topic, 'not recorded'))
            continue
        kind = bag.topics[topic].type
        if kind != item.type:
            text = f'{topic} is of type {kind}, the contract wants {item.type}'
            result.verdicts.append(Verdict('fail', item.name, 'type', text))
            continue
        sensor = item.name == 'sensor'
        meters[topic] = SensorMeter(item.name, topic) if sensor else Meter(item.name, topic)
        wanted[topic] = item
    for topic in bag.topics:
        if topic not in meters and bag.knows(topic) and bag.topics[topic].count:
            meters[topic] = Meter(topic.strip('/'), topic)
    return meters, wanted


def _skew(meters: dict[str, Meter], contract: Contract, result: EpisodeQuality) -> None:
    """How far apart the newest images of the views lie at each tick."""
    by_name = {meter.name: meter for meter in meters.values()}
    views = [
        np.sort(np.frombuffer(by_name[view].stamps, np.int64))
        for view in contract.view_names
        if view in by_name and by_name[view].stamps
    ]
    if len(views) < 2:
        return
    skew_s = view_skew(views, contract.action.period_ns)
    if len(skew_s):
        result.skew_p50_s = float(np.percentile(skew_s, 50))
        result.skew_p95_s = float(np.percentile(skew_s, 95))
    result.verdicts += rules.judge_skew(skew_s, contract.images.limits)


def view_skew(views: list[NDArray[np.int64]], period_ns: int) -> NDArray[np.float64]:
    """Newest minus oldest of the views' newest stamps at each tick, s; each view sorted."""
    begin = max(int(stamps[0]) for stamps in views)
    end = max(int(stamps[-1]) for stamps in views)
    ticks = np.arange(begin, end + 1, period_ns)
    newest = np.stack(
        [stamps[np.searchsorted(stamps, ticks, side='right') - 1] for stamps in views]
    )
    skew: NDArray[np.float64] = (newest.max(axis=0) - newest.min(axis=0)) / NS
    return skew


def _recorded_loss(counts: dict[str, int]) -> int:
    """The worst witness of the recorder: kinds of one topic's loss count the same items."""
    return max((n for kind, n in counts.items() if 'lost' in kind and kind not in _NOT_LOST),
               default=0)  # fmt: skip


def _other_contract(ours: Contract, own: Contract) -> list[Verdict]:
    try:
        check_same(ours, own, 'asked for', 'of the episode')
    except ContractMismatch as error:
        return [Verdict('fail', 'episode', 'contract', str(error))]
    return []
