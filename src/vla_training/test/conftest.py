"""Shared by the tests of this package: made-up episodes, an encoder that tells what it saw."""

from dataclasses import replace
import os
from pathlib import Path

os.environ['HF_HUB_OFFLINE'] = '1'  # before transformers is imported

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
import torch
import yaml

from vla_core.contract import load_contract
from vla_data import synthetic
from vla_data.episode import EpisodeInfo
from vla_data.types import make_typestore
from vla_training.cache.identity import EncoderIdentity
from vla_training.cache.store import FeatureCache

CONTRACT = Path(__file__).resolve().parents[3] / 'launch/config/contract/insertion.yaml'
TASK = 'insert the needle'
torch.set_num_threads(1)


@pytest.fixture(scope='session')
def contract():
    """The lab's contract with a narrow sensor and small pictures."""
    full = load_contract(CONTRACT)
    return replace(
        full,
        sensor=replace(full.sensor, channels=17),
        images=replace(full.images, width=32, height=16),
    )


@pytest.fixture(scope='session')
def nano(tmp_path_factory):
    """An untrained nano checkpoint under the lab's contract; not to be changed."""
    from vla_policy.checkpoint import create_checkpoint

    folder = tmp_path_factory.mktemp('checkpoints') / 'nano'
    create_checkpoint('nano', folder, 0, CONTRACT)
    return folder


class Told:
    def __init__(self, tokens):
        self.tokens = tokens


class TellingEncoder:
    """Features (6, 4): the mean brightness of each view, then the length of the task."""

    def __init__(self):
        self.calls = 0

    def encode(self, images, task):
        self.calls += 1
        values = [image.mean() for image in images] + [len(task)]
        return Told(np.repeat(np.array(values, np.float16)[:, None], 4, 1))


@pytest.fixture
def encoder():
    return TellingEncoder()


def identity(**changes):
    values = {
        'backbone': 'b', 'adapter': '', 'pooling': 'p', 'width': 32, 'height': 16,
        'dtype': 'float32',
    }  # fmt: skip
    return EncoderIdentity(**{**values, **changes})


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / 'cache', identity())


def grey(value):
    """JPEG of one grey value."""
    return cv2.imencode('.jpg', np.full((16, 32, 3), value, np.uint8))[1].tobytes()


@pytest.fixture
def episode(tmp_path, contract):
    """Maker of episodes: name, seconds, and a function that may change each message."""

    def make(name='one', seconds=4.0, change=lambda topic, message, store: None, **info):
        number = len(list(tmp_path.iterdir()))
        shape = synthetic.Shape(seconds, pictures=tuple(grey(v) for v in range(10, 110, 7)))
        store, path = make_typestore(), tmp_path / 'episodes' / name
        path.parent.mkdir(exist_ok=True)
        about = EpisodeInfo(
            contract_yaml=yaml.safe_dump(contract.to_dict()), contract_hash=contract.hash,
            **{'task': TASK, 'started_ns': 1000 + number, **info},
        )  # fmt: skip
        writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        for key, value in about.to_strings().items():
            writer.set_custom_data(key, value)
        connections = {}
        with writer:
            for log_ns, _, topic, kind, message in synthetic.messages(contract, shape, store):
                change(topic, message, store)
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=store)
                writer.write(connections[topic], log_ns, store.serialize_cdr(message, kind))
        return path

    return make


def stamp_of(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


@pytest.fixture
def init(tmp_path, contract):
    """A nano checkpoint under the narrow contract of these tests."""
    path = tmp_path / 'contract.yaml'
    path.write_text(yaml.safe_dump(contract.to_dict()))
    from vla_policy.checkpoint import create_checkpoint

    folder = tmp_path / 'init'
    create_checkpoint('nano', folder, 0, path, head='regression')
    return folder


@pytest.fixture
def train_config(tmp_path, init, episode):
    """Maker of a short run on three made-up episodes: what to change, as `key.sub: value`."""
    paths = [episode(name, seconds=3.0) for name in ('a', 'b', 'c')]

    from vla_core.config import from_dict
    from vla_training.train.config import TrainConfig

    def make(name='run', **changes):
        data = {'episodes': (str(paths[0].parent),), 'cache': str(tmp_path / 'features'),
                'validation_share': 0.3, 'labels': 'robot'}  # fmt: skip
        values = {
            'out': str(tmp_path / name), 'init': str(init), 'batch': 4, 'accumulation': 1,
            'steps': 4, 'log_every': 2, 'validate_every': 2, 'validation_samples': 8,
            'device': 'cpu', 'data': data | changes.pop('data', {}),
        }  # fmt: skip
        return from_dict(TrainConfig, values | changes, 'test')

    return make
