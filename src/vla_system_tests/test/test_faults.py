"""Kills, silence and hostile packets: each is named, counted and survived."""

import os
import signal
import socket

import psutil
import pytest
from vla_system_tests.ears import listening
from vla_system_tests.lab import running_lab

from vla_msgs.msg import ActionChunk
from vla_ros.testing import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
INPUT_OF = {'robot_driver': 'robot', 'camera_driver': 'images', 'sensor_driver': 'sensor'}


@pytest.fixture(scope='module')
def graph(tmp_path_factory, checkpoint):
    with (
        running_lab(tmp_path_factory.mktemp('faults') / 'run', checkpoint) as lab,
        listening() as ears,
    ):
        ears.wait_until_used()
        yield lab, ears


@pytest.mark.parametrize('name', ['robot_driver', 'camera_driver', 'sensor_driver'])
def test_expert_holds_and_says_why_while_a_killed_driver_comes_back(graph, name):
    lab, ears = graph
    ears.wait_until_used()
    restarts = lab.member(name).restarts
    lab.kill(name)
    ears.wait_for_chunk(
        lambda chunk: any(INPUT_OF[name] in reason for reason in chunk.reasons),
        5,
        f'a chunk that names {INPUT_OF[name]} as the reason',
    )
    wait_for(
        lambda: lab.member(name).restarts == restarts + 1 and lab.member(name).state == 'running',
        5,
        f'{name} restarted',
    )
    ears.wait_until_used(8)
    assert 'SIGKILL' in lab.member(name).exit_reason
    assert name in lab.printed()


def test_a_hold_sends_zero_steps(graph):
    lab, ears = graph
    ears.wait_until_used()
    lab.kill('sensor_driver')
    chunk = ears.wait_for_chunk(lambda chunk: chunk.reaction >= ActionChunk.HOLD, 5, 'a hold')
    assert not any(chunk.delta)
    ears.wait_until_used(10)


def test_hostile_packets_are_counted_by_kind_and_stop_nothing(graph):
    lab, ears = graph
    ears.wait_until_used()
    pids = {process.name: process.pid for process in lab.status.processes}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for datagram in (
            b'',
            b'x',
            b'\0' * 4120,
            b'\xff' * 65_000,
            os.urandom(4124),
            os.urandom(8244),
        ):
            sender.sendto(datagram, ('127.0.0.1', lab.ports['sensor']))
    with socket.create_connection(('127.0.0.1', lab.ports['camera'])) as stranger:
        stranger.sendall(b'GET / HTTP/1.0\r\n\r\n')
    wait_for(
        lambda: int(ears.diagnostic('sensor', 'bad_length') or 0) >= 3,
        5,
        'bad datagrams in the diagnostics',
    )
    ears.wait_until_used(5)
    assert {process.name: process.pid for process in lab.status.processes} == pids


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path, checkpoint):
    with running_lab(tmp_path / 'run', checkpoint) as lab:
        wait_for(
            lambda: lab.status and all(process.pid for process in lab.status.processes),
            20,
            'all processes',
        )
        family = lab.family()
        os.kill(lab.process.pid, signal.SIGKILL)
        lab.process.wait(5)
        _, left = psutil.wait_procs(family[1:], timeout=6)
        assert [process.cmdline() for process in left if process.is_running()] == []
