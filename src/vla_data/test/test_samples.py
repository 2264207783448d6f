import pickle
import random
import tracemalloc

from bags import CONTRACT, MS, same, small_bag, START_NS, STORE, string, text_bag, VIEWS, write_bag
import numpy as np
import pytest

from vla_core.contract import Contract, SensorSpec
from vla_core.errors import ContractMismatch
from vla_core.rotation import relative_rotvec
from vla_core.timebase import NS
from vla_data.bag_reader import open_bag
from vla_data.errors import BagError
from vla_data.samples import SampleReader, SampleSettings
from vla_data.synthetic import messages, path_pose, Shape

ARRAYS = ('image_age_s', 'view_motion', 'window', 'window_mask', 'state', 'action', 'action_mask')
NUMBERS = ('tick_ns', 'task', 'sensor_age_s', 'state_age_s', 'views')


def equal(left, right):
    return all(same(getattr(left, key), getattr(right, key)) for key in ARRAYS) and all(
        repr(getattr(left, key)) == repr(getattr(right, key)) for key in NUMBERS
    )


def rows(change=lambda row: row, **shape):
    """Messages of a made-up episode as `write_bag` takes them; `change` may alter or drop one."""
    made = messages(CONTRACT, Shape(**{'duration_s': 4.0, 'jpeg_bytes': 60, **shape}), STORE)
    kept = (change(list(row)) for row in made)
    return [(row[0], row[2], row[3], row[4]) for row in kept if row is not None]


def without(*topics):
    return lambda row: None if row[2] in topics else row


def test_a_sample_holds_everything_known_at_its_tick(tmp_path):
    with SampleReader(small_bag(tmp_path / 'ep')) as reader:
        sample = reader[19]
        assert (sample.tick_ns - START_NS, sample.task) == (2000 * MS, 'insert the needle')
        assert list(sample.views) == list(VIEWS) and sample.image_age_s == pytest.approx(0.2)
        assert len(sample.views['view1'].jpeg) == 400
        assert sample.window.shape == (65, 5) and sample.window_mask.all()
        assert sample.sensor_age_s == pytest.approx(0.03, abs=0.003)
        position_m, _ = path_pose(1.99)
        assert sample.state[6:9] == pytest.approx(position_m, abs=1e-6)
        assert sample.state_age_s == pytest.approx(0.01)
        assert sample.recorded.tick_ns == sample.tick_ns and sample.recorded.delta.shape == (8, 6)
        inputs = sample.model_input(feature_age_s=0.1)
        assert inputs.window is sample.window and inputs.feature_age_s == 0.1


def test_the_action_is_what_the_robot_did_and_is_masked_at_the_end(tmp_path):
    with SampleReader(small_bag(tmp_path / 'ep')) as reader:
        for index in (0, 19):
            sample = reader[index]
            seconds = (sample.tick_ns - START_NS) / 1e9 + 0.1 * np.arange(9)
            poses = [path_pose(value) for value in seconds]
            for step, (begin, end) in enumerate(zip(poses, poses[1:])):
                assert sample.action[step, :3] == pytest.approx(end[0] - begin[0], abs=1e-6)
                turn = relative_rotvec(begin[1], end[1])
                assert sample.action[step, 3:] == pytest.approx(turn, abs=1e-5)
            assert sample.action_mask.all()
        last = reader[-1]
        assert last.action_mask.tolist() == [True] + [False] * 7 and not last.action[1:].any()
        assert reader[-3].action_mask.sum() == 3


def test_a_sample_reached_by_a_jump_equals_the_one_reached_in_order(tmp_path):
    folder = small_bag(tmp_path / 'ep', duration_s=8.0)
    with SampleReader(folder) as reader:
        in_order = list(reader)
        indices = list(range(len(reader)))
        random.Random(0).shuffle(indices)
        assert all(equal(reader[index], in_order[index]) for index in indices[:40])
        counted = reader.counters.get('samples_accepted')
    assert counted == pytest.approx(7.8 * 650, abs=30)  # every sample once, jumps or not


