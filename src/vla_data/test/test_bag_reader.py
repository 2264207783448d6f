import os
import pickle
import shutil

from bags import CONTRACT, MS, small_bag, START_NS, text_bag
from mcap.writer import Writer as McapWriter
import pytest
from rosbags.highlevel import AnyReader

from vla_data.bag_reader import Bag, open_bag
from vla_data.episode import EpisodeInfo, RECORD
from vla_data.errors import BagError

FORMS = [
    ('mcap', 'storage'), ('mcap', 'none'), ('mcap', 'message'), ('mcap', 'file'),
    ('sqlite3', 'none'), ('sqlite3', 'message'), ('sqlite3', 'file'),
]  # fmt: skip


@pytest.mark.parametrize(('storage', 'compression'), FORMS)
def test_every_form_of_bag_gives_the_same_messages(tmp_path, storage, compression):
    folder = small_bag(tmp_path / 'bag', storage, compression, duration_s=1.0)
    with open_bag(folder) as bag:
        stamps = [message.stamp_ns.tolist() for _, _, message in bag.messages(['/sensor/samples'])]
        assert sum(stamps, []) == [START_NS + round(k * 1e9 / 650) for k in range(43 * 15)]
        info = bag.topics['/robot/tcp_pose']
        assert (info.type, info.count) == ('geometry_msgs/msg/PoseStamped', 100)
        assert info.first_ns == START_NS + 2 * MS and info.last_ns == START_NS + 992 * MS
        assert bag.info.task == 'insert the needle'
        assert bag.info.contract().hash == CONTRACT.hash == bag.info.contract_hash


def test_messages_come_in_order_of_their_log_times_and_within_the_range(tmp_path):
    with open_bag(small_bag(tmp_path / 'bag')) as bag:
        times = [log_ns for _, log_ns, _ in bag.raw()]
        assert times == sorted(times) and (bag.start_ns, bag.last_ns) == (times[0], times[-1])
        start_ns, stop_ns = START_NS + 1000 * MS, START_NS + 1500 * MS
        part = [log_ns for _, log_ns, _ in bag.raw(None, start_ns, stop_ns)]
        assert part == [log_ns for log_ns in times if start_ns <= log_ns < stop_ns]


def test_rosbags_alone_reads_the_same_counts(tmp_path):
    folder = small_bag(tmp_path / 'bag')
    with AnyReader([folder]) as reader, open_bag(folder) as bag:
        counts = {item.topic: item.msgcount for item in reader.connections}
        assert counts == {name: topic.count for name, topic in bag.topics.items()}


def test_a_folder_of_ros2_bag_record_and_a_single_file_are_accepted(tmp_path):
    folder = text_bag(tmp_path / 'foreign')
    with open_bag(folder) as bag:
        assert bag.info == EpisodeInfo()
        assert [message.data for _, _, message in bag.messages()] == ['0', '1', '2']
    with open_bag(folder / 'foreign.mcap') as bag:
        assert bag.topics['/chatter'].count == 3


def test_the_info_in_the_mcap_file_survives_the_loss_of_metadata_yaml(tmp_path):
    path = tmp_path / 'alone.mcap'
    with path.open('wb') as file:
        writer = McapWriter(file)
        writer.start('ros2')
        schema = writer.register_schema('std_msgs/msg/String', 'ros2msg', b'string data')
        channel = writer.register_channel('/chatter', 'cdr', schema)
        writer.add_metadata(RECORD, EpisodeInfo(task='first').to_strings())
        writer.add_message(channel, 5, b'\x00\x01\x00\x00\x02\x00\x00\x00a\x00', 5)
        writer.add_metadata(RECORD, EpisodeInfo(task='second', outcome='success').to_strings())
        writer.finish()
    with open_bag(path) as bag:
        assert (bag.info.task, bag.info.outcome) == ('second', 'success')
        assert [(log_ns, message.data) for _, log_ns, message in bag.messages()] == [(5, 'a')]


def test_a_topic_is_found_in_whatever_namespace_it_was_recorded(tmp_path):
    with open_bag(small_bag(tmp_path / 'bag', duration_s=0.5)) as bag:
        assert bag.find('sensor/samples') == '/sensor/samples'
        assert bag.find('samples') == '/sensor/samples' and bag.find('ensor/samples') is None
        with pytest.raises(BagError, match='image_raw/compressed is there 2 times'):
            bag.find('image_raw/compressed')
        with pytest.raises(BagError, match='sensor/sample; did you mean /sensor/samples'):
            list(bag.raw(['/sensor/sample']))


