"""The supervisor: starts programs in order, restarts what crashes, ends all within five seconds,
leaves no orphan.

Used by `vla up`, and through it by `vla demo` and `vla bench live`. One thread, one loop: signals,
pipes and ends of children wake it through one selector. It deliberately knows nothing of ROS.

Three lines of defence against orphans: the orderly stop; PR_SET_PDEATHSIG in every child; the
guard process, which ends all process groups when the supervisor was killed.
"""

from collections.abc import Callable, Sequence
import os
from pathlib import Path
import selectors
import signal
import socket
import subprocess
import sys
import time

from vla_cli.supervisor import guard
from vla_cli.supervisor.child import Child, Program
from vla_cli.supervisor.policy import decide, End, GOOD_RUN_S
from vla_cli.supervisor.status import FILE_NAME, StackStatus, write_status

# After the request to stop: (seconds, signal). The last leaves half a second to the promised five.
STOP_LADDER = ((0.0, signal.SIGINT), (3.0, signal.SIGTERM), (4.5, signal.SIGKILL))
STATUS_PERIOD_S = 1.0
REFUSED = 'refused to start'  # said once of a configuration error, with its line
_WAKE_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """Runs programs until it is told to stop. All methods belong to the thread that calls `run`.

    `announce(text)` is called for every start, end and restart; `on_line(name, stream, text)` for
    every line of output.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        run_dir: Path,
        announce: Callable[[str], None] = lambda text: None,
        on_line: Callable[[str, str, str], None] = lambda name, stream, text: None,
        settings: dict[str, str] | None = None,
    ):
        run_dir.mkdir(parents=True, exist_ok=True)
        self.status_path = run_dir / FILE_NAME
        self._run_dir = run_dir
        self._announce = announce
        self._settings = settings or {}
        self._children = [
            Child(program, run_dir, lambda s, t, n=program.name: on_line(n, s, t))
            for program in programs
        ]
        self._selector = selectors.DefaultSelector()
        self._started_ns = time.time_ns()
        self._stop_asked_s: float | None = None
        self._rung = 0
        self._exit_code = 0
        self._status_due_s = 0.0

    def run(self) -> int:
        """Start everything, watch until asked to stop; return the exit code (1 after a
        configuration error).
        """
        restore = self._catch_signals()
        self._guard = self._start_guard()
        try:
            for child in self._children:
                self._start(child)
            while not self._finished():
                self._turn()
        finally:
            self._end_all()
            self._guard.stdin.close()
            self._guard.wait()
            self._write_status('ended')
            restore()
        return self._exit_code

    def stop(self) -> None:
        """Ask for the end; asked again, the next harsher signal is sent at once."""
        if self._stop_asked_s is None:
            self._stop_asked_s = time.monotonic()
            self._announce('stopping')
        elif self._rung < len(STOP_LADDER):
            self._stop_asked_s = time.monotonic() - STOP_LADDER[self._rung][0]

    def _finished(self) -> bool:
        running = any(child.pid for child in self._children)
        if self._stop_asked_s is not None:
            return not running
        return not running and all(child.start_again_s is None for child in self._children)

    def _turn(self) -> None:
        """Do what is due, then sleep until the next thing is."""
        now = time.monotonic()
        self._climb(now)
        for child in self._children:
            if (
                self._stop_asked_s is None
                and child.start_again_s is not None
                and child.start_again_s <= now
            ):
                self._start(child)
        if now >= self._status_due_s:
            self._write_status()
        for key, _ in self._selector.select(self._sleep_s(now)):
            key.data(key.fileobj)
        for child in self._children:
            if child.ended():
                self._ended(child)

    def _sleep_s(self, now: float) -> float:
        due = [self._status_due_s]
        due += [child.start_again_s for child in self._children if child.start_again_s is not None]
        if self._stop_asked_s is not None and self._rung < len(STOP_LADDER):
            due.append(self._stop_asked_s + STOP_LADDER[self._rung][0])
        return max(0.0, min(due) - now)

    def _start(self, child: Child) -> None:
        child.start()
        self._tell_guard(f'+{child.pid}')
        for stream, pipe in child.pipes():
            self._selector.register(pipe, selectors.EVENT_READ, self._reader(child, stream))
        again = f' (restart {child.restarts})' if child.restarts else ''
        self._announce(f'{child.program.name}: started, pid {child.pid}{again}')
        self._write_status()

    def _reader(self, child: Child, stream: str):
        def read(pipe):
            if not child.read(stream, pipe):
                self._selector.unregister(pipe)

        return read

    def _ended(self, child: Child) -> None:
        pid, uptime_s = child.pid, time.monotonic() - child.started_s
        for _, pipe in child.pipes():
            if pipe in self._selector.get_map():
                self._selector.unregister(pipe)
        code = child.bury(expected=self._stop_asked_s is not None)
        self._tell_guard(f'-{pid}')
        if self._stop_asked_s is not None:
            child.state = 'stopped'
        else:
            self._crashed(child, code, uptime_s)
        self._write_status()

    def _crashed(self, child: Child, code: int, uptime_s: float) -> None:
        child.failures = 1 if uptime_s >= GOOD_RUN_S else child.failures + 1
        end = End(code, uptime_s, child.lives, child.failures, child.log.saw_traceback)
        decision = decide(end, child.program.respawn)
        name, said = child.program.name, f': {child.last_stderr}' if child.last_stderr else ''
        if decision.action == 'stop':
            child.state, self._exit_code = 'config error', 1
            self._announce(f'{name} {REFUSED}{said}')
            self.stop()
        elif decision.action == 'respawn':
            child.state = 'waiting'
            child.start_again_s = time.monotonic() + decision.delay_s
            self._announce(
                f'{name}: {child.exit_reason} after {uptime_s:.1f} s, '
                f'restart in {decision.delay_s:g} s{said}'
            )
        else:
            child.state = 'ended'
            self._exit_code = self._exit_code or (1 if code else 0)
            self._announce(f'{name}: {child.exit_reason} after {uptime_s:.1f} s{said}')

    def _climb(self, now: float) -> None:
        """Send the signals of the ladder that are due."""
        while (
            self._stop_asked_s is not None
            and self._rung < len(STOP_LADDER)
            and now - self._stop_asked_s >= STOP_LADDER[self._rung][0]
        ):
            number = STOP_LADDER[self._rung][1]
            self._rung += 1
            for child in self._children:
                child.start_again_s = None
                if child.pid is not None:
                    child.state = 'stopping'
                    child.send(number)
                    if number != signal.SIGINT:
                        self._announce(f'{child.program.name}: still there, {number.name}')

    def _end_all(self) -> None:
        """After an error in this loop: nothing may stay."""
        for child in self._children:
            if child.pid is not None:
                child.bury(expected=True)
            child.log.close()
        self._selector.close()

    def _write_status(self, state: str | None = None) -> None:
        now_ns = time.time_ns()
        state = state or ('running' if self._stop_asked_s is None else 'stopping')
        write_status(
            self.status_path,
            StackStatus(
                supervisor_pid=os.getpid(),
                state=state,
                started_ns=self._started_ns,
                updated_ns=now_ns,
                run_dir=str(self._run_dir),
                exit_code=self._exit_code if state == 'ended' else None,
                settings=self._settings,
                processes=tuple(child.status() for child in self._children),
            ),
        )
        self._status_due_s = time.monotonic() + STATUS_PERIOD_S

    def _start_guard(self) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, '-I', '-S', guard.__file__],
            text=True,
            bufsize=1,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _tell_guard(self, line: str) -> None:
        try:
            self._guard.stdin.write(line + '\n')
        except BrokenPipeError:
            self._announce('the guard process is gone: if vla is killed too, processes may stay')

    def _catch_signals(self) -> Callable[[], None]:
        """Let signals wake the selector; return what undoes that."""
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        previous = {
            number: signal.signal(number, lambda *_: None)
            for number in (*_WAKE_SIGNALS, signal.SIGCHLD)
        }
        previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

        def woken(_):
            if any(byte in _WAKE_SIGNALS for byte in reader.recv(4096)):
                self.stop()

        def restore():
            signal.set_wakeup_fd(previous_fd)
            for number, handler in previous.items():
                signal.signal(number, handler)
            reader.close()
            writer.close()

        self._selector.register(reader, selectors.EVENT_READ, woken)
        return restore
