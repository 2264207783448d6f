"""Made-up episodes of realistic shape, of any length, for the benchmark and the tests.

Called by `vla bench samples` and tests. Sizes and rates are those of the lab (five JPEG views at
5 Hz, 650 samples/s of 1026 numbers in datagrams of up to 15, a robot at 100 Hz); the content is
noise on a smooth path. Deliberately no simulation and no pictures: `vla sim` makes those.
"""

from collections.abc import Iterator
from dataclasses import dataclass
import heapq
import math
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
import yaml

from vla_core.contract import Contract
from vla_core.rotation import rotvec_to_quat
from vla_core.timebase import NS
from vla_data.episode import EpisodeInfo
from vla_data.types import make_typestore

MS = NS // 1000
START_NS = 1_700_000_000 * NS


@dataclass(frozen=True)
class Shape:
    """How long and how big. Delays are from acquisition to the log, ns."""

    duration_s: float = 20.0
    jpeg_bytes: int = 40_000  # of noise, where there are no `pictures`
    pictures: tuple[bytes, ...] = ()  # JPEGs to send in turn
    image_hz: float = 5.0
    robot_hz: float = 100.0
    batch: int = 15
    image_delay_ns: int = 40 * MS
    sensor_delay_ns: int = 3 * MS
    robot_delay_ns: int = 2 * MS
    chunks: bool = True
    seed: int = 0


Timed = tuple[int, int, str, str, Any]  # log ns, a number that breaks ties, topic, type, message


def write_episode(
    path: Path,
    contract: Contract,
    shape: Shape,
    storage: str = 'mcap',
    compression: str = 'storage',
    info: EpisodeInfo | None = None,
) -> None:
    """Write one made-up episode as a rosbag2 folder; storage 'mcap' or 'sqlite3', compression
    'none', 'storage' (MCAP only), 'file' or 'message'.
    """
    store = make_typestore()
    writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
    writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    text = yaml.safe_dump(contract.to_dict())
    made = info or EpisodeInfo(
        task='insert the needle', contract_yaml=text, contract_hash=contract.hash, source='made up'
    )
    for key, value in made.to_strings().items():
        writer.set_custom_data(key, value)
    connections: dict[str, Any] = {}
    with writer:
        for log_ns, _, topic, kind, message in messages(contract, shape, store):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(connections[topic], log_ns, store.serialize_cdr(message, kind))


def messages(contract: Contract, shape: Shape, store: Any) -> Iterator[Timed]:
    """Yield all messages of the episode in the order of their log times."""
    make = _Maker(contract, shape, store)
    streams = [make.joints(), make.poses(), make.samples(), make.task()]
    streams += [make.images(number) for number in range(len(contract.views))]
    if shape.chunks:
        streams.append(make.chunks())
    yield from heapq.merge(*streams, key=lambda item: item[:2])


