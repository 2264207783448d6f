"""Segments that nobody owns any more are removed, others never."""

import fcntl
import os
from pathlib import Path
import signal
import subprocess
import sys

import pytest

from vla_cli.shm import remove_orphans
from vla_ros.testing import ros_domain

NODE = """
import rclpy
from rclpy.node import Node
rclpy.init()
node = Node('owner')
lines = open('/proc/self/maps')
print([line.split()[-1] for line in lines if '/dev/shm/fastrtps_' in line], flush=True)
input()
"""


def make(folder, name):
    (folder / name).write_bytes(b'x')
    lock = folder / f'{name}_el'
    lock.touch()
    return lock


def test_segment_without_owner_goes_and_locked_or_foreign_ones_stay(tmp_path):
    make(tmp_path, 'fastrtps_0123456789abcdef')
    owned = make(tmp_path, 'fastrtps_aaaaaaaaaaaaaaaa')
    make(tmp_path, 'fastrtps_port7400')
    make(tmp_path, 'something_else')
    with owned.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert remove_orphans(tmp_path, least_age_s=0.0) == 1
    left = sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith('_el'))
    assert left == ['fastrtps_aaaaaaaaaaaaaaaa', 'fastrtps_port7400', 'something_else']


def test_young_segment_stays_because_its_owner_may_not_have_locked_it_yet(tmp_path):
    make(tmp_path, 'fastrtps_0123456789abcdef')
    assert remove_orphans(tmp_path, least_age_s=100.0) == 0


def test_folder_that_does_not_exist_is_no_error(tmp_path):
    assert remove_orphans(tmp_path / 'none') == 0


@pytest.mark.skipif(not os.path.isdir('/dev/shm'), reason='no /dev/shm here')
def test_real_segment_lives_with_its_node_and_goes_after_kill_9():
    ros_domain()
    node = subprocess.Popen(
        [sys.executable, '-c', NODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    words = node.stdout.readline().strip('[]\n').replace("'", '').split(', ')
    segments = {Path(word) for word in words if 'port' not in word and word}
    if not segments:
        node.kill()
        node.wait()
        pytest.skip('this middleware uses no Fast DDS shared memory')
    remove_orphans(least_age_s=0.0)
    assert all(path.exists() for path in segments)
    node.send_signal(signal.SIGKILL)
    node.wait()
    remove_orphans(least_age_s=0.0)
    assert not any(path.exists() for path in segments)
