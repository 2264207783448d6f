"""The DDS profile is really in force: the shared-memory segments have its size."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

from vla_cli import main as vla
from vla_core.stack import load_stack, resolve
from vla_ros.testing import ros_domain

STACK = Path(__file__).resolve().parents[3] / 'launch' / 'stack.yaml'
NODE = """
import os, rclpy
from rclpy.node import Node
rclpy.init()
node = Node('owner')
paths = {line.split()[-1] for line in open('/proc/self/maps') if '/dev/shm/fastrtps_' in line}
print(max((os.path.getsize(path) for path in paths if 'port' not in path), default=0))
"""
PROFILE = 'FASTRTPS_DEFAULT_PROFILES_FILE'


def largest_segment(environment):
    ros_domain()
    result = subprocess.run(
        [sys.executable, '-c', NODE],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return int(result.stdout.split()[-1])  # Fast DDS complains on stdout


def test_nodes_of_the_stack_have_segments_of_32_mb():
    environment = resolve(load_stack(STACK)).environment
    if environment['RMW_IMPLEMENTATION'] != 'rmw_fastrtps_cpp':
        pytest.skip('another middleware')
    assert largest_segment(environment) > 32 << 20


def test_a_broken_profile_would_mean_small_segments(tmp_path):
    environment = resolve(load_stack(STACK)).environment
    broken = tmp_path / 'broken.xml'
    broken.write_text(
        Path(environment[PROFILE]).read_text().replace('segment_size', 'segment_sise')
    )
    assert largest_segment({**environment, PROFILE: str(broken)}) < 1 << 20


def test_up_refuses_a_profile_that_cannot_be_read(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv(PROFILE, str(tmp_path / 'missing.xml'))
    assert vla.main(['up', '--dry-run']) == 1
    assert 'not a DDS profile' in capsys.readouterr().err
