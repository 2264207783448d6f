"""`vla up` in the background: started, asked whether it lives, ended within five seconds.

Used by `vla demo` and `vla bench live`. It deliberately shows nothing of the stack's output: that
is in the run folder.
"""

import os
from pathlib import Path
import signal
import subprocess
import sys

from vla_cli.supervisor.child import die_with_parent
from vla_cli.supervisor.loop import REFUSED
from vla_cli.supervisor.policy import describe

END_LIMIT_S = 5.0  # the supervisor needs 4.6 s at most, see its ladder
_UP = (sys.executable, '-m', 'vla_cli.main', 'up')


class BackgroundStack:
    """One `vla up` with its own process group; a context manager. One thread."""

    def __init__(self, run_dir: Path, arguments: tuple[str, ...]):
        self.run_dir = run_dir
        self.status_path = run_dir / 'status.json'
        self._command = (*_UP, '--run-dir', str(run_dir), *arguments)
        self._log = run_dir / 'up.log'

    def __enter__(self) -> 'BackgroundStack':
        with self._log.open('wb') as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=die_with_parent(os.getpid()),
            )
        return self

    def __exit__(self, *exc_info) -> None:
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is already ending
        try:
            if self.running():
                self._end()
        finally:
            signal.signal(signal.SIGINT, handler)

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        return self._process.pid

    def running(self) -> bool:
        """Say whether the supervisor still runs."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the supervisor ended, None while it runs."""
        return self._process.returncode

    def last_words(self, lines: int = 5) -> str:
        """Return why it refused its configuration, otherwise the last lines it said."""
        said = self._log.read_text(errors='replace').splitlines()
        refused = [line for line in said if REFUSED in line]
        if refused:
            return refused[0]
        code = self._process.returncode
        if code is not None and code < 0:
            return f'vla: the supervisor was {describe(code)}; its guard ended the processes'
        return '\n'.join(said[-lines:])

    def _end(self) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # its guard ends the rest
            self._process.wait()
