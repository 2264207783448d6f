"""Episodes whose writer was killed, or that were damaged afterwards."""

import os
import random
import shutil

from episode_tools import add_topics, counts, NS, small_episode, START_NS, string
import pytest

from vla_data.episode import EpisodeInfo, info_from_strings
from vla_data.errors import BagError
from vla_data.recording import bag_metadata, mcap_file, state
from vla_data.recording.writer import EpisodeWriter, WriterSettings
from vla_data.recovery import BagBusyError, KILLED, repair


def custom(folder):
    return bag_metadata.custom_data(bag_metadata.read(folder))


@pytest.fixture
def killed(tmp_path):
    """A folder as a killed writer leaves it: unfinished metadata, chunks, no end."""
    writer = EpisodeWriter(
        tmp_path / 'live', EpisodeInfo(task='insert', started_ns=START_NS), WriterSettings(1e-9)
    )
    add_topics(writer)
    for k in range(40):
        writer.write('/task', START_NS + k * NS // 10, START_NS, string(str(k) * 50))
    shutil.copytree(tmp_path / 'live', tmp_path / 'e')
    os.rename(tmp_path / 'e' / 'live_0.mcap', tmp_path / 'e' / 'e_0.mcap')
    writer.close()
    return tmp_path / 'e'


def test_the_next_command_makes_it_whole_and_says_so(killed):
    done = repair(killed)
    assert done.messages == 40
    assert '40 messages, 3.9 s are there' in str(done)
    assert counts(killed) == {'/task': 40}
    info = info_from_strings(custom(killed))
    assert info.task == 'insert'
    assert info.ended_because == KILLED
    assert info.ended_ns == START_NS + 39 * NS // 10
    assert info.loss['/task'] == {'written': 40}
    assert state.state_of(custom(killed)) == state.RECOVERED


def test_a_second_repair_finds_nothing_to_do(killed):
    repair(killed)
    before = (killed / 'e_0.mcap').read_bytes(), (killed / 'metadata.yaml').read_bytes()
    assert repair(killed) is None
    assert before == ((killed / 'e_0.mcap').read_bytes(), (killed / 'metadata.yaml').read_bytes())


def test_an_episode_that_was_closed_is_left_alone(tmp_path):
    small_episode(tmp_path / 'e')
    assert repair(tmp_path / 'e') is None


def test_every_torn_length_gives_a_readable_bag_with_a_growing_number_of_messages(killed):
    data, metadata = (killed / 'e_0.mcap').read_bytes(), (killed / 'metadata.yaml').read_bytes()
    last = 0
    for size in (*range(0, len(data), 197), len(data)):
        (killed / 'e_0.mcap').write_bytes(data[:size])
        (killed / 'metadata.yaml').write_bytes(metadata)
        done = repair(killed)
        assert done.messages >= last
        assert counts(killed).get('/task', 0) == done.messages
        last = done.messages
    assert last == 40


@pytest.mark.parametrize('name', ['missing', 'torn'])
def test_lost_metadata_is_made_anew_from_the_data(killed, name):
    path = killed / 'metadata.yaml'
    path.unlink() if name == 'missing' else path.write_bytes(b'rosbag2_bagfile_inf')
    assert repair(killed).messages == 40
    assert counts(killed) == {'/task': 40}
    assert info_from_strings(custom(killed)).task == 'insert'


def test_a_repair_that_is_killed_is_simply_done_again(killed):
    data, metadata = (killed / 'e_0.mcap').read_bytes(), (killed / 'metadata.yaml').read_bytes()
    repair(killed)
    whole = (killed / 'e_0.mcap').read_bytes()
    for size in range(len(data), len(whole), 613):
        (killed / 'e_0.mcap').write_bytes(whole[:size])
        (killed / 'metadata.yaml').write_bytes(metadata)
        assert repair(killed).messages == 40
        assert counts(killed) == {'/task': 40}


def test_zeros_at_the_end_as_a_power_failure_leaves_them_are_cut(killed):
    with (killed / 'e_0.mcap').open('ab') as stream:
        stream.write(bytes(5000))
    done = repair(killed)
    assert (done.messages, done.cut_bytes) == (40, 5000)
    assert counts(killed) == {'/task': 40}


def test_a_damaged_chunk_in_the_middle_costs_only_itself(killed):
    path = killed / 'e_0.mcap'
    data = bytearray(path.read_bytes())
    with path.open('rb') as stream:
        chunk = mcap_file.scan(stream, len(data)).chunks[20]
    middle = chunk.chunk_start_offset + chunk.chunk_length // 2
    data[middle : middle + 8] = bytes(8)
    path.write_bytes(data)
    done = repair(killed)
    assert (done.messages, done.damaged_chunks) == (39, 1)
    assert '1 chunks inside are damaged' in str(done)
    assert counts(killed) == {'/task': 39}


def test_an_episode_that_is_being_recorded_is_never_touched(tmp_path):
    writer = EpisodeWriter(tmp_path / 'e', EpisodeInfo())
    add_topics(writer)
    before = writer.file_path.read_bytes()
    with pytest.raises(BagBusyError, match='being recorded now'):
        repair(tmp_path / 'e')
    assert writer.file_path.read_bytes() == before
    writer.close()
    assert repair(tmp_path / 'e') is None


def test_a_truncated_copy_of_a_closed_episode_is_an_error_not_a_shorter_episode(tmp_path):
    small_episode(tmp_path / 'e', count=20)
    path = tmp_path / 'e' / 'e_0.mcap'
    cut = path.read_bytes()[:1500]
    path.write_bytes(cut)
    with pytest.raises(BagError, match='is truncated: it was closed with 21 messages'):
        repair(tmp_path / 'e')
    assert path.read_bytes() == cut


def test_a_file_that_is_no_mcap_is_named(killed):
    (killed / 'e_0.mcap').write_bytes(b'hello world, this is no bag')
    with pytest.raises(BagError, match='e_0.mcap: is no MCAP file'):
        repair(killed)


def test_a_place_that_cannot_be_written_is_told_with_what_to_do(killed, monkeypatch):
    from pathlib import Path

    real = Path.open

    def refuse(self, mode='r', *args, **kwargs):
        if mode == 'r+b':
            raise PermissionError(30, 'Read-only file system')
        return real(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, 'open', refuse)
    with pytest.raises(BagError, match='cannot be repaired here.*copy the folder'):
        repair(killed)


def test_random_damage_never_ends_in_anything_but_a_bag_or_a_bag_error(killed):
    data, metadata = (killed / 'e_0.mcap').read_bytes(), (killed / 'metadata.yaml').read_bytes()
    dice, repaired = random.Random(4), 0
    for _ in range(60):
        broken = bytearray(data)
        for _ in range(dice.randint(1, 4)):
            start = dice.randrange(64, len(broken))  # behind magic and header
            broken[start : start + dice.randint(1, 12)] = dice.randbytes(dice.randint(1, 12))
        (killed / 'e_0.mcap').write_bytes(broken)
        (killed / 'metadata.yaml').write_bytes(metadata)
        try:
            repaired += repair(killed).messages > 0
        except BagError:
            continue
    assert repaired > 30  # most damage is to chunks, which costs only them
