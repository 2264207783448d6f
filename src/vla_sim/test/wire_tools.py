"""Test helpers: run the simulator's program on free ports and receive what it sends."""

from contextlib import contextmanager
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil
import zmq


def wait_for(condition, timeout_s=20.0, what='condition'):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f'{what}: not within {timeout_s} s'
        time.sleep(0.02)


def robot_ports():
    """Options with free ports for the emulated Meca500, and no port for the truth."""
    return (
        f'--meca-control-port={free_port()}',
        f'--meca-monitor-port={free_port()}',
        '--truth-port=0',
    )


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Receiver:
    """Takes everything from the three streams, raw, each in a thread of its own."""

    def __init__(self):
        self.robot, self.cameras, self.sensor = [], [], []
        self._stop = threading.Event()
        self._context = zmq.Context()
        pull = self._context.socket(zmq.PULL)
        self.camera_port = pull.bind_to_random_port('tcp://127.0.0.1')
        self.robot_port = free_port()
        sub = self._context.socket(zmq.SUB)
        sub.setsockopt(zmq.RECONNECT_IVL, 10)
        sub.setsockopt(zmq.RCVHWM, 0)
        sub.connect(f'tcp://127.0.0.1:{self.robot_port}')
        sub.subscribe(b'robot_state')
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        udp.bind(('127.0.0.1', 0))
        udp.settimeout(0.1)
        self.sensor_port = udp.getsockname()[1]
        self._udp = udp
        self._threads = [
            threading.Thread(target=self._take_zmq, args=(sub, self.robot)),
            threading.Thread(target=self._take_zmq, args=(pull, self.cameras)),
            threading.Thread(target=self._take_udp),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def ports(self):
        return (
            f'--robot-port={self.robot_port}',
            f'--camera-port={self.camera_port}',
            f'--sensor-port={self.sensor_port}',
            *robot_ports(),
        )

    def _take_zmq(self, source, sink):
        source.setsockopt(zmq.RCVTIMEO, 100)
        while not self._stop.is_set():
            try:
                sink.append(source.recv_multipart())
            except zmq.Again:
                continue
        source.close(0)

    def _take_udp(self):
        while not self._stop.is_set():
            try:
                self.sensor.append(self._udp.recv(70_000))
            except TimeoutError:
                continue

    def counts(self):
        return len(self.robot), len(self.cameras), len(self.sensor)

    def wait_until_quiet(self):
        """Wait until nothing has come for a third of a second."""
        seen, since = self.counts(), time.monotonic()
        while time.monotonic() - since < 0.35:
            if self.counts() != seen:
                seen, since = self.counts(), time.monotonic()
            time.sleep(0.02)

    def close(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._context.destroy(linger=0)


@contextmanager
def receiving():
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()


def start(*options, **environment):
    """Start the program in its own process group."""
    return subprocess.Popen(
        [sys.executable, '-m', 'vla_sim.main', '--width=64', '--height=36', *options],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@contextmanager
def running(*options):
    """The started program; killed at the end if it still runs."""
    process = start(*options)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def run_and_receive(tmp_path, *options, seconds=2.0):
    """Run for a while; what was received, and the statistics."""
    file = tmp_path / 'stats.json'
    with receiving() as receiver:
        with running(
            *receiver.ports, f'--stats-file={file}', f'--seconds={seconds}', *options
        ) as process:
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        receiver.wait_until_quiet()
    return receiver, json.loads(file.read_text())


def family(process):
    """The program and its children."""
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def alive(processes):
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
