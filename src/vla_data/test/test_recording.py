"""A running recording: bounds, slow and full disks, and the session around it."""

import errno
import threading
import time

from episode_tools import counts, JOINTS, joints, NS, START_NS, STRING, string
import pytest

from vla_core.errors import VlaError
from vla_data.catalog import load
from vla_data.episode import EpisodeInfo
from vla_data.errors import BagError
from vla_data.recording import bag_metadata
from vla_data.recording.byte_queue import ByteQueue, Entry, OVERHEAD_BYTES
from vla_data.recording.manifest import Topic
from vla_data.recording.qos import Qos
from vla_data.recording.recording import Recording, RecordingSettings
from vla_data.recording.session import Session
from vla_data.recording.writer import EpisodeWriter, WriterSettings
from vla_data.tagging import read_info

TOPICS = {
    '/task': Topic('task', STRING, 'observation', 'none', Qos(1, durability='transient_local')),
    '/joints': Topic('joints', JOINTS, 'observation', 'stamps'),
}
ROOMY = RecordingSettings(keep_free_bytes=0, writer=WriterSettings(flush_s=0.01))
DEADLINE_S = 10.0


def entries(count, first=0, size=0):
    stamps = [START_NS + (first + k) * NS // 100 for k in range(count)]
    return [Entry('/joints', stamp, stamp, joints(stamp, 'x' * size)) for stamp in stamps]


class SlowWriter(EpisodeWriter):
    """A disk that takes nothing until it is let go."""

    gate = threading.Event()

    def write(self, *args):
        self.gate.wait(DEADLINE_S)
        super().write(*args)


class FullFile:
    """A file on a disk that is full after so many bytes."""

    def __init__(self, file, room):
        self._file, self._room = file, room

    def write(self, data):
        if self._file.tell() + len(data) > self._room:
            self._file.write(data[: max(0, self._room - self._file.tell())])
            raise OSError(errno.ENOSPC, 'No space left on device')
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)


def full_writer(room):
    def make(*args):
        from vla_data.recording import writer as module

        real = module.OutFile
        module.OutFile = lambda *a: FullFile(real(*a), room)
        try:
            return EpisodeWriter(*args)
        finally:
            module.OutFile = real

    return make


def wait_closed(recording):
    recording._thread.join(DEADLINE_S)
    assert recording.closed


def test_what_was_put_is_in_the_file_with_its_account(tmp_path):
    recording = Recording(tmp_path / 'e', EpisodeInfo(started_ns=START_NS), TOPICS, ROOMY)
    assert recording.put([Entry('/task', START_NS, START_NS, string('insert'))])
    assert recording.put(entries(300))
    info = recording.stop(outcome='success')
    assert counts(tmp_path / 'e') == {'/task': 1, '/joints': 300}
    assert info.outcome == 'success' and not info.ended_because
    assert info.loss['/joints']['received'] == info.loss['/joints']['written'] == 300
    assert info.loss['/joints']['missing_by_stamps'] == 0
    assert read_info(tmp_path / 'e') == info


def test_a_slow_disk_never_blocks_who_puts_and_ends_the_recording_without_a_hole(tmp_path):
    SlowWriter.gate.clear()
    settings = RecordingSettings(100_000, 0, WriterSettings())
    recording = Recording(tmp_path / 'e', EpisodeInfo(), TOPICS, settings, SlowWriter)
    batches = [entries(10, first=10 * k, size=1000) for k in range(30)]
    taken = [recording.put(batch) for batch in batches]  # would hang here if it blocked
    assert taken[0] and not taken[-1]
    assert 'the disk is too slow' in recording.ended_because
    assert recording.highest_queue_bytes <= 100_000
    SlowWriter.gate.set()
    info = recording.stop()
    written = counts(tmp_path / 'e')['/joints']
    assert written == info.loss['/joints']['received'] == info.loss['/joints']['written']
    assert info.loss['/joints']['missing_by_stamps'] == 0  # an end, no hole
    assert info.extra['messages_after_the_end'] == 300 - written
    assert 'the disk is too slow' in read_info(tmp_path / 'e').ended_because


def wait_until(met, limit_s=10.0):
    deadline = time.monotonic() + limit_s
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_full_disk_ends_the_recording_with_its_reason_and_the_rest_is_readable(tmp_path):
    make = full_writer(60_000)
    recording = Recording(tmp_path / 'e', EpisodeInfo(), TOPICS, ROOMY, make)
    import random

    dice, k = random.Random(1), 0
    while recording.active and k < 5000:
        stamp = START_NS + k * NS // 100
        frame = ''.join(chr(dice.randrange(33, 127)) for _ in range(500))
        recording.put([Entry('/joints', stamp, stamp, joints(stamp, frame))])
        k += 1
        if k == 40:  # these are on the disk before it is full, however fast messages come
            wait_until(lambda: sum(f.stat().st_size for f in (tmp_path / 'e').iterdir()) > 15_000)
        if k % 20 == 0:
            threading.Event().wait(0.012)
    wait_closed(recording)
    assert 'No space left on device' in recording.ended_because
    assert counts(tmp_path / 'e')['/joints'] > 20
    info = recording.stop(outcome='failure')
    assert info.outcome == 'failure'
    assert 'No space left on device' in read_info(tmp_path / 'e').ended_because
    assert load(tmp_path / 'e').fault == ''


