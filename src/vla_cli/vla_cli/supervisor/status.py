"""The status file of a running stack: written by the supervisor, read by the monitor, the reporter
and the benchmark.

One JSON file, replaced atomically, so a reader never sees half of it. It deliberately holds only
what the supervisor knows: nothing from ROS.
"""

from dataclasses import asdict, dataclass, field
import json
import os
from pathlib import Path
import time

from vla_core.config import from_dict
from vla_core.errors import VlaError

FILE_NAME = 'status.json'
# The supervisor writes once a second; a file older than this has no living writer.
STALE_AFTER_S = 5.0


@dataclass(frozen=True)
class ProcessStatus:
    """One process. `state`: running, waiting (for its restart), stopping, stopped, ended or config
    error.
    """

    name: str
    group: str
    state: str
    pid: int | None = None
    started_ns: int = 0
    restarts: int = 0
    exit_reason: str = ''  # of the last unexpected end: 'killed by SIGSEGV', 'exit code 1'
    last_stderr: str = ''  # last line it wrote to stderr before that
    exited_ns: int = 0
    log: str = ''


@dataclass(frozen=True)
class StackStatus:
    """All processes of one run. `state`: running, stopping or ended."""

    supervisor_pid: int
    state: str
    started_ns: int
    updated_ns: int
    run_dir: str
    exit_code: int | None = None
    settings: dict[str, str] = field(default_factory=dict)
    processes: tuple[ProcessStatus, ...] = ()

    def age_s(self, now_ns: int | None = None) -> float:
        """Return the time since the supervisor last wrote."""
        return ((time.time_ns() if now_ns is None else now_ns) - self.updated_ns) / 1e9

    def alive(self, now_ns: int | None = None) -> bool:
        """Say whether a supervisor still writes this file."""
        return self.state != 'ended' and self.age_s(now_ns) < STALE_AFTER_S


def write_status(path: Path, status: StackStatus) -> None:
    """Replace the file atomically."""
    draft = path.with_suffix('.new')
    draft.write_text(json.dumps(asdict(status), indent=1))
    os.replace(draft, path)


def read_status(path: Path) -> StackStatus | None:
    """Return the status, None when there is no such file; VlaError when it is something else."""
    try:
        data = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise VlaError(f'{path}: cannot be read as a status file: {error}') from error
    return from_dict(StackStatus, data, str(path))
