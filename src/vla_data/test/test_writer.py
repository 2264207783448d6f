"""The writer of episodes: what other programs find in its folders."""

from episode_tools import (
    add_topics,
    counts,
    JOINTS,
    joints,
    NS,
    small_episode,
    START_NS,
    STORE,
    STRING,
    string,
)
from mcap.reader import make_reader
import pytest
from rosbags.highlevel import AnyReader

from vla_core.errors import VlaError
from vla_data.episode import EpisodeInfo, info_from_strings, RECORD
from vla_data.errors import BagError
from vla_data.recording import bag_metadata, state
from vla_data.recording.qos import Qos
from vla_data.recording.writer import EpisodeWriter, WriterSettings


def test_rosbags_alone_reads_every_message_of_every_topic(tmp_path):
    small_episode(tmp_path / 'e', count=20)
    assert counts(tmp_path / 'e') == {'/task': 1, '/robot/joint_states': 20}


def test_messages_come_back_byte_by_byte_with_their_log_times(tmp_path):
    small_episode(tmp_path / 'e', count=5)
    with AnyReader([tmp_path / 'e'], default_typestore=STORE) as reader:
        wanted = [c for c in reader.connections if c.topic == '/robot/joint_states']
        read = [(log_ns, data) for _, log_ns, data in reader.messages(wanted)]
    stamps = [START_NS + k * NS // 10 for k in range(5)]
    assert read == [(stamp_ns, joints(stamp_ns)) for stamp_ns in stamps]


def test_mcap_tools_find_an_indexed_file_with_publish_times_and_sequence(tmp_path):
    with EpisodeWriter(tmp_path / 'e', EpisodeInfo()) as writer:
        add_topics(writer)
        for k in range(3):
            writer.write('/task', START_NS + k, START_NS - k, string(str(k)))
    with writer.file_path.open('rb') as stream:
        reader = make_reader(stream, validate_crcs=True)
        summary = reader.get_summary()
        messages = [message for _, _, message in reader.iter_messages(topics=['/task'])]
    assert summary.statistics.message_count == 3
    assert len(summary.chunk_indexes) == 1
    assert summary.chunk_indexes[0].compression == 'zstd'
    assert [message.publish_time for message in messages] == [START_NS - k for k in range(3)]
    assert [message.sequence for message in messages] == [0, 1, 2]


def test_a_topic_without_messages_is_listed_with_none(tmp_path):
    with EpisodeWriter(tmp_path / 'e', EpisodeInfo()) as writer:
        add_topics(writer)
    assert counts(tmp_path / 'e') == {}
    information = bag_metadata.read(tmp_path / 'e')
    assert [t['message_count'] for t in information['topics_with_message_count']] == [0, 0]


def test_info_is_in_metadata_yaml_and_in_the_mcap_file(tmp_path):
    info = small_episode(
        tmp_path / 'e', task='insert', operator='kim', tags=('a',), calibration={'k': [1.5]}
    )
    custom = bag_metadata.custom_data(bag_metadata.read(tmp_path / 'e'))
    assert info_from_strings(custom) == info
    assert info.ended_ns == START_NS + 19 * NS // 10
    with (tmp_path / 'e' / 'e_0.mcap').open('rb') as stream:
        records = [m for m in make_reader(stream).iter_metadata() if m.name == RECORD]
    assert records[-1].metadata == custom
    assert state.state_of(records[0].metadata) == state.RECORDING
    assert state.state_of(custom) == state.FINISHED


def test_metadata_is_there_and_marked_as_unfinished_from_the_start(tmp_path):
    writer = EpisodeWriter(tmp_path / 'e', EpisodeInfo(task='insert'))
    custom = bag_metadata.custom_data(bag_metadata.read(tmp_path / 'e'))
    assert state.state_of(custom) == state.RECORDING
    assert info_from_strings(custom).task == 'insert'
    writer.close()


def test_quality_of_service_travels_with_the_topic(tmp_path):
    small_episode(tmp_path / 'e')
    with AnyReader([tmp_path / 'e'], default_typestore=STORE) as reader:
        profiles = {c.topic: c.ext.offered_qos_profiles[0] for c in reader.connections}
    assert profiles['/task'].durability.name == 'TRANSIENT_LOCAL'
    assert profiles['/robot/joint_states'].durability.name == 'VOLATILE'
    assert profiles['/robot/joint_states'].depth == 200


def test_what_was_written_is_on_disk_after_the_flush_period(tmp_path):
    writer = EpisodeWriter(tmp_path / 'e', EpisodeInfo(), WriterSettings(flush_s=1e-9))
    add_topics(writer)
    size = writer.file_path.stat().st_size
    writer.write('/task', START_NS, START_NS, string('a'))
    assert writer.file_path.stat().st_size > size
    writer.close()


def test_an_existing_folder_is_refused(tmp_path):
    (tmp_path / 'e').mkdir()
    with pytest.raises(BagError, match='exists already'):
        EpisodeWriter(tmp_path / 'e', EpisodeInfo())


def test_an_unknown_type_is_refused_by_name(tmp_path):
    with EpisodeWriter(tmp_path / 'e', EpisodeInfo()) as writer:
        with pytest.raises(VlaError, match='nowhere_msgs/msg/Thing'):
            writer.add_topic('/thing', 'nowhere_msgs/msg/Thing')


def test_a_topic_keeps_its_type(tmp_path):
    with EpisodeWriter(tmp_path / 'e', EpisodeInfo()) as writer:
        writer.add_topic('/a', STRING, Qos())
        writer.add_topic('/a', STRING, Qos())
        with pytest.raises(VlaError, match='already recorded as std_msgs/msg/String'):
            writer.add_topic('/a', JOINTS)


def test_suite_messages_carry_their_definition(tmp_path):
    with EpisodeWriter(tmp_path / 'e', EpisodeInfo()) as writer:
        writer.add_topic('/sensor/samples', 'vla_msgs/msg/SensorBatch')
    with AnyReader([tmp_path / 'e'], default_typestore=STORE) as reader:
        assert 'received_total' in reader.connections[0].msgdef.data
        assert reader.connections[0].digest.startswith('RIHS01_')


def test_an_error_in_the_writing_program_leaves_a_readable_episode(tmp_path):
    with pytest.raises(RuntimeError):
        with EpisodeWriter(tmp_path / 'e', EpisodeInfo()) as writer:
            add_topics(writer)
            writer.write('/task', START_NS, START_NS, string('a'))
            writer.flush()
            raise RuntimeError('bug')
    assert counts(tmp_path / 'e') == {'/task': 1}
    assert 'RuntimeError' in writer.info.ended_because