def test_a_stream_that_stood_still_is_as_old_after_a_jump(tmp_path):
    def freeze(row):
        if row[0] > START_NS + 1500 * MS and row[2] in ('/robot/tcp_pose', '/robot/joint_states'):
            row[4] = last[row[2]][4]
            header = type(row[4].header)
            stamp = type(row[4].header.stamp)(*divmod(row[0] - 2 * MS, NS))
            fields = {
                key: getattr(row[4], key)
                for key in row[4].__dataclass_fields__
                if not key.startswith('__')
            }
            row[4] = type(row[4])(**{**fields, 'header': header(stamp, row[4].header.frame_id)})
        if row[2] == '/cameras/view1/image_raw/compressed' and row[0] > START_NS + 1000 * MS:
            row[4] = type(row[4])(row[4].header, 'jpeg', last[row[2]][4].data)
        last[row[2]] = row
        return row

    last = {}
    folder = write_bag(tmp_path / 'ep', rows(freeze, duration_s=9.0))
    with SampleReader(folder, CONTRACT) as reader:
        in_order = list(reader)
        sample = in_order[79]
        assert sample.state_age_s == pytest.approx(8.0 - 1.49, abs=0.02)
        assert sample.image_age_s[0] == pytest.approx(8.0 - 0.8, abs=0.01)
        assert sample.image_age_s[1] == pytest.approx(0.2) and not sample.action.any()
        assert reader.counters.get('image_frozen') > 30
    with SampleReader(folder, CONTRACT) as fresh:
        assert equal(fresh[79], sample) and equal(fresh[40], in_order[40])
    with SampleReader(folder, CONTRACT, SampleSettings(robot_must_change=False)) as patient:
        assert patient[79].state_age_s == pytest.approx(0.01)


def test_what_was_logged_after_the_tick_is_not_known_at_it(tmp_path):
    def late(row):
        if row[2] == '/cameras/view2/image_raw/compressed':
            row[0] += 500 * MS
        return row

    listed = sorted(rows(late), key=lambda row: row[0])
    with SampleReader(write_bag(tmp_path / 'ep', listed), CONTRACT) as reader:
        ages = np.array([sample.image_age_s for sample in reader])
        assert (ages[:, 1] >= 0.5).all() and (ages[5:, 0] < 0.3).all()


def test_inputs_that_are_not_there_are_masked_and_named(tmp_path):
    view = '/cameras/view2/image_raw/compressed'
    folder = write_bag(tmp_path / 'ep', rows(without('/sensor/samples', view, '/action/chunk')))
    with SampleReader(folder, CONTRACT) as reader:
        assert reader.episodes[0].missing == ('sensor/samples', view.strip('/'))
        sample = reader[10]
        assert not sample.window_mask.any() and np.isnan(sample.sensor_age_s)
        assert list(sample.views) == ['view1'] and np.isnan(sample.image_age_s[1])
        assert sample.recorded is None and np.isfinite(sample.state).all()


def test_the_instruction_may_change_in_the_middle(tmp_path):
    change = (START_NS + 2050 * MS, '/task', 'std_msgs/msg/String', string('withdraw'))
    listed = sorted([*rows(), change], key=lambda row: row[0])
    with SampleReader(write_bag(tmp_path / 'ep', listed), CONTRACT) as reader:
        tasks = {sample.tick_ns: sample.task for sample in reader}
    assert tasks[START_NS + 2000 * MS] == 'insert the needle'
    assert tasks[START_NS + 2100 * MS] == 'withdraw'


def test_broken_messages_are_counted_and_left_out(tmp_path):
    def spoil(row):
        if row[1] % 10 == 3 and row[2] == '/sensor/samples':
            row[4].force_n = row[4].force_n[:-1]
        elif row[1] == 50 and row[2] == '/robot/tcp_pose':
            row[4].pose.position.x = float('nan')
        elif row[1] == 3 and row[2].startswith('/cameras/view1'):
            row[4].data = row[4].data[:0]
        return row

    with SampleReader(write_bag(tmp_path / 'ep', rows(spoil)), CONTRACT) as reader:
        samples = list(reader)
        counts = reader.counters.snapshot()
    assert counts['bad_shape'] == 17 and counts['pose_bad'] == 1 == counts['robot_bad']
    assert counts['image_empty'] == 1 and all(np.isfinite(item.state).all() for item in samples)
    assert min(item.window_mask.sum() for item in samples[2:]) in range(45, 56)


def test_several_bags_are_one_sequence(tmp_path):
    folders = [small_bag(tmp_path / name, duration_s=1.0, seed=k) for k, name in enumerate('ab')]
    with SampleReader(folders) as reader:
        assert len(reader) == 2 * len(reader.episodes[0])
        assert [sample.episode for sample in reader] == [0] * 8 + [1] * 8
        assert reader[8].episode == 1 and equal(reader[8], reader[-8])
        for index in (len(reader), -len(reader) - 1):
            with pytest.raises(IndexError):
                reader[index]
        copy = pickle.loads(pickle.dumps(reader))
        assert equal(copy[12], reader[12])
        copy.close()


