"""One supervised process: start, output, signals, end.

Used by the supervisor's loop, in its one thread. It deliberately decides nothing: policy.py does.
"""

from collections.abc import Callable
import ctypes
from dataclasses import dataclass, field
import os
from pathlib import Path
import signal
import subprocess
import time

from vla_cli.supervisor.logs import LineLog
from vla_cli.supervisor.policy import describe
from vla_cli.supervisor.status import ProcessStatus
from vla_core.errors import VlaError
from vla_core.stack_description import Respawn

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)  # loaded before any fork
_READ_BYTES = 65_536


@dataclass(frozen=True)
class Program:
    """What to start, and what to do when it ends by itself."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)  # on top of this process's own
    group: str = 'tools'
    respawn: Respawn = Respawn()


def die_with_parent(parent: int) -> Callable[[], None]:
    """Return what to run in a child before exec, so that it gets SIGTERM when process `parent`
    dies.
    """

    def in_child():
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before prctl
            os._exit(1)

    return in_child


class Child:
    """A program in its own process group, with its log. One thread, the supervisor's."""

    def __init__(self, program: Program, run_dir: Path, on_line: Callable[[str, str], None]):
        self.program = program
        self.log_path = run_dir / f'{program.name}.log'
        self.log = LineLog(self.log_path, on_line)
        self.process: subprocess.Popen | None = None
        self.state = 'stopped'
        self.lives = self.restarts = self.failures = 0
        self.started_ns = self.exited_ns = 0
        self.started_s = 0.0
        self.start_again_s: float | None = None  # steady time of the next start
        self.exit_reason = self.last_stderr = ''

    @property
    def pid(self) -> int | None:
        """Process id, and process group id, while it runs."""
        return self.process.pid if self.process is not None else None

    def start(self) -> None:
        """Start it in a new process group; it gets SIGTERM when the supervisor dies."""
        self.log.new_life()
        self.log.note('start: ' + ' '.join(self.program.command).replace('\n', ' '))
        try:
            self.process = subprocess.Popen(
                self.program.command,
                env={**os.environ, **self.program.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
                preexec_fn=die_with_parent(os.getpid()),
            )
        except OSError as error:
            raise VlaError(
                f'{self.program.name}: cannot start {self.program.command[0]}: {error.strerror}'
            ) from error
        for pipe in (self.process.stdout, self.process.stderr):
            os.set_blocking(pipe.fileno(), False)
        self.lives += 1
        self.restarts = self.lives - 1
        self.started_ns, self.started_s = time.time_ns(), time.monotonic()
        self.start_again_s, self.state = None, 'running'

    def pipes(self):
        """Return (stream name, pipe) of the running process."""
        return (('out', self.process.stdout), ('err', self.process.stderr))

    def read(self, stream: str, pipe) -> bool:
        """Take what a pipe holds; False at its end."""
        try:
            data = os.read(pipe.fileno(), _READ_BYTES)
        except BlockingIOError:
            return True
        if data:
            self.log.feed(stream, data)
        return bool(data)

    def ended(self) -> bool:
        """Say whether the process has ended; unreaped, so its group id is still its own."""
        if self.process is None:
            return False
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, flags) is not None

    def bury(self, expected: bool) -> int:
        """End what is left of the group, drain the pipes, reap; return the exit code.

        An end that was not expected is remembered with its reason.
        """
        self.send(signal.SIGKILL)
        for stream, pipe in self.pipes():
            while not pipe.closed and self._drain(stream, pipe):
                pass
            pipe.close()
        self.log.flush()
        code = self.process.wait()
        self.process = None
        self.log.note(f'end: {describe(code)}')
        if not expected:
            self.exited_ns = time.time_ns()
            self.exit_reason, self.last_stderr = describe(code), self.log.last_stderr
        return code

    def send(self, number: int) -> None:
        """Signal the whole process group."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass  # it has just ended; the loop will see that

    def status(self) -> ProcessStatus:
        """Return what the status file says about it."""
        return ProcessStatus(
            name=self.program.name,
            group=self.program.group,
            state=self.state,
            pid=self.pid,
            started_ns=self.started_ns,
            restarts=self.restarts,
            exit_reason=self.exit_reason,
            last_stderr=self.last_stderr,
            exited_ns=self.exited_ns,
            log=str(self.log_path),
        )

    def _drain(self, stream: str, pipe) -> bool:
        try:
            data = os.read(pipe.fileno(), _READ_BYTES)
        except BlockingIOError:
            return False
        self.log.feed(stream, data)
        return bool(data)
