"""A whole running stack for tests: free ports, own ROS domain, a checkpoint, ears on the graph.

Used by the system tests only. It starts `./vla up` as a user would and deliberately reaches into
no process.
"""

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import signal
import socket
import subprocess
import time

import psutil

from vla_cli.supervisor.status import read_status, StackStatus
from vla_ros.testing import ros_domain

ROOT = Path(__file__).resolve().parents[3]
VLA = str(ROOT / 'vla')


def free_ports() -> dict[str, int]:
    """Return a free port for each device; UDP and TCP."""
    ports, held = {}, []
    for device, kind in (
        ('robot', socket.SOCK_STREAM),
        ('camera', socket.SOCK_STREAM),
        ('sensor', socket.SOCK_DGRAM),
    ):
        held.append(socket.socket(socket.AF_INET, kind))
        held[-1].bind(('127.0.0.1', 0))
        ports[device] = held[-1].getsockname()[1]
    for each in held:
        each.close()
    return ports


def tcp_ports(count: int) -> list[int]:
    """Return free TCP ports, all different."""
    held = [socket.create_server(('127.0.0.1', 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def run_vla(
    *arguments: str, timeout_s: float = 60.0, **environment
) -> subprocess.CompletedProcess:
    """Run one `vla` command to its end."""
    return subprocess.run(
        [VLA, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env={**os.environ, **environment},
    )


class Lab:
    """A stack started by `vla up`. Made by `running_lab`."""

    def __init__(
        self, run_dir: Path, checkpoint: Path, sim_arguments: str = '', extra: tuple[str, ...] = ()
    ):
        self.run_dir = run_dir
        self.ports = free_ports()
        run_dir.mkdir(parents=True)
        # The simulated robot's own ports and those of the simulator itself.
        self.sim_ports = dict(
            zip(('meca-control', 'meca-monitor', 'truth', 'control'), tcp_ports(4))
        )
        ports = ' '.join(
            f'--{name}-port {port}' for name, port in {**self.ports, **self.sim_ports}.items()
        )
        settings = [f'--set={device}_driver.port={port}' for device, port in self.ports.items()]
        ros_domain()
        self.output = (run_dir / 'up.log').open('wb')
        self.process = subprocess.Popen(
            [
                VLA,
                'up',
                '--run-dir',
                str(run_dir),
                '--checkpoint',
                str(checkpoint),
                '--sim-arguments',
                f'{ports} {sim_arguments}'.strip(),
                *settings,
                *extra,
            ],
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def status(self) -> StackStatus | None:
        """What the supervisor says of its processes; None before its first word."""
        return read_status(self.run_dir / 'status.json')

    def member(self, name: str):
        """Status of one process."""
        return next(process for process in self.status.processes if process.name == name)

    def kill(self, name: str) -> int:
        """Kill -9 one process; return the pid it had."""
        pid = self.member(name).pid
        os.kill(pid, signal.SIGKILL)
        return pid

    def family(self) -> list[psutil.Process]:
        """The supervisor and everything it started."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def interrupt(self, timeout_s: float = 20.0) -> float:
        """Press Ctrl-C; return how long it took to end, s."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout_s)
        return time.monotonic() - began

    def printed(self) -> str:
        """Everything `vla up` has printed so far."""
        return (self.run_dir / 'up.log').read_text(errors='replace')


@contextlib.contextmanager
def running_lab(*args, **kwargs) -> Iterator[Lab]:
    """Start a stack; whatever happens, nothing of it is left afterwards."""
    lab = Lab(*args, **kwargs)
    try:
        yield lab
    finally:
        family = lab.family() if lab.process.poll() is None else []
        if lab.process.poll() is None:
            lab.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                lab.process.wait(10)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        lab.process.wait(10)
        lab.output.close()
