"""Fakes for the engines: a clock, an encoder, an expert, a contract, streams of samples, JPEGs."""

from dataclasses import dataclass, field
import threading
import time

import cv2
import numpy as np

from vla_core.contract import Contract, SensorSpec, ViewSpec
from vla_core.timebase import NS, Tick
from vla_inference.engine.input_buffers import BufferSettings, InputBuffers
from vla_inference.engine.records import FeatureSet

START_NS = 1_700_000_000 * NS
MS = NS // 1000
CHECKPOINT = 'c0ffee0000000000'
TASK = 'insert the needle'
VIEWS = ('view1', 'view2', 'view3')
CONTRACT = Contract(
    name='test',
    version=1,
    views=tuple(ViewSpec(view, f'cameras/{view}/image_raw/compressed') for view in VIEWS),
    sensor=SensorSpec(channels=5),
)


def jpeg(value: int, width: int = 64, height: int = 36) -> bytes:
    """A JPEG of one grey value."""
    picture = np.full((height, width, 3), value % 256, np.uint8)
    return cv2.imencode('.jpg', picture)[1].tobytes()


@dataclass
class Encoded:
    tokens: np.ndarray
    stages: dict = field(
        default_factory=lambda: {
            'preprocess': 0.01,
            'vision': 0.02,
            'language': 0.03,
            'pool': 0.004,
        }
    )


class FakeEncoder:
    """Features hold the mean of each picture; remembers what it was given."""

    def __init__(self, error: Exception | None = None, tokens: np.ndarray | None = None):
        self.error = error
        self.tokens = tokens
        self.calls: list[tuple[list, str]] = []

    def encode(self, images, task):
        self.calls.append((list(images), task))
        if self.error:
            raise self.error
        if self.tokens is not None:
            return Encoded(self.tokens)
        means = [[image.mean()] * 4 for image in images]
        return Encoded(np.array(means, np.float16))


class FakeExpert:
    """Returns what it is told to, or ones; remembers its inputs."""

    def __init__(self, result=None):
        self.result = result
        self.inputs = []
        self.seeds = []
        self.prefixes = []

    def act(self, features, inputs, seed, prefix=None, committed_steps=0):
        self.inputs.append(inputs)
        self.seeds.append(seed)
        self.prefixes.append((prefix, committed_steps))
        if isinstance(self.result, Exception):
            raise self.result
        return np.full((8, 6), 1e-3) if self.result is None else self.result


class ListedTicks:
    """A tick source that gives the listed ticks and then stops."""

    def __init__(self, ticks, period_ns=100 * MS):
        self.period_ns = period_ns
        self._ticks = list(ticks)

    def wait(self, stop: threading.Event):
        return self._ticks.pop(0) if self._ticks and not stop.is_set() else None


def tick(index: int, skipped: int = 0, late_ns: int = 0) -> Tick:
    """Grid point `index` of a grid that starts at START_NS, at 0 on the steady clock."""
    deadline_ns = index * 100 * MS
    return Tick(index, deadline_ns, START_NS + deadline_ns, late_ns, skipped)


def features(stamp_ns: int, feature_id: int = 1, **changes) -> FeatureSet:
    """Features whose images were taken 300 ms before they were published at `stamp_ns`."""
    values = {
        'feature_id': feature_id,
        'tokens': np.ones((6, 4), np.float16),
        'task': TASK,
        'checkpoint_hash': CHECKPOINT,
        'contract_hash': CONTRACT.hash,
        'views': VIEWS,
        'view_stamps_ns': tuple(stamp_ns - (300 + 10 * n) * MS for n in range(len(VIEWS))),
        'started_ns': stamp_ns - 250 * MS,
        'published_ns': stamp_ns,
    }
    return FeatureSet(**{**values, **changes})


def buffers(**settings) -> InputBuffers:
    """Empty input buffers with TASK in force since START_NS - 10 s."""
    made = InputBuffers(CONTRACT, BufferSettings(CHECKPOINT, **settings))
    made.set_task(TASK, START_NS - 10 * NS)
    return made


def sample_stamps(start_ns: int, end_ns: int, rate_hz: float = 650.0) -> np.ndarray:
    """Stamps of a steady stream in [start, end)."""
    count = int((end_ns - start_ns) * rate_hz / NS)
    return start_ns + (np.arange(count) * NS / rate_hz).astype(np.int64)


def sample_values(stamps_ns: np.ndarray, channels: int = 5) -> np.ndarray:
    """Values that tell the time they were taken: multiples of seconds, modulo 100 s."""
    seconds = (stamps_ns - START_NS) % (100 * NS) / NS  # float32 resolves 8 us of 100 s
    return np.stack([seconds * (n + 1) for n in range(channels)], axis=1).astype(np.float32)


def feed(made: InputBuffers, until_ns: int, *, sensor=True, robot=True, vlm=True, start_ns=None):
    """Give the buffers 300 ms of live, changing data up to `until_ns`."""
    start_ns = until_ns - 300 * MS if start_ns is None else start_ns
    if sensor:
        stamps = sample_stamps(start_ns, until_ns)
        for part in np.array_split(np.arange(len(stamps)), max(1, len(stamps) // 5)):
            made.push_samples(stamps[part], sample_values(stamps[part]))
    if robot:
        for stamp_ns in range(start_ns, until_ns, 100 * MS):
            move_robot(made, stamp_ns)
    if vlm:
        made.set_features(
            features(until_ns, feature_id=max(1, (until_ns - START_NS) // MS)), until_ns
        )


def move_robot(made: InputBuffers, stamp_ns: int, position: float | None = None) -> None:
    """A robot state whose first joint tells the time."""
    angle = (stamp_ns - START_NS) / NS * 0.1 if position is None else position
    made.set_joints(stamp_ns, np.array([angle, 0, 0, 0, 0, 0.0]))
    made.set_pose(stamp_ns, np.array([0.2, angle, 0.3]), np.array([0, 0.7071, 0, 0.7071]))


def wait_for(condition, timeout_s: float = 10.0):
    """Wait for a condition with a deadline."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, 'deadline'
        time.sleep(0.002)
    return value
