"""Small episodes for the tests: a short contract, bags of given messages."""

from pathlib import Path

import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from vla_core.contract import Contract, SensorSpec, ViewSpec
from vla_data.synthetic import MS, Shape, START_NS, write_episode
from vla_data.types import make_typestore

VIEWS = ('view1', 'view2')
CONTRACT = Contract(
    name='test',
    version=1,
    views=tuple(ViewSpec(view, f'cameras/{view}/image_raw/compressed') for view in VIEWS),
    sensor=SensorSpec(channels=5),
)
STORE = make_typestore()
TYPES = STORE.types
SMALL = Shape(duration_s=4.0, jpeg_bytes=400)

__all__ = ['CONTRACT', 'MS', 'SMALL', 'START_NS', 'STORE', 'TYPES', 'VIEWS']


def small_bag(path: Path, storage: str = 'mcap', compression: str = 'storage', **changes) -> Path:
    """Write a made-up episode of CONTRACT with small messages; return its folder."""
    shape = Shape(**{**SMALL.__dict__, **changes})
    write_episode(path, CONTRACT, shape, storage, compression)
    return path


def write_bag(path: Path, messages, storage: str = 'mcap', **custom: str) -> Path:
    """Write (log ns, topic, type, message) as a bag; the order given is the order of writing."""
    writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
    mode = CompressionMode.STORAGE if storage == 'mcap' else CompressionMode.NONE
    writer.set_compression(mode, CompressionFormat.ZSTD)
    for key, value in custom.items():
        writer.set_custom_data(key.replace('__', '.'), value)
    connections = {}
    with writer:
        for log_ns, topic, kind, message in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], log_ns, STORE.serialize_cdr(message, kind))
    return path


def string(text: str):
    """A std_msgs/String."""
    return TYPES['std_msgs/msg/String'](text)


def text_bag(path: Path, count: int = 3, storage: str = 'mcap', **custom: str) -> Path:
    """A bag of a foreign topic."""
    rows = [
        (START_NS + number * MS, '/chatter', 'std_msgs/msg/String', string(f'{number}'))
        for number in range(count)
    ]
    return write_bag(path, rows, storage, **custom)


def same(left, right) -> bool:
    """Equal bit for bit, in type and shape too."""
    left, right = np.asarray(left), np.asarray(right)
    return (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())
