"""The same messages through a bag and through the live nodes' code give the same tensors.

Bag: written, compressed, read by SampleReader. Live: the same serialised bytes deserialised by
rclpy, converted by vla_ros and pushed into the engines of vla_inference in the order they were
logged. Compared bit for bit at every tick.
"""

from dataclasses import dataclass
from pathlib import Path
import tempfile

from geometry_msgs.msg import PoseStamped
from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from sensor_msgs.msg import CompressedImage, JointState

from vla_core.contract import Contract, SensorSpec, ViewSpec
from vla_core.timebase import NS
from vla_data.samples import SampleReader
from vla_data.synthetic import messages, MS, Shape, START_NS
from vla_data.types import make_typestore
from vla_inference.engine.image_inbox import ImageInbox, InboxSettings
from vla_inference.engine.input_buffers import BufferSettings, InputBuffers
from vla_inference.engine.pass_schedule import PassSchedule
from vla_inference.engine.records import FeatureSet
from vla_msgs.msg import SensorBatch
from vla_ros import convert

VIEWS = ('view1', 'view2')
CONTRACT = Contract(
    name='parity',
    version=1,
    views=tuple(ViewSpec(view, f'cameras/{view}/image_raw/compressed') for view in VIEWS),
    sensor=SensorSpec(channels=3),
)
STORE = make_typestore()
SHAPE = Shape(duration_s=5.0, jpeg_bytes=40, robot_hz=50.0, batch=7, chunks=False)
SENSOR, JOINTS, POSE = '/sensor/samples', '/robot/joint_states', '/robot/tcp_pose'
LIVE_TYPES = {SENSOR: SensorBatch, JOINTS: JointState, POSE: PoseStamped}


@dataclass(frozen=True)
class Disturbance:
    """What happens to the messages on their way; all drawn from `seed`."""

    seed: int
    jitter_ms: float = 0.0  # of the delay to the log: more than a period reorders
    lose: float = 0.0  # share of messages lost
    repeat: float = 0.0  # share of messages that come twice
    shift_ms: float = 0.0  # stamps of the second half of the robot and sensor data
    freeze: str = ''  # topic whose content stands still in the second half


@dataclass(frozen=True)
class Row:
    log_ns: int
    topic: str
    kind: str
    data: bytes


def disturbed(how: Disturbance) -> list[Row]:
    """The rows of a made-up episode after the disturbance, in the order of the log."""
    random = np.random.default_rng(how.seed)
    rows, frozen = [], {}
    for log_ns, _, topic, kind, message in messages(CONTRACT, SHAPE, STORE):
        late = log_ns > START_NS + 2500 * MS
        if late and topic == how.freeze:
            message = renewed(frozen[topic], message)
        frozen[topic] = message
        if late and how.shift_ms and topic in LIVE_TYPES:
            shift(message, round(how.shift_ms * MS))
        if topic != '/task' and random.random() < how.lose:
            continue
        data = bytes(STORE.serialize_cdr(message, kind))
        for _ in range(2 if random.random() < how.repeat else 1):
            delay_ns = int(random.uniform(0, how.jitter_ms) * MS)
            rows.append(Row(log_ns + delay_ns, topic, kind, data))
    return sorted(rows, key=lambda row: row.log_ns)


def renewed(old, new):
    """The old content under the new stamp."""
    fields = {key: getattr(old, key) for key in old.__dataclass_fields__ if key[0] != '_'}
    return type(old)(**{**fields, 'header': new.header})


def shift(message, by_ns):
    """Move all stamps of a message; headers of frozen messages are shared, so they are new."""
    stamp = message.header.stamp
    moved = stamp.sec * NS + stamp.nanosec + by_ns
    message.header = type(message.header)(type(stamp)(*divmod(moved, NS)), '')
    if hasattr(message, 'stamp_ns'):
        message.stamp_ns = message.stamp_ns + by_ns


def write(folder: Path, rows: list[Row]) -> None:
    writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    connections = {}
    with writer:
        for row in rows:
            if row.topic not in connections:
                made = writer.add_connection(row.topic, row.kind, typestore=STORE)
                connections[row.topic] = made
            writer.write(connections[row.topic], row.log_ns, row.data)