def path_pose(seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the tool is: position (3,) m and quaternion (4,) xyzw, base frame."""
    position_m = np.array([0.2 + 0.01 * np.sin(seconds), 0.002 * seconds % 0.05, 0.1])
    return position_m, rotvec_to_quat([0.0, np.pi / 2 + 0.1 * np.sin(0.7 * seconds), 0.0])


class _Maker:
    """The streams of one episode, each in order of time."""

    def __init__(self, contract: Contract, shape: Shape, store: Any) -> None:
        self.contract, self.shape, self.types = contract, shape, store.types
        self.random = np.random.default_rng(shape.seed)

    def header(self, stamp_ns: int, frame: str) -> Any:
        time = self.types['builtin_interfaces/msg/Time'](*divmod(stamp_ns, NS))
        return self.types['std_msgs/msg/Header'](time, frame)

    def stamps(self, rate_hz: float) -> Iterator[tuple[int, int]]:
        for number in range(int(self.shape.duration_s * rate_hz)):
            yield number, START_NS + round(number * NS / rate_hz)

    def joints(self) -> Iterator[Timed]:
        state, topic = self.contract.state, f'/{self.contract.state.joint_topic}'
        names, none = [f'joint_{number}' for number in range(1, 7)], np.zeros(0)
        for number, stamp_ns in self.stamps(self.shape.robot_hz):
            angles = 0.1 * np.sin((stamp_ns - START_NS) / NS + np.arange(6))
            message = self.types[state.joint_type](
                self.header(stamp_ns, ''), names, angles, none, none
            )
            yield stamp_ns + self.shape.robot_delay_ns, number, topic, state.joint_type, message

    def poses(self) -> Iterator[Timed]:
        state, topic = self.contract.state, f'/{self.contract.state.pose_topic}'
        for number, stamp_ns in self.stamps(self.shape.robot_hz):
            position_m, quat = path_pose((stamp_ns - START_NS) / NS)
            pose = self.types['geometry_msgs/msg/Pose'](
                self.types['geometry_msgs/msg/Point'](*map(float, position_m)),
                self.types['geometry_msgs/msg/Quaternion'](*map(float, quat)),
            )
            message = self.types[state.pose_type](self.header(stamp_ns, 'base_link'), pose)
            yield stamp_ns + self.shape.robot_delay_ns, number, topic, state.pose_type, message

    def samples(self) -> Iterator[Timed]:
        sensor, shape = self.contract.sensor, self.shape
        period, width = NS / sensor.rate_hz, sensor.channels - 1
        for number in range(int(shape.duration_s * sensor.rate_hz / shape.batch)):
            steps = np.arange(number * shape.batch, (number + 1) * shape.batch)
            stamps_ns = START_NS + np.round(steps * period).astype(np.int64)
            force_n = np.sin(steps / 97.0).astype(np.float32)
            # Every bit noise, so that it compresses as badly as a real A-scan.
            profile = 40 + 20 * self.random.random(len(steps) * width, np.float32)
            newest_ns = int(stamps_ns[-1])
            message = self.types[sensor.type](
                self.header(newest_ns, 'sensor'), stamps_ns, force_n, width, profile,
                number, len(steps) * (number + 1), 0, 0.003,
            )  # fmt: skip
            log_ns = newest_ns + shape.sensor_delay_ns
            yield log_ns, number, f'/{sensor.topic}', sensor.type, message

    def picture(self, number: int, view: int) -> bytes:
        pictures = self.shape.pictures
        if not pictures:
            return self.random.bytes(self.shape.jpeg_bytes)
        # No two frames are the same: what follows the end of a JPEG is no part of the picture.
        return pictures[(number + view) % len(pictures)] + np.int64(number).tobytes()

    def images(self, view: int) -> Iterator[Timed]:
        kind, spec = self.contract.images.type, self.contract.views[view]
        for number, stamp_ns in self.stamps(self.shape.image_hz):
            data = np.frombuffer(self.picture(number, view), np.uint8)
            message = self.types[kind](self.header(stamp_ns, spec.name), 'jpeg', data)
            yield stamp_ns + self.shape.image_delay_ns, number, f'/{spec.topic}', kind, message

    def chunks(self) -> Iterator[Timed]:
        action, time = self.contract.action, self.types['builtin_interfaces/msg/Time']
        for number, stamp_ns in self.stamps(NS / action.period_ns):
            stamps = [
                time(*divmod(stamp_ns + k * action.period_ns, NS)) for k in range(action.steps)
            ]
            delta = np.full(action.steps * action.dims, number * 1e-6)
            lineage = self.types['vla_msgs/msg/Lineage'](
                number, [], [], time(0, 0), time(0, 0), time(0, 0), time(0, 0), 65, 1.0,
                *[0.0] * 5, np.zeros(0, np.uint64), math.nan,
            )  # fmt: skip
            values = dict.fromkeys(self.types[action.type].__dataclass_fields__, 0)
            values.pop('__msgtype__', None)
            values.update(
                header=self.header(stamp_ns, action.frame), chunk_id=number + 1,
                step_stamps=stamps, dims=action.dims, delta=delta, reasons=[], task='',
                checkpoint_hash='', contract_hash=self.contract.hash, lineage=lineage,
                published_stamp=time(*divmod(stamp_ns + 20 * MS, NS)),
            )  # fmt: skip
            constants = {'USE', 'MARK', 'HOLD', 'STOP'}
            message = self.types[action.type](
                **{key: value for key, value in values.items() if key not in constants}
            )
            yield stamp_ns + 20 * MS, number, f'/{action.topic}', action.type, message

    def task(self) -> Iterator[Timed]:
        message = self.types['std_msgs/msg/String']('insert the needle')
        yield START_NS, -1, '/task', 'std_msgs/msg/String', message