def test_a_bag_can_be_pickled_and_read_in_a_forked_process(tmp_path):
    with open_bag(small_bag(tmp_path / 'bag')) as bag:
        copy = pickle.loads(pickle.dumps(bag))
        mine = bag.raw()
        first = next(mine)
        child = os.fork()
        if child == 0:
            os._exit(0 if next(bag.raw()) == first else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert [first, *mine] == list(copy.raw())
        copy.close()


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def damage(path):
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 4, len(data) // 2, 97):
        data[at] ^= 0xFF
    path.write_bytes(data)


def replace_in_yaml(folder, old, new):
    path = folder / 'metadata.yaml'
    path.write_text(path.read_text().replace(old, new))


BREAK = {
    'missing': lambda folder, file: shutil.rmtree(folder),
    'empty folder': lambda folder, file: [item.unlink() for item in folder.iterdir()],
    'legacy': lambda folder, file: [
        item.rename(folder / f'robot_state_{item.stem}.csv') for item in folder.iterdir()
    ],
    'empty file': lambda folder, file: file.write_bytes(b''),
    'truncated': lambda folder, file: cut(file, 0.6),
    'garbage': lambda folder, file: file.write_bytes(b'no bag at all' * 99),
    'damaged': lambda folder, file: damage(file),
    'no yaml': lambda folder, file: (folder / 'metadata.yaml').unlink(),
    'bad yaml': lambda folder, file: (folder / 'metadata.yaml').write_text('a: ['),
    'other yaml': lambda folder, file: (folder / 'metadata.yaml').write_text('a: 1\n'),
    'no storage': lambda folder, file: file.unlink(),
    'counts': lambda folder, file: replace_in_yaml(folder, ': 200\n', ': 201\n'),
    'no messages': lambda folder, file: (shutil.rmtree(folder), text_bag(folder, 0)),
    'bad info': lambda folder, file: (
        shutil.rmtree(folder),
        text_bag(folder, 1, vla__format='1', vla__loss='['),
    ),
}


def broken(tmp_path, how):
    folder = tmp_path / 'ep'
    storage = 'sqlite3' if how.startswith('sqlite') else 'mcap'
    compression = 'none' if storage == 'sqlite3' else 'storage'
    small_bag(folder, storage, compression, duration_s=2.0)
    file = folder / ('ep.db3' if storage == 'sqlite3' else 'ep.mcap')
    BREAK[how.removeprefix('sqlite ')](folder, file)
    return folder


FAULTS = {
    'missing': 'does not exist',
    'empty folder': 'is not a bag: neither metadata.yaml nor',
    'legacy': 'is not a bag; older recordings are read by `vla import`',
    'empty file': 'ep.mcap: is an empty file',
    'sqlite empty file': 'ep.db3: is an empty file',
    'truncated': 'ep.mcap: is cut off',
    'sqlite truncated': 'ep.db3: is cut off',
    'garbage': 'ep.mcap: is not an MCAP file',
    'sqlite garbage': 'ep.db3: is not a SQLite file',
    'damaged': 'is damaged|is not a',
    'sqlite damaged': 'is damaged|is not a',
    'no yaml': 'metadata.yaml is missing: the recording was not closed',
    'bad yaml': 'is damaged: Could not load YAML',
    'other yaml': 'is damaged: A metadata key is missing',
    'no storage': 'no .mcap or .db3 file',
    'counts': '200 of the 201 messages',
    'no messages': 'holds no messages',
    'bad info': 'vla.loss is not JSON',
}


@pytest.mark.parametrize('how', FAULTS)
def test_a_broken_bag_is_one_line_that_names_the_file_and_the_fault(tmp_path, how):
    folder = broken(tmp_path, how)
    with pytest.raises(BagError, match=FAULTS[how]) as caught:
        with Bag(folder) as bag:
            list(bag.messages())
    text = str(caught.value)
    assert '\n' not in text and text.startswith(str(folder)) and caught.value.fault


@pytest.mark.parametrize('share', [0.0005, 0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_bag_cut_off_anywhere_is_refused(tmp_path, storage, share):
    folder = small_bag(tmp_path / 'ep', storage, 'none', duration_s=1.0)
    cut(folder / ('ep.mcap' if storage == 'mcap' else 'ep.db3'), share)
    with pytest.raises(BagError):
        with Bag(folder) as bag:
            list(bag.messages())


def test_a_type_that_nobody_defines_can_be_copied_but_not_decoded(tmp_path):
    path = tmp_path / 'x.mcap'
    with path.open('wb') as file:
        writer = McapWriter(file)
        writer.start('ros2')
        schema = writer.register_schema('lab_msgs/msg/Odd', 'ros2idl', b'')
        channel = writer.register_channel('/odd', 'cdr', schema)
        writer.add_message(channel, 5, b'\x00\x01\x00\x00', 5)
        writer.finish()
    with open_bag(path) as bag:
        assert not bag.knows('/odd') and len(list(bag.raw())) == 1
        with pytest.raises(BagError, match='/odd: nobody defines the type lab_msgs/msg/Odd'):
            list(bag.messages())


def test_a_ros_1_bag_is_named_as_such(tmp_path):
    path = tmp_path / 'old.bag'
    path.write_bytes(b'#ROSBAG V2.0\n' + bytes(99))
    with pytest.raises(BagError, match='is a ROS 1 bag; convert it'):
        open_bag(path)
