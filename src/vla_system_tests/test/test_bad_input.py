"""Bad input ends in one clear line that says what to do, exit code 1, no traceback."""

import shutil
import socket

import pytest
from vla_system_tests.lab import free_ports, run_vla

CASES = {
    'an unknown verb': (['upp'], 'did you mean up'),
    'an unknown option': (['up', '--chekpoint', 'x'], '--checkpoint'),
    'an unknown option of a nested verb': (['bench', 'live', '--secnds', '3'], '--seconds'),
    'an unknown option of the simulator': (['sim', '--onyl', 'robot'], '--only'),
    'an unknown node to set': (['up', '--set', 'camera_drivr.port=1'], 'camera_driver'),
    'an unknown argument value': (['up', '--log-level', 'loud'], 'debug'),
    'a missing stack file': (['up', '--stack', '/nowhere/stack.yaml'], '/nowhere/stack.yaml'),
    'a missing parameter file': (['up', '--params-file', '/nowhere/p.yaml'], '/nowhere/p.yaml'),
    'a missing checkpoint to show': (['checkpoint', 'show', '/nowhere/nano'], '/nowhere/nano'),
    'an unknown preset': (
        ['checkpoint', 'create', '--preset', 'nanno', '--out', '/tmp/x'],
        'nano',
    ),
}


def assert_one_clear_line(result, wanted):
    assert result.returncode == 1, result.stdout + result.stderr
    assert 'Traceback' not in result.stdout + result.stderr
    assert wanted in result.stderr, result.stderr
    assert len(result.stderr.strip().splitlines()) <= 2, result.stderr


@pytest.mark.parametrize('case', CASES)
def test_bad_command_line_is_answered_with_what_is_right(case):
    arguments, wanted = CASES[case]
    assert_one_clear_line(run_vla(*arguments), wanted)


def last_words(result):
    """What `vla up` printed without the announcements of starts and ends."""
    return result.stderr + result.stdout


def up(tmp_path, *arguments):
    ports = free_ports()
    return run_vla(
        'up',
        '--run-dir',
        str(tmp_path / 'run'),
        '--no-sim',
        *arguments,
        *(f'--set={name}_driver.port={port}' for name, port in ports.items()),
        timeout_s=60,
    )


@pytest.mark.parametrize(
    ('arguments', 'wanted'),
    [
        (['--group', 'inference', '--checkpoint', '/nowhere/nano'], '/nowhere/nano'),
        (['--group', 'drivers', '--set', 'camera_driver.prot=1'], 'port'),
        (['--group', 'drivers', '--set', 'camera_driver.rate_hz=-5.0'], 'rate_hz'),
    ],
    ids=['a missing checkpoint', 'an unknown parameter', 'a parameter out of range'],
)
def test_a_refused_configuration_stops_the_stack_with_its_reason(tmp_path, arguments, wanted):
    result = up(tmp_path, *arguments)
    assert result.returncode == 1, last_words(result)
    assert wanted in last_words(result) and 'Traceback' not in last_words(result)


def test_a_changed_weight_file_is_refused_with_the_file_and_both_hashes(tmp_path, checkpoint):
    broken = tmp_path / 'broken'
    shutil.copytree(checkpoint, broken)
    weights = broken / 'expert.safetensors'
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    result = up(tmp_path, '--group', 'inference', '--checkpoint', str(broken))
    assert result.returncode == 1, last_words(result)
    assert 'expert.safetensors' in last_words(result) and 'Traceback' not in last_words(result)


def test_a_port_in_use_is_named_with_what_to_do(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(('127.0.0.1', 0))
        port = taken.getsockname()[1]
        result = run_vla(
            'up',
            '--run-dir',
            str(tmp_path / 'run'),
            '--no-sim',
            '--group',
            'drivers',
            '--set',
            f'sensor_driver.port={port}',
            timeout_s=60,
        )
    assert result.returncode == 1, last_words(result)
    assert str(port) in last_words(result) and 'in use' in last_words(result)
    assert 'Traceback' not in last_words(result)


def test_without_a_gl_library_the_simulator_says_which_packages_to_install():
    result = run_vla(
        'sim',
        '--only',
        'cameras',
        '--camera-port',
        str(free_ports()['camera']),
        MUJOCO_GL='no_such_backend',
    )
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr and 'GL' in result.stderr
