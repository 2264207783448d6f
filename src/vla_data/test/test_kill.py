"""kill -9 of a writing process at random moments."""

import multiprocessing
import os
import random
import signal
import struct
import time

from episode_tools import add_topics, counts, joints

from vla_data.episode import EpisodeInfo
from vla_data.recording.writer import EpisodeWriter
from vla_data.recovery import repair

KILLS = 20
RATE_HZ = 200
LOSS_LIMIT_S = 1.0


def write_for_ever(path, pipe):
    """The victim: real time, and it tells the parent the time of every message it has written."""
    writer = EpisodeWriter(path, EpisodeInfo(task='insert'))
    add_topics(writer)
    while True:
        now_ns = time.time_ns()
        writer.write('/robot/joint_states', now_ns, now_ns, joints(now_ns))
        os.write(pipe, struct.pack('<q', now_ns))
        time.sleep(1 / RATE_HZ)


def last_written_ns(pipe) -> int:
    """The newest time in the pipe of a process that is gone."""
    newest = b''
    while block := os.read(pipe, 1 << 16):
        newest = (newest + block)[-8:]
    return struct.unpack('<q', newest)[0] if newest else 0


def test_twenty_kills_leave_twenty_readable_episodes_that_miss_a_second_at_most(tmp_path):
    dice, fork = random.Random(9), multiprocessing.get_context('fork')
    victims = []
    for number in range(KILLS):
        reader, writer = os.pipe()
        path = tmp_path / f'e{number}'
        process = fork.Process(target=write_for_ever, args=(path, writer))
        process.start()
        os.close(writer)
        victims.append((time.monotonic() + dice.uniform(0.0, 3.0), process, path, reader))
    for due_s, process, _, _ in sorted(victims, key=lambda victim: victim[0]):
        time.sleep(max(0.0, due_s - time.monotonic()))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    lengths = [check(path, reader) for _, _, path, reader in victims]
    assert sum(count > 0 for count in lengths) > KILLS // 2  # else nothing was tested


def check(path, reader) -> int:
    """Repair, read, and compare with what the victim had written; return its messages."""
    written_ns = last_written_ns(reader)
    os.close(reader)
    if not path.exists():  # killed before it did anything
        return 0
    done = repair(path)
    if done is None:
        assert not list(path.iterdir())
        return 0
    assert counts(path).get('/robot/joint_states', 0) == done.messages
    if done.messages:
        from vla_data.recording import bag_metadata

        information = bag_metadata.read(path)
        start_ns = information['starting_time']['nanoseconds_since_epoch']
        end_ns = start_ns + information['duration']['nanoseconds']
        assert written_ns - end_ns < LOSS_LIMIT_S * 1e9
    return done.messages
