"""Forks the simulator's processes, starts them together, watches and ends them.

`main` runs one. Children die with their parent (PR_SET_PDEATHSIG), end within two seconds of
SIGINT or SIGTERM, and the death of one ends all. It does no work of a device itself: it writes the
statistics, so that a slow disk delays nothing. Forking comes before any thread, socket or GL
context exists.
"""

from collections.abc import Callable
import ctypes
import importlib
import os
from pathlib import Path
import select
import signal
import sys
import time
from types import FrameType

from vla_core.errors import ConfigError, DeviceError, VlaError
from vla_core.realtime import prefer_this_thread
from vla_core.timebase import NS
from vla_sim import stats
from vla_sim.options import SimOptions
from vla_sim.shared import SharedState

START_LIMIT_S = 60.0
STOP_LIMIT_S = 1.5
STATS_PERIOD_S = 0.2
_START_AHEAD_NS = 50_000_000
# Rendering takes processor time that a real lab's cameras do not: it waits for the programs under
# test. The arm and the sensor of a real lab wait for nobody: they have computers of their own.
_NICE = {'cameras': 10, 'world': -10, 'sensor': -10}
_REALTIME = {'cameras': 0, 'world': 10, 'sensor': 11}  # SCHED_FIFO, where it is permitted
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


class Supervisor:
    """Owns the child processes; main thread only."""

    def __init__(self, options: SimOptions) -> None:
        self._options = options
        self._shared = SharedState()
        self._children: dict[int, str] = {}
        self._pipes: dict[int, str] = {}

    def run(self) -> None:
        """Run to the end; VlaError if a part could not start or died."""
        self._check_stats_file()
        signums = (signal.SIGINT, signal.SIGTERM)
        handlers = [signal.signal(signum, self._on_signal) for signum in signums]
        try:
            self._fork_all()
            self._wait_until_ready()
            start_ns = time.monotonic_ns() + _START_AHEAD_NS
            self._shared.go(start_ns)
            self._watch(start_ns)
        finally:
            self._end()
            for signum, handler in zip(signums, handlers):
                signal.signal(signum, handler)

    def _check_stats_file(self) -> None:
        path = self._options.stats_file
        if path is not None and not Path(path).absolute().parent.is_dir():
            raise ConfigError('', '--stats-file', path, 'its folder does not exist')

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._shared.stop()

    def _fork_all(self) -> None:
        roles = ['world'] + [role for role in ('cameras', 'sensor') if self._options.runs(role)]
        for role in roles:
            receiver, sender = os.pipe()
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                os.close(receiver)
                os._exit(_child(role, self._options, self._shared, sender, parent))
            os.close(sender)
            self._children[pid] = role
            self._pipes[receiver] = role

    def _wait_until_ready(self) -> None:
        """Wait for a line from every child: empty, or what went wrong."""
        deadline_s = time.monotonic() + START_LIMIT_S
        waiting = dict(self._pipes)
        while waiting and not self._shared.stopped:
            if time.monotonic() > deadline_s:
                raise DeviceError(
                    f'{", ".join(waiting.values())}: not ready after {START_LIMIT_S:.0f} s'
                )
            for pipe in select.select(list(waiting), [], [], 0.1)[0]:
                line = os.read(pipe, 4096)
                if line != b'\n':
                    raise DeviceError(
                        line.decode().strip() or f'{waiting[pipe]}: ended while starting'
                    )
                del waiting[pipe]

    def _watch(self, start_ns: int) -> None:
        seconds = self._options.seconds
        end_ns = None if seconds is None else start_ns + int(seconds * NS)
        while not self._shared.stopped:
            self._shared.update_clock()
            self._write_stats()
            ended = self._reap()
            if ended and not self._shared.stopped:
                raise DeviceError(f'{", ".join(ended)}: process ended unexpectedly')
            now_ns = time.monotonic_ns()
            if end_ns is not None and now_ns >= end_ns:
                return
            nap_s = (
                STATS_PERIOD_S if end_ns is None else min(STATS_PERIOD_S, (end_ns - now_ns) / NS)
            )
            time.sleep(nap_s)

    def _reap(self) -> list[str]:
        """Forget the children that have ended; their roles."""
        ended = [pid for pid in self._children if os.waitpid(pid, os.WNOHANG)[0]]
        return [self._children.pop(pid) for pid in ended]

    def _write_stats(self) -> None:
        if self._options.stats_file is not None:
            try:
                stats.write(Path(self._options.stats_file), self._shared)
            except OSError as error:
                raise DeviceError(
                    f'cannot write --stats-file {self._options.stats_file}: {error.strerror}'
                ) from error

    def _end(self) -> None:
        """End all children, by force if need be, and write the last statistics."""
        self._shared.stop()
        deadline_s = time.monotonic() + STOP_LIMIT_S
        while self._children:
            if self._reap():
                continue
            if time.monotonic() > deadline_s:
                for child in self._children:
                    os.kill(child, signal.SIGKILL)
                deadline_s = float('inf')
            else:
                time.sleep(0.01)
        for pipe in self._pipes:
            os.close(pipe)
        self._write_stats()


def _child(role: str, options: SimOptions, shared: SharedState, pipe: int, parent: int) -> int:
    """Body of a forked child; returns its exit code. Errors go to the parent, as one line."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_NAME, f'vla_sim_{role}'.encode())
    if os.getppid() != parent:  # it died before the line above
        return 1
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the parent passes it on
    ready: Callable[[], object] = lambda: os.write(pipe, b'\n')
    prefer_this_thread(_REALTIME[role], _NICE[role])
    try:
        _body(role)(options, shared, ready)
    except VlaError as error:
        os.write(pipe, f'{error}\n'.encode())
        return 1
    except BaseException:  # noqa: BLE001 - a forked child must not unwind into the caller's stack
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _body(role: str) -> Callable[[SimOptions, SharedState, Callable[[], object]], None]:
    """Import what a role needs, and only that: MuJoCo costs memory, GL a lot of it."""
    if role == 'world':
        os.environ['MUJOCO_GL'] = 'disable'
    module = {'world': 'world', 'cameras': 'camera_stream', 'sensor': 'sensor_stream'}[role]
    return importlib.import_module(f'vla_sim.{module}').run