def test_too_little_free_space_ends_the_recording_before_the_disk_is_full(tmp_path, monkeypatch):
    from vla_data.recording import recording as module

    monkeypatch.setattr(module, 'DISK_LOOK_S', 0.0)
    free = [10**9]
    monkeypatch.setattr(
        module.os,
        'statvfs',
        lambda path: type('Room', (), {'f_bavail': free[0], 'f_frsize': 1})(),
    )
    settings = RecordingSettings(keep_free_bytes=10**8)
    recording = Recording(tmp_path / 'e', EpisodeInfo(), TOPICS, settings)
    recording.put(entries(5))
    free[0] = 10**7
    wait_closed(recording)
    assert recording.ended_because == 'the disk is full: 10 MB free, 100 MB are kept free'
    assert counts(tmp_path / 'e') == {'/joints': 5}
    with pytest.raises(BagError, match='the disk is full'):
        Recording(tmp_path / 'f', EpisodeInfo(), TOPICS, settings)
    assert not (tmp_path / 'f').exists()


def test_the_queue_holds_no_more_bytes_than_its_bound_and_keeps_the_order():
    queue = ByteQueue(10 * (100 + OVERHEAD_BYTES))
    sent = [Entry('/a', k, k, bytes(100)) for k in range(15)]
    assert queue.put(sent) == 10
    assert queue.take(4) == sent[:4]
    assert queue.put(sent[10:]) == 4
    assert queue.take(100) == sent[4:14]
    assert queue.bytes == 0
    assert queue.close_if_empty()
    assert queue.put(sent) == 0


@pytest.fixture
def session(tmp_path):
    return Session(tmp_path / 'all', TOPICS, ROOMY, EpisodeInfo(contract_hash='c', source='live'))


def test_a_session_makes_one_folder_an_episode_named_by_its_time(session):
    first = session.start(START_NS, task='insert', operator='kim')
    session.put(entries(3))
    session.stop(outcome='success')
    second = session.start(START_NS)
    session.put(entries(2))
    session.stop()
    assert second.name == first.name + '-2'
    info = read_info(first)
    assert (info.task, info.operator, info.outcome) == ('insert', 'kim', 'success')
    assert (info.contract_hash, info.source) == ('c', 'live')
    assert counts(second) == {'/joints': 2}


def test_what_was_latched_before_is_at_the_beginning_of_every_episode(session):
    latched = [Entry('/task', 5, 4, string('insert'), 3)]
    for name in ('a', 'b'):
        path = session.start(START_NS, latched, name)
        assert session.stop().info.loss['/task']['lost_transport'] == 0
        assert counts(path) == {'/task': 1}
        started = bag_metadata.read(path)['starting_time']['nanoseconds_since_epoch']
        assert started == START_NS


def test_a_second_start_is_refused_and_the_running_episode_goes_on(session):
    session.start(START_NS, name='a')
    with pytest.raises(VlaError, match='a is being recorded'):
        session.start(START_NS, name='b')
    session.put(entries(4))
    assert session.stop().messages == 4


def test_messages_between_episodes_belong_to_none(session):
    session.put(entries(9))
    path = session.start(START_NS, name='a')
    session.stop()
    session.put(entries(9))
    assert counts(path) == {}


def test_stop_and_discard_without_an_episode_say_so(session):
    for action in (session.stop, session.discard):
        with pytest.raises(VlaError, match='no episode is being recorded'):
            action()


def test_discard_keeps_the_files_with_that_outcome_unless_told_to_delete(session):
    kept = session.start(START_NS, name='a')
    session.discard()
    assert read_info(kept).outcome == 'discarded'
    gone = session.start(START_NS, name='b')
    session.discard(delete_files=True)
    assert not gone.exists()


def test_an_episode_that_ended_by_itself_is_shown_until_it_is_judged(session):
    path = session.start(START_NS, name='a')
    session.put(entries(2))
    session._recording._end('the test wants it')
    wait_closed(session._recording)
    assert (session.status().state, session.status().reason) == ('ended', 'the test wants it')
    finished = session.stop(outcome='success')
    assert 'it ended because the test wants it' in str(finished)
    assert read_info(path).outcome == 'success'
    assert session.status().state == 'idle'


def test_shutting_down_closes_the_episode_with_that_reason(session):
    path = session.start(START_NS, name='a')
    session.put(entries(2))
    session.shut_down()
    assert read_info(path).ended_because == 'the recorder node was stopped'
    assert session.shut_down() is None


def test_a_wrong_outcome_is_refused_and_the_episode_goes_on(session):
    session.start(START_NS, name='a')
    with pytest.raises(VlaError, match='sucess'):
        session.stop(outcome='sucess')
    session.put(entries(4))
    assert session.stop(outcome='success').messages == 4


@pytest.mark.parametrize('name', ['../x', 'a/b', '.hidden', 'a b'])
def test_a_name_that_is_no_folder_name_is_refused(session, name):
    with pytest.raises(VlaError, match='is no name for a folder'):
        session.start(START_NS, name=name)