class Live:
    """What the two live nodes do with the messages, without their executors."""

    def __init__(self, rows):
        self.rows = rows
        self.buffers = InputBuffers(CONTRACT, BufferSettings('checkpoint'))
        self.buffers.set_task('insert the needle', START_NS)
        settings = InboxSettings(wait_s=0.0, settle_s=0.0)
        self.inbox = ImageInbox(VIEWS, PassSchedule(0), settings, steady=lambda: 0)
        self.images = None
        self.at = 0

    def advance(self, tick_ns):
        while self.at < len(self.rows) and self.rows[self.at].log_ns <= tick_ns:
            self.take(self.rows[self.at])
            self.at += 1

    def take(self, row):
        if row.topic == SENSOR:
            message = deserialize_message(row.data, SensorBatch)
            self.buffers.push_samples(*convert.sensor_matrix(message))
        elif row.topic == JOINTS:
            message = deserialize_message(row.data, JointState)
            stamp_ns = convert.to_ns(message.header.stamp)
            self.buffers.set_joints(stamp_ns, convert.joint_positions(message))
        elif row.topic == POSE:
            message = deserialize_message(row.data, PoseStamped)
            stamp_ns = convert.to_ns(message.header.stamp)
            self.buffers.set_pose(stamp_ns, *convert.pose_arrays(message))
        elif row.topic.startswith('/cameras'):
            message = deserialize_message(row.data, CompressedImage)
            view = row.topic.split('/')[2]
            self.inbox.put(view, convert.to_ns(message.header.stamp), bytes(message.data))

    def features(self, tick_ns):
        """Features of the images at hand, made in no time."""
        self.images = self.inbox.take_if_ready() or self.images
        if self.images is None:
            return
        self.buffers.set_features(
            FeatureSet(
                feature_id=tick_ns,
                tokens=np.ones((1, 4), np.float16),
                task='insert the needle',
                checkpoint_hash='checkpoint',
                contract_hash=CONTRACT.hash,
                views=VIEWS,
                view_stamps_ns=tuple(frame.stamp_ns for frame in self.images.frames),
                started_ns=tick_ns,
                published_ns=tick_ns,
            ),
            tick_ns,
        )


def compare(sample, live) -> bool:
    """Compare one tick; True if the live node would have inferred."""
    tick_ns = sample.tick_ns
    live.advance(tick_ns)
    live.features(tick_ns)
    shot = live.buffers.snapshot(tick_ns)
    window = live.buffers.read_window(tick_ns)
    assert same(sample.window, window.values) and same(sample.window_mask, window.mask)
    assert same(sample.sensor_age_s, shot.lineage.sensor_age_s)
    assert same(sample.state_age_s, shot.lineage.robot_age_s)
    frames = {frame.view: frame for frame in live.images.frames} if live.images else {}
    if frames:
        assert {view: item.jpeg for view, item in sample.views.items()} == {
            view: frame.jpeg for view, frame in frames.items()
        }
    if shot.inputs is None:
        return False
    mine = sample.model_input(shot.inputs.feature_age_s)
    for key in (
        'window', 'window_mask', 'state', 'state_age_s', 'image_age_s', 'view_motion',
        'feature_age_s',
    ):  # fmt: skip
        assert same(getattr(mine, key), getattr(shot.inputs, key)), key
    return True


def same(left, right) -> bool:
    left, right = np.asarray(left), np.asarray(right)
    return (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())


ARRAYS = (
    'window', 'window_mask', 'state', 'image_age_s', 'view_motion', 'action', 'action_mask',
)  # fmt: skip


def check(how: Disturbance, jumps: int = 3) -> int:
    """Compare all ticks in order with the live node, and some reached by a jump with those; return
    at how many the live node inferred.
    """
    random = np.random.default_rng(how.seed)
    with tempfile.TemporaryDirectory() as scratch:
        rows = disturbed(how)
        write(Path(scratch, 'ep'), rows)
        live, in_order, inferred = Live(rows), [], 0
        with SampleReader(Path(scratch, 'ep'), CONTRACT) as reader:
            for sample in reader:
                inferred += compare(sample, live)
                in_order.append(sample)
            for index in random.integers(len(reader) * 2 // 3, len(reader), jumps):
                reader[0]  # so that the next one is a jump
                jumped = reader[int(index)]
                for key in ARRAYS:
                    assert same(getattr(jumped, key), getattr(in_order[index], key)), key
                assert same(jumped.sensor_age_s, in_order[index].sensor_age_s)
                assert same(jumped.state_age_s, in_order[index].state_age_s)
                assert jumped.views == in_order[index].views
    return inferred


def test_undisturbed_messages_give_equal_tensors_at_every_tick():
    assert check(Disturbance(0)) >= 45


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**31),
    jitter_ms=st.sampled_from([0.0, 5.0, 40.0, 120.0]),
    lose=st.sampled_from([0.0, 0.02, 0.3]),
    repeat=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_jitter_loss_reordering_and_duplicates_change_nothing(seed, jitter_ms, lose, repeat):
    check(Disturbance(seed, jitter_ms, lose, repeat))


@pytest.mark.parametrize('shift_ms', [-1500.0, -300.0, 80.0, 1500.0])
def test_clocks_that_are_set_change_nothing(shift_ms):
    check(Disturbance(1, jitter_ms=5.0, shift_ms=shift_ms), jumps=0)


@pytest.mark.parametrize('topic', [SENSOR, POSE, '/cameras/view2/image_raw/compressed'])
def test_a_stream_that_freezes_is_as_old_in_both(topic):
    check(Disturbance(2, jitter_ms=5.0, lose=0.05, freeze=topic))


def test_the_comparison_would_notice_a_sample_that_came_one_tick_late():
    rows = disturbed(Disturbance(0))
    with tempfile.TemporaryDirectory() as scratch:
        write(Path(scratch, 'ep'), rows)
        late = [Row(row.log_ns + 100 * MS, row.topic, row.kind, row.data) for row in rows]
        with SampleReader(Path(scratch, 'ep'), CONTRACT) as reader, pytest.raises(AssertionError):
            live = Live(late)
            for sample in reader:
                compare(sample, live)
