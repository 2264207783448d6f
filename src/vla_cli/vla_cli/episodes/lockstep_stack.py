"""The two model nodes as `vla replay --lockstep` needs them: alone, new, in step.

Their commands and parameters are those of the stack description. New ones for every replay, since
what a node has seen before changes what it says. It deliberately restarts nothing: a replay with a
gap is none.
"""

import os
from pathlib import Path
import subprocess

from vla_cli import workspace
from vla_cli.episodes.lockstep_node import FELLOWS
from vla_cli.supervisor.child import die_with_parent
from vla_core.errors import VlaError
from vla_core.stack import load_stack, Override, resolve

END_S = 5.0


class LockstepStack:
    """A context manager."""

    def __init__(self, checkpoint: Path, latency_ms: float, log_dir: Path) -> None:
        settings = [f'{name}.lockstep=true' for name in FELLOWS]
        settings.append(f'vlm_node.lockstep_latency_ms={latency_ms:.3f}')
        settings.append('vlm_node.nice=0')  # there is no control loop to give way to
        resolved = resolve(
            load_stack(workspace.default_stack()),
            {'use_sim_time': True, 'use_sim': False, 'checkpoint': str(checkpoint.resolve())},
            [Override.parse(text) for text in settings],
            ['inference'],
        )
        self._commands = {
            process.name: workspace.command(process)
            for process in resolved.processes
            if process.name in FELLOWS
        }
        self._environment = {**os.environ, **resolved.added_environment(os.environ)}
        self._log_dir = log_dir
        self._running: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> 'LockstepStack':
        for name, command in self._commands.items():
            with self._log(name).open('wb') as log:
                self._running[name] = subprocess.Popen(
                    command,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    process_group=0,
                    preexec_fn=die_with_parent(os.getpid()),
                )
        return self

    def __exit__(self, *exc_info) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def check(self) -> None:
        """VlaError with its last words when a node has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise VlaError(f'{name} ended: {self.last_words(name)}')

    def last_words(self, name: str) -> str:
        """Return the last line a node wrote."""
        lines = self._log(name).read_text(errors='replace').strip().splitlines()
        return lines[-1] if lines else 'it said nothing'

    def all_last_words(self) -> str:
        """Return the last line of every node, in one."""
        return '; '.join(f"{name} said last: '{self.last_words(name)}'" for name in self._running)

    def _log(self, name: str) -> Path:
        return self._log_dir / f'{name}.log'
