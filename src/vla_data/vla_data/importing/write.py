"""A read legacy recording into an episode: all streams merged by time, with the report inside.

Called by `vla import`. Memory is flat: images and sensor blocks are taken from disk one by one.
Deliberately knows no layout.
"""

from collections.abc import Iterator
import heapq
from typing import Any, Protocol, TypeAlias

import numpy as np
import yaml

from vla_core.contract import Contract
from vla_data.episode import EpisodeInfo
from vla_data.importing.messages import (
    ACTION_TOPIC,
    first_stamp,
    MessageMaker,
    TASK_TOPIC,
    TASK_TYPE,
)
from vla_data.importing.options import ImportOptions
from vla_data.importing.streams import ImageStream, LegacyEpisode, SensorStream
from vla_data.importing.times import facts

BATCH = 13  # samples a message: 20 ms, as the legacy sender's datagrams
GAP_PERIODS = 1.5  # a longer step than this lost samples
Entry: TypeAlias = tuple[int, str, bytes]  # stamp ns, topic, CDR


class Writer(Protocol):
    """What the import needs of `recording.writer.EpisodeWriter`."""

    def add_topic(self, name: str, type_name: str) -> None:
        """Announce a topic."""
        ...

    def write(self, topic: str, log_ns: int, publish_ns: int, data: bytes) -> None:
        """Add one serialized message."""
        ...

    def close(self, **changes: Any) -> Any:
        """Write the end; `changes` are fields of EpisodeInfo."""
        ...


def episode_info(
    episode: LegacyEpisode, contract: Contract, options: ImportOptions
) -> EpisodeInfo:
    """Return what is known about the episode before it is written."""
    return EpisodeInfo(
        task=options.task,
        operator=options.operator,
        notes=options.notes,
        started_ns=first_stamp(_stamps(episode)),
        contract_yaml=yaml.safe_dump(contract.to_dict(), sort_keys=False),
        contract_hash=contract.hash,
        source=f'import {episode.report.layout}',
        tags=('imported',),
    )


def write_episode(
    episode: LegacyEpisode, contract: Contract, options: ImportOptions, writer: Writer
) -> None:
    """Write every stream in the order of time, then the report into the episode's metadata."""
    maker = MessageMaker(contract)
    for name, kind in topics(episode, contract).items():
        writer.add_topic(absolute(name), kind)
    if not options.task:
        episode.report.absent(
            'no_task', 'episode', 'no instruction is recorded; state it with --task'
        )
    else:
        start_ns = first_stamp(_stamps(episode))
        writer.write(absolute(TASK_TOPIC), start_ns, start_ns, maker.task(options.task))
    for stamp_ns, topic, data in _merged(episode, contract, options, maker):
        writer.write(absolute(topic), stamp_ns, stamp_ns, data)
    writer.close(
        extra={'import': episode.report.to_dict(), 'legacy': episode.extra},
        loss={absolute(topic): loss for topic, loss in _loss(episode, contract).items()},
    )


def topics(episode: LegacyEpisode, contract: Contract) -> dict[str, str]:
    """Topic name -> type of what this recording holds; what is absent gets no topic."""
    found = {TASK_TOPIC: TASK_TYPE}
    for stream in episode.images:
        found[_view_topic(contract, stream.view)] = contract.images.type
    if episode.robot is not None and episode.robot.joint_rad is not None:
        found[contract.state.joint_topic] = contract.state.joint_type
    if episode.robot is not None and episode.robot.position_m is not None:
        found[contract.state.pose_topic] = contract.state.pose_type
    if episode.sensor is not None:
        found[contract.sensor.topic] = contract.sensor.type
    if episode.action is not None:
        found[ACTION_TOPIC] = contract.action.type
    return found


def _merged(
    episode: LegacyEpisode, contract: Contract, options: ImportOptions, maker: MessageMaker
) -> Iterator[Entry]:
    sources = [_images(stream, contract, maker, episode) for stream in episode.images]
    sources += [_joints(episode, contract, maker), _poses(episode, contract, maker)]
    if episode.sensor is not None:
        sources.append(_sensor(episode.sensor, contract, maker))
    if episode.action is not None:
        sources.append(_actions(episode, options, maker))
    return heapq.merge(*sources, key=lambda entry: entry[0])