def test_the_grid_passes_through_the_anchor(tmp_path):
    folder = small_bag(tmp_path / 'ep', duration_s=1.0)
    with SampleReader(folder, settings=SampleSettings(anchor_ns=START_NS + 33 * MS)) as reader:
        assert {sample.tick_ns % (100 * MS) for sample in reader} == {33 * MS}


def other_clock(row):
    row[0] += 3600 * NS
    return row


REFUSED = {
    'no robot': (rows(without('/robot/tcp_pose')), 'no messages of robot/tcp_pose'),
    'too short': (rows(duration_s=0.1), 'is too short for one sample'),
    'other clock': (rows(other_clock), 'stamps and log times differ by 3600.0 s'),
}


@pytest.mark.parametrize('why', REFUSED)
def test_a_bag_that_gives_no_samples_says_why(tmp_path, why):
    listed, text = REFUSED[why]
    folder = write_bag(tmp_path / 'ep', listed)
    with pytest.raises(BagError, match=text) as caught:
        SampleReader(folder, CONTRACT)
    assert str(folder) in str(caught.value)


def test_a_bag_of_another_contract_is_refused_with_the_differing_key(tmp_path):
    folder = small_bag(tmp_path / 'ep', duration_s=1.0)
    other = Contract('test', 1, CONTRACT.views, sensor=SensorSpec(channels=5, lag_s=0.02))
    with pytest.raises(ContractMismatch, match='sensor.lag_s'):
        SampleReader(folder, other)
    foreign = write_bag(tmp_path / 'foreign', rows(duration_s=1.0))
    wide = Contract('test', 1, CONTRACT.views, sensor=SensorSpec(channels=9))
    with pytest.raises(BagError, match='5 channels .* the contract wants 9'):
        SampleReader(foreign, wide)
    with pytest.raises(BagError, match='holds no contract'):
        SampleReader(text_bag(tmp_path / 'text'))


def test_a_damaged_bag_can_be_read_up_to_the_damage_and_then_says_so(tmp_path):
    folder = small_bag(tmp_path / 'ep', jpeg_bytes=40_000, duration_s=12.0)
    with open_bag(folder) as bag:
        begins = sorted(chunk.chunk_start_offset for chunk in bag._storages[0].chunks)
    data = bytearray((folder / 'ep.mcap').read_bytes())
    middle = begins[len(begins) // 2] + 60
    data[middle : middle + 100] = bytes(100)
    (folder / 'ep.mcap').write_bytes(data)
    with SampleReader(folder) as reader:
        first = reader[0]
        with pytest.raises(BagError, match='ep: is damaged'):
            list(reader)
        assert equal(reader[0], first)  # an error leaves nothing half-read behind


def peak_bytes(folder):
    tracemalloc.start()
    try:
        with SampleReader(folder) as reader:
            for index in range(0, len(reader), 10):
                reader[index]
            for index in range(0, len(reader), len(reader) // 3):
                reader[index]
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_length_of_the_bag(tmp_path):
    sizes = {'jpeg_bytes': 20_000, 'robot_hz': 10.0, 'batch': 50, 'chunks': False}
    short = small_bag(tmp_path / 'short', duration_s=12.0, **sizes)
    long = small_bag(tmp_path / 'long', duration_s=48.0, **sizes)
    assert (long / 'long.mcap').stat().st_size > 10e6
    peak_bytes(short)  # imports and caches
    few, many = peak_bytes(short), peak_bytes(long)
    assert many < few + 1e6, (few, many)


def test_only_the_seconds_around_a_tick_are_read(tmp_path, monkeypatch):
    folder = small_bag(tmp_path / 'ep', duration_s=40.0, robot_hz=20.0)
    with SampleReader(open_bag(folder)) as reader:
        decoded = []
        decode = type(reader.episodes[0].bag).decode
        monkeypatch.setattr(
            type(reader.episodes[0].bag),
            'decode',
            lambda self, topic, data: (decoded.append(topic), decode(self, topic, data))[1],
        )
        reader[200]
    total = 40 * (2 * 20 + 43 + 2 * 5 + 10)
    assert len(decoded) < total / 8
