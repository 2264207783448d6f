"""The driver executables: exit code 1 and one clear line for what a person can put right."""

import os
from pathlib import Path
import socket
import subprocess
import sys

import pytest

from vla_ros.testing import ros_domain

CONFIG = Path(__file__).resolve().parents[3] / 'launch' / 'config'


def run(node, *args):
    ros_domain()
    code = f'import sys; from vla_drivers.nodes.{node} import main; sys.exit(main())'
    return subprocess.run(
        [sys.executable, '-c', code, '--ros-args', *args],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ.copy(),
    )


def test_a_sensor_port_in_use_is_one_line_and_exit_code_1():
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(('127.0.0.1', 0))
        port = other.getsockname()[1]
        result = run('sensor_driver', '-p', f'port:={port}')
    assert result.returncode == 1
    assert result.stderr.strip().count('\n') == 0
    assert f'UDP port {port} is in use' in result.stderr


def test_the_drivers_file_applies_in_a_namespace(tmp_path):
    copy = tmp_path / 'sensor.yaml'
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(('127.0.0.1', 0))
        port = other.getsockname()[1]
        copy.write_text((CONFIG / 'sensor_driver.yaml').read_text().replace('9999', str(port)))
        for namespace in ('/', '/lab/left'):
            result = run('sensor_driver', '-r', f'__ns:={namespace}', '--params-file', str(copy))
            assert result.returncode == 1
            assert f'UDP port {port} is in use' in result.stderr


def test_a_camera_port_in_use_is_one_line_and_exit_code_1():
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        port = other.getsockname()[1]
        result = run('camera_driver', '-p', f'port:={port}')
    assert result.returncode == 1
    assert result.stderr.strip().count('\n') == 0
    assert f'TCP port {port} is in use' in result.stderr


@pytest.mark.parametrize(
    ('node', 'args', 'text'),
    [
        ('sensor_driver', ('-p', 'prot:=1'), 'did you mean port?'),
        ('sensor_driver', ('-p', 'port:=0'), 'from 1 to 65535'),
        ('robot_driver', ('-p', 'clock:=trustd'), 'did you mean trusted?'),
        ('robot_driver', ('-p', 'host:=no.such.host.invalid'), 'set parameter host'),
        ('robot_driver', ('-p', 'joint_names:=[a]'), 'expected 6 names'),
        ('camera_driver', ('-p', 'cameras:=[view1]'), "expected 'view: name'"),
        (
            'camera_driver',
            ('-p', 'device:=opencv', '-p', "opencv_sources:=['view1: 97']"),
            '/dev/video97 cannot be opened',
        ),
    ],
)
def test_bad_configuration_is_one_line_and_exit_code_1(node, args, text):
    result = run(node, *args)
    assert result.returncode == 1
    assert result.stderr.strip().count('\n') == 0, result.stderr
    assert text in result.stderr
