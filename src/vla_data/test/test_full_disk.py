"""A disk that is really full: a small tmpfs."""

import os
import random
import subprocess
import time

from episode_tools import counts, JOINTS, joints, NS, START_NS
import pytest

from vla_data.catalog import load
from vla_data.episode import EpisodeInfo
from vla_data.recording.byte_queue import Entry
from vla_data.recording.manifest import Topic
from vla_data.recording.recording import Recording, RecordingSettings
from vla_data.recording.writer import WriterSettings

SIZE_MB = 2
SETTINGS = RecordingSettings(keep_free_bytes=0, writer=WriterSettings(0.02, 100_000, 0.05))
DEADLINE_S = 30.0


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / 'disk'
    folder.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', f'size={SIZE_MB}m', 'tmpfs', str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip('mounting a tmpfs is not allowed here')
    yield folder
    subprocess.run(['umount', '-l', str(folder)], check=True)


def fill(recording) -> int:
    """Put messages until the recording ends; return how many were put."""
    dice, k, end_s = random.Random(1), 0, time.monotonic() + DEADLINE_S
    while recording.active and time.monotonic() < end_s:
        stamp = START_NS + k * NS // 100
        frame = ''.join(chr(dice.randrange(33, 127)) for _ in range(3000))
        recording.put([Entry('/joints', stamp, stamp, joints(stamp, frame))])
        k += 1
        if k % 20 == 0:
            time.sleep(0.005)  # the writing thread's turn
    return k


def test_a_full_disk_ends_the_recording_and_what_was_written_is_readable(small_disk):
    topics = {'/joints': Topic('joints', JOINTS, 'observation', 'stamps')}
    recording = Recording(small_disk / 'e', EpisodeInfo(task='insert'), topics, SETTINGS)
    put = fill(recording)
    info = recording.stop(outcome='failure') if not recording.error else recording.info
    assert 'No space left on device' in recording.ended_because
    assert counts(small_disk / 'e')['/joints'] > put / 2
    entry = load(small_disk / 'e')
    assert entry.fault == ''
    assert 'No space left on device' in entry.info.ended_because
    assert (entry.info.task, info.outcome) == ('insert', 'failure')
    assert entry.info.loss['/joints']['written'] == entry.messages
    assert entry.info.loss['/joints']['missing_by_stamps'] == 0
