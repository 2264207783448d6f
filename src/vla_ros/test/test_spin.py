"""Node processes: exit codes, one clear line, signals."""

import gc
import os
import signal
import subprocess
import sys

import pytest
from rclpy.node import Node

from vla_ros.spin import Spinner
from vla_ros.testing import ros_context, ros_domain, wait_for

PROGRAM = """
from dataclasses import dataclass
import sys
from vla_core.errors import DeviceError
from vla_ros.lifecycle import VlaLifecycleNode
from vla_ros.params import param
from vla_ros.spin import run_node

@dataclass(frozen=True)
class Parameters:
    trouble: str = param('what', default='')

class Example(VlaLifecycleNode):
    def __init__(self):
        super().__init__('example', Parameters)
    def configure(self):
        if self.params.trouble == 'device':
            raise DeviceError('port 1 is in use:\\nuse another')
        if self.params.trouble == 'callback':
            self.add_timer(0.01, lambda: 1 / 0)
    def activate(self):
        print('active', flush=True)
    def cleanup(self):
        print('clean', flush=True)

sys.exit(run_node(Example))
"""


@pytest.fixture
def start(tmp_path):
    ros_domain()
    program = tmp_path / 'example'
    program.write_text(PROGRAM)
    processes = []

    def start(*args):
        processes.append(
            subprocess.Popen(
                [sys.executable, str(program), *args],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ.copy(),
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_signal_ends_the_node_in_order_with_code_0(start):
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start()
        assert process.stdout.readline() == 'active\n'
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, 'clean\n', '')


def test_a_device_error_is_one_line_and_exit_code_1(start):
    process = start('--ros-args', '-p', 'trouble:=device')
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err.strip().count('\n') == 0
    assert 'port 1 is in use: use another' in err


@pytest.mark.parametrize(
    ('args', 'text'),
    [
        (('--ros-args', '-p', 'truoble:=x'), 'did you mean trouble?'),
        (('--port', '3'), 'unknown argument --port'),
        (('--ros-args', '--params-file', 'nowhere.yaml'), 'nowhere.yaml: no such file'),
    ],
)
def test_bad_input_is_one_line_without_traceback_and_exit_code_1(start, args, text):
    process = start(*args)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err.strip().count('\n') == 0
    assert text in err


def test_an_exception_in_a_callback_ends_the_process_with_its_traceback(start):
    process = start('--ros-args', '-p', 'trouble:=callback')
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert 'ZeroDivisionError' in err


def test_each_test_process_gets_a_domain_of_its_own():
    mine = ros_domain()
    code = 'from vla_ros.testing import ros_domain; print(ros_domain())'
    environment = {key: value for key, value in os.environ.items() if key != 'ROS_DOMAIN_ID'}
    other = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, env=environment, check=True
    )
    assert int(other.stdout) != mine
    assert ros_domain() == mine


def test_waiting_has_a_deadline_and_says_for_what():
    with pytest.raises(AssertionError, match='not within 0.01 s: rain'):
        wait_for(lambda: False, 0.01, 'rain')


def test_spinning_keeps_nothing_from_turn_to_turn():
    with ros_context():
        node, turns = Node('turning'), []
        timer = node.create_timer(0.001, lambda: turns.append(0))
        with Spinner(node):
            wait_for(lambda: len(turns) > 50)
            gc.collect()
            before = len(gc.get_objects())
            wait_for(lambda: len(turns) > 550)
            gc.collect()
            grown = len(gc.get_objects()) - before
        node.destroy_timer(timer)
        node.destroy_node()
    assert grown < 250
