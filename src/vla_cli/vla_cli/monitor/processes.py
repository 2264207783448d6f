"""The processes of a run for the monitor: state from the supervisor's status file, CPU and memory
from /proc.

Asked by the monitor's loop as often as it likes; measures at most once a second.
"""

from pathlib import Path
import time

from vla_cli.monitor.snapshot import ProcessPart
from vla_cli.supervisor.status import ProcessStatus, read_status
from vla_cli.system import Usage, usage
from vla_core.errors import VlaError

PERIOD_S = 1.0
SHOW_ENDED_S = 15.0


class ProcessTable:
    """Keeps the last sample of each process."""

    def __init__(self, status_path: Path):
        self._path = status_path
        self._last: dict[int, tuple[float, Usage]] = {}
        self._due_s = 0.0
        self._parts: dict = {'processes': (), 'supervisor': '', 'uptime_s': None}

    def parts(self) -> dict:
        """Return the fields `processes`, `supervisor` and `uptime_s` of a snapshot."""
        now_s = time.monotonic()
        if now_s >= self._due_s:
            self._due_s = now_s + PERIOD_S
            self._parts = self._read(now_s)
        return self._parts

    def _read(self, now_s: float) -> dict:
        try:
            status = read_status(self._path)
        except VlaError as error:
            return {'processes': (), 'supervisor': str(error), 'uptime_s': None}
        if status is None:
            return {
                'processes': (),
                'uptime_s': None,
                'supervisor': 'not started by `vla up`: processes are not shown',
            }
        if not status.alive():
            code = '' if status.exit_code is None else f', exit code {status.exit_code}'
            text = f'`vla up` has ended ({status.run_dir}{code})'
            # Later the graph on show is another one, started by ros2 launch or elsewhere.
            shown = status.processes if status.age_s() < SHOW_ENDED_S else ()
            parts = tuple(self._part(item, now_s) for item in shown)
            return {'processes': parts, 'supervisor': text, 'uptime_s': None}
        samples = tuple(self._part(item, now_s) for item in status.processes)
        return {
            'processes': samples,
            'supervisor': '' if status.state == 'running' else status.state,
            'uptime_s': (time.time_ns() - status.started_ns) / 1e9,
        }

    def _part(self, item: ProcessStatus, now_s: float) -> ProcessPart:
        sample = usage(item.pid) if item.pid else None
        cores = rss_mb = None
        if sample is not None:
            if item.pid in self._last:
                then_s, earlier = self._last[item.pid]
                cores = sample.cpu_since(earlier) / (now_s - then_s)
            self._last[item.pid] = (now_s, sample)
            rss_mb = sample.rss_bytes / 1e6
        why = f'{item.exit_reason}: {item.last_stderr}' if item.last_stderr else item.exit_reason
        return ProcessPart(item.name, item.state, item.pid, item.restarts, cores, rss_mb, why)
