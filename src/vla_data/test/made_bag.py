"""Small episodes with chosen defects, for the tests of check and plot."""

from dataclasses import dataclass, field
import heapq

import cv2
import numpy as np
import yaml

from vla_core.contract import Contract, SensorSpec, ViewSpec
from vla_core.rotation import euler_to_quat
from vla_data.episode import EpisodeInfo
from vla_data.importing.messages import MessageMaker
from vla_data.recording.writer import EpisodeWriter

NS = 1_000_000_000
START_NS = 1_761_551_500 * NS
VIEWS = tuple(f'view{number}' for number in range(1, 6))
BINS = 12
CONTRACT = Contract(
    'insertion', 1, tuple(ViewSpec(v, f'cameras/{v}/image_raw/compressed') for v in VIEWS),
    sensor=SensorSpec(channels=BINS + 1),
)  # fmt: skip


@dataclass
class Scene:
    """One episode. `edit` changes the list of (stamp ns, content key[, further delay ns]) of a
    stream, by its name; `delay_ns` is log time - stamp. A sensor's key below 0 is a frozen batch.
    """

    seconds: float = 4.0
    bins: int = BINS
    sensor_hz: float = 650.0
    streams: tuple[str, ...] = (*VIEWS, 'sensor', 'joints', 'pose', 'chunks')
    edit: dict = field(default_factory=dict)
    delay_ns: dict = field(default_factory=dict)
    lost_total: int = 0
    loss: dict = field(default_factory=dict)
    jpeg: bytes = b''


def write(path, scene=None, contract=CONTRACT):
    scene = scene or Scene()
    maker = MessageMaker(contract)
    text = yaml.safe_dump(contract.to_dict())
    info = EpisodeInfo(
        task='insert', contract_yaml=text, contract_hash=contract.hash, loss=scene.loss
    )
    topics = {
        **{view.name: (view.topic, contract.images.type) for view in contract.views},
        'sensor': (contract.sensor.topic, contract.sensor.type),
        'joints': (contract.state.joint_topic, contract.state.joint_type),
        'pose': (contract.state.pose_topic, contract.state.pose_type),
        'chunks': (contract.action.topic, contract.action.type),
    }
    with EpisodeWriter(path, info) as writer:
        for name in scene.streams:
            writer.add_topic('/' + topics[name][0], topics[name][1])
        entries = heapq.merge(*(_stream(name, scene, maker) for name in scene.streams))
        for log_ns, name, data in entries:
            writer.write('/' + topics[name][0], log_ns, log_ns, data)
    return path


def _stream(name, scene, maker):
    hertz = {'sensor': scene.sensor_hz / 13, 'joints': 25, 'pose': 25, 'chunks': 10}.get(name, 5)
    items = [(START_NS + round(n * NS / hertz), n) for n in range(int(scene.seconds * hertz))]
    items = scene.edit.get(name, lambda items: items)(items)
    delay_ns = scene.delay_ns.get(name, 3_000_000)
    made = [
        (stamp + delay_ns + sum(late), name, _data(name, stamp, key, scene, maker))
        for stamp, key, *late in items
    ]
    return sorted(made)


def _data(name, stamp, key, scene, maker):
    seconds = (stamp - START_NS) / NS
    if name == 'joints':
        return maker.joints(stamp, 0.3 * np.sin(key / 25 + np.arange(6)))
    if name == 'pose':
        quat = euler_to_quat([0.0, 1.2, 0.1 * np.sin(key / 25)])
        return maker.pose(stamp, np.array([0.2 + 0.01 * np.sin(key / 25), 0.0, 0.1]), quat)
    if name == 'chunks':
        return maker.action(stamp, np.full(6, 1e-3 * np.sin(seconds)), key + 1, 'insert')
    if name == 'sensor':
        step, seconds = round(NS / scene.sensor_hz), abs(key) * 13 / scene.sensor_hz
        stamps = stamp + (np.arange(13) - 12) * step
        rng = np.random.default_rng(abs(key))
        bins = np.arange(scene.bins)
        surface = scene.bins * (0.7 - 0.1 * seconds)
        profile = 50 * np.exp(-(((bins - surface) / 2) ** 2)) + rng.random((13, scene.bins))
        force = (1 + max(0.0, seconds - 2) + 0.01 * rng.random(13)).astype('f4')
        if key < 0:
            profile[:], force[:] = profile[0], force[0]
        lost, key = scene.lost_total if key else 0, (stamp - START_NS) * 50 // NS
        return maker.sensor((stamps, force, profile.astype('f4')), key, 13 * (key + 1), lost)
    return maker.image(stamp, name, scene.jpeg or picture(name, key))


def picture(view, key):
    image = np.zeros((90, 160, 3), np.uint8)
    image[:] = (40 * VIEWS.index(view), 60, 120)
    cv2.circle(image, (80 + int(60 * np.sin(key / 20)), 45), 12, (200, 220, 255), -1)
    return cv2.imencode('.jpg', image)[1].tobytes()