def _images(
    stream: ImageStream, contract: Contract, maker: MessageMaker, episode: LegacyEpisode
) -> Iterator[Entry]:
    topic = _view_topic(contract, stream.view)
    used = []
    for index, stamp_ns in enumerate(stream.stamps_ns.tolist()):
        jpeg = stream.load(index)
        if jpeg is not None:
            used.append(stamp_ns)
            yield stamp_ns, topic, maker.image(stamp_ns, stream.view, jpeg)
    episode.report.streams[stream.view] = facts(np.array(used, np.int64))


def _joints(episode: LegacyEpisode, contract: Contract, maker: MessageMaker) -> Iterator[Entry]:
    robot = episode.robot
    if robot is None or robot.joint_rad is None:
        return
    for index, stamp_ns in enumerate(robot.stamps_ns.tolist()):
        data = maker.joints(stamp_ns, robot.joint_rad[index])
        yield stamp_ns, contract.state.joint_topic, data


def _poses(episode: LegacyEpisode, contract: Contract, maker: MessageMaker) -> Iterator[Entry]:
    robot = episode.robot
    if robot is None or robot.position_m is None or robot.quat_xyzw is None:
        return
    for index, stamp_ns in enumerate(robot.stamps_ns.tolist()):
        data = maker.pose(stamp_ns, robot.position_m[index], robot.quat_xyzw[index])
        yield stamp_ns, contract.state.pose_topic, data


def _sensor(stream: SensorStream, contract: Contract, maker: MessageMaker) -> Iterator[Entry]:
    sequence = received = lost = 0
    last_ns: int | None = None
    for stamps, force, profile in stream.blocks():
        for start in range(0, len(stamps), BATCH):
            part = slice(start, start + BATCH)
            lost += _lost(stamps[part], last_ns, contract.sensor.period_ns)
            received += len(stamps[part])
            last_ns = int(stamps[part][-1])
            block = (stamps[part], force[part], profile[part])
            yield last_ns, contract.sensor.topic, maker.sensor(block, sequence, received, lost)
            sequence += 1


def _lost(stamps: Any, last_ns: int | None, period_ns: int) -> int:
    before = [] if last_ns is None else [last_ns]
    steps = np.diff(np.concatenate((before, stamps)))
    gaps = steps[steps > GAP_PERIODS * period_ns]
    return int((np.rint(gaps / period_ns) - 1).sum())


def _actions(
    episode: LegacyEpisode, options: ImportOptions, maker: MessageMaker
) -> Iterator[Entry]:
    action = episode.action
    assert action is not None
    for index, stamp_ns in enumerate(action.stamps_ns.tolist()):
        data = maker.action(stamp_ns, action.delta[index], index + 1, options.task)
        yield stamp_ns, ACTION_TOPIC, data


def _stamps(episode: LegacyEpisode) -> list[Any]:
    streams = [stream.stamps_ns for stream in episode.images]
    if episode.robot is not None:
        streams.append(episode.robot.stamps_ns)
    if episode.action is not None:
        streams.append(episode.action.stamps_ns)
    if episode.sensor is not None and not streams:
        streams.append(next(episode.sensor.blocks())[0])
    return streams


def absolute(topic: str) -> str:
    """Return a topic's name as a recorder in the root namespace would have written it."""
    return '/' + topic.lstrip('/')


def _view_topic(contract: Contract, view: str) -> str:
    """Topic of a view; one the contract does not know is kept beside the others."""
    known = {spec.name: spec.topic for spec in contract.views}
    return known.get(view, f'cameras/{view}/image_raw/compressed')


def _loss(episode: LegacyEpisode, contract: Contract) -> dict[str, dict[str, int]]:
    lost = episode.report.count('lost_samples', 'sensor')
    dropped: dict[str, int] = {}
    for item in episode.report.findings:
        if item.action == 'dropped':
            dropped[item.stream] = dropped.get(item.stream, 0) + item.count
    loss = {
        _view_topic(contract, stream.view): {'dropped_by_import': dropped.get(stream.view, 0)}
        for stream in episode.images
    }
    if episode.sensor is not None:
        loss[contract.sensor.topic] = {
            'lost_source': lost, 'dropped_by_import': dropped.get('sensor', 0)
        }  # fmt: skip
    return loss
