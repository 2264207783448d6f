"""Options, errors, start and end of the simulator's program."""

import json
import os
import signal
import socket

import psutil
import pytest
from wire_tools import alive, family, free_port, receiving, robot_ports, running, start, wait_for
import zmq

from vla_core.wire import oct_force
from vla_sim import options
from vla_sim.main import main


def ports():
    return (
        f'--robot-port={free_port()}',
        f'--camera-port={free_port()}',
        f'--sensor-port={free_port()}',
        *robot_ports(),
    )


def started(file):
    """Whether all three devices have sent something."""
    if not file.exists():
        return False
    stats = json.loads(file.read_text())
    sent = [counts['sent'] for counts in stats['streams'].values()]
    return all(sent)


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        (['--sede', '3'], ['unknown option --sede', 'did you mean --seed?']),
        (['--sensor-rat=3'], ['unknown option', 'did you mean --sensor-rate?']),
        (['--only', 'camera'], ['robot, cameras, sensor', 'did you mean cameras?']),
        (['--loss', 'view33=0.1'], ['view33', 'did you mean view3?']),
        (['--batch', '16'], ['--batch', 'expected 1 to 15']),
        (['--robot-port', '70000'], ['--robot-port', '65535']),
        (['--seed', 'x'], ['--seed', "'x'"]),
        (['--port', '5'], ['--port needs --only']),
        (['--stats-file', '/no/such/folder/file'], ['--stats-file', 'does not exist']),
        (['extra'], ['extra']),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_1(argv, words, capsys):
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert captured.err.count('\n') == 1 and captured.err.startswith('vla sim: ')
    assert all(word in captured.err for word in words), captured.err


def test_help_names_every_option_and_succeeds(capsys):
    assert main(['--help']) == 0
    text = capsys.readouterr().out
    for name in options.SimOptions.__dataclass_fields__:
        assert name == 'faults' or '--' + name.replace('_', '-') in text


def test_rate_and_port_speak_of_the_device_alone():
    alone = options.parse(['--only', 'cameras', '--rate', '10', '--port', '6000'])
    assert (alone.camera_rate, alone.camera_port, alone.robot_rate) == (10, 6000, 100)
    assert options.parse(['--rate', '250']).robot_rate == 250
    assert alone.follows_unix_time and not options.parse([]).follows_unix_time


def test_robot_port_in_use_is_one_line():
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        with running(f'--robot-port={port}', '--only=robot') as process:
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count('\n') == 1 and f':{port}' in errors and '--robot-port' in errors


def test_unknown_target_host_is_one_line():
    with running('--only=sensor', '--target=no-such-host.invalid') as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count('\n') == 1 and 'no-such-host.invalid' in errors


def test_no_gl_library_is_one_line():
    process = start('--only=cameras', MUJOCO_GL='disable')
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count('\n') == 1 and 'apt-get install' in errors


@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_everything_within_two_seconds(tmp_path, signum):
    file = tmp_path / 'stats.json'
    with running(*ports(), f'--stats-file={file}') as process:
        wait_for(lambda: started(file), what='all devices sending')
        everyone = family(process)
        assert len(everyone) == 4
        # Ctrl-C reaches the whole group, SIGTERM usually the parent alone.
        os.killpg(process.pid, signum) if signum == signal.SIGINT else process.send_signal(signum)
        process.wait(timeout=2.0)
        assert process.returncode == 0
        assert not alive(everyone)
        _, errors = process.communicate()
    assert errors == ''


def test_children_die_with_a_killed_parent(tmp_path):
    file = tmp_path / 'stats.json'
    with running(*ports(), f'--stats-file={file}') as process:
        wait_for(lambda: started(file), what='all devices sending')
        everyone = family(process)
        process.kill()
        wait_for(lambda: not alive(everyone), timeout_s=2.0, what='children gone')


def test_death_of_one_part_ends_all_and_is_said(tmp_path):
    file = tmp_path / 'stats.json'
    with running(*ports(), f'--stats-file={file}') as process:
        wait_for(lambda: started(file), what='all devices sending')
        everyone = family(process)
        [cameras] = [p for p in everyone if p.name() == 'vla_sim_cameras']
        cameras.kill()
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 1
        assert 'cameras: process ended unexpectedly' in errors
        assert not alive(everyone)


def test_a_stalled_sensor_catches_up_without_losing_a_sample(tmp_path):
    file = tmp_path / 'stats.json'
    with (
        receiving() as receiver,
        running(*receiver.ports, '--only=sensor', f'--stats-file={file}') as process,
    ):
        wait_for(lambda: len(receiver.sensor) > 50, what='datagrams')
        [sensor] = [p for p in family(process) if p.name() == 'vla_sim_sensor']
        sensor.suspend()
        receiver.wait_until_quiet()
        before = len(receiver.sensor)
        sensor.resume()
        wait_for(lambda: len(receiver.sensor) > before + 200, what='datagrams after the stall')
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=5)
        receiver.wait_until_quiet()
    stamps = [
        stamp for data in receiver.sensor for stamp in oct_force.decode(data).capture_ns.tolist()
    ]
    gaps = [second - first for first, second in zip(stamps, stamps[1:])]
    assert max(gaps) < 1.6e6 and min(gaps) > 1.4e6
    stats = json.loads(file.read_text())
    assert len(stamps) == stats['sensor_samples_sent']
    assert stats['streams']['sensor']['skipped'] == 0


def test_late_receiver_gets_fresh_images_and_all_after_it_came(tmp_path):
    file, port = tmp_path / 'stats.json', free_port()
    with running('--only=cameras', f'--camera-port={port}', f'--stats-file={file}') as process:
        wait_for(
            lambda: (
                file.exists() and json.loads(file.read_text())['streams']['view1']['dropped'] > 2
            )
        )
        context = zmq.Context()
        pull = context.socket(zmq.PULL)
        pull.bind(f'tcp://127.0.0.1:{port}')
        pull.setsockopt(zmq.RCVTIMEO, 5000)
        frames = [json.loads(pull.recv_multipart()[0]) for _ in range(10)]
        context.destroy(linger=0)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=5)
    stamps = sorted({frame['timestamp'] for frame in frames})
    assert stamps[0] > json.loads(file.read_text())['first_capture_ns']['view1'] / 1e9 + 0.3
    assert all(later - sooner < 0.21 for sooner, later in zip(stamps, stamps[1:]))


def test_processes_carry_names_that_a_monitor_can_show(tmp_path):
    file = tmp_path / 'stats.json'
    with running(*ports(), f'--stats-file={file}') as process:
        wait_for(lambda: started(file), what='all devices sending')
        names = {psutil.Process(p.pid).name() for p in family(process)[1:]}
    assert names == {'vla_sim_world', 'vla_sim_cameras', 'vla_sim_sensor'}
