"""Small episodes for the tests: message texts and stamps that can be told apart."""

import numpy as np

from vla_data.episode import EpisodeInfo
from vla_data.recording.qos import Qos
from vla_data.recording.writer import EpisodeWriter
from vla_data.types import make_typestore

NS = 1_000_000_000
START_NS = 1_700_000_000 * NS
STRING, JOINTS = 'std_msgs/msg/String', 'sensor_msgs/msg/JointState'
STORE = make_typestore()


def string(text: str) -> bytes:
    """Serialized std_msgs/String."""
    return bytes(STORE.serialize_cdr(STORE.types[STRING](data=text), STRING))


def header(stamp_ns: int, frame: str = ''):
    """std_msgs/Header."""
    time = STORE.types['builtin_interfaces/msg/Time'](*divmod(stamp_ns, NS))
    return STORE.types['std_msgs/msg/Header'](stamp=time, frame_id=frame)


def joints(stamp_ns: int, frame: str = '') -> bytes:
    """Serialized sensor_msgs/JointState."""
    none = np.zeros(0)
    message = STORE.types[JOINTS](
        header=header(stamp_ns, frame), name=['a'], position=np.ones(1), velocity=none, effort=none
    )
    return bytes(STORE.serialize_cdr(message, JOINTS))


def add_topics(writer: EpisodeWriter) -> None:
    """The two topics of the small episodes."""
    writer.add_topic('/task', STRING, Qos(depth=1, durability='transient_local'))
    writer.add_topic('/robot/joint_states', JOINTS, Qos(depth=200))


def small_episode(path, count: int = 20, period_ns: int = NS // 10, **info) -> EpisodeInfo:
    """Write an episode of one task and `count` joint states."""
    writer = EpisodeWriter(path, EpisodeInfo(started_ns=START_NS, **info))
    add_topics(writer)
    writer.write('/task', START_NS, START_NS, string(info.get('task', 'insert')))
    for k in range(count):
        stamp_ns = START_NS + k * period_ns
        writer.write('/robot/joint_states', stamp_ns, stamp_ns, joints(stamp_ns))
    return writer.close()


def counts(path) -> dict[str, int]:
    """Messages by topic as `rosbags` alone reads them, every one decoded."""
    from pathlib import Path

    from rosbags.highlevel import AnyReader

    seen: dict[str, int] = {}
    with AnyReader([Path(path)], default_typestore=STORE) as reader:
        told = {connection.topic: connection.msgcount for connection in reader.connections}
        for connection, _, data in reader.messages():
            reader.deserialize(data, connection.msgtype)
            seen[connection.topic] = seen.get(connection.topic, 0) + 1
    assert {topic: count for topic, count in told.items() if count} == seen
    return seen
