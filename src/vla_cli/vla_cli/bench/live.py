"""One live measurement: start the stack headless, wait until it runs well, measure, stop,
evaluate.

Called by `vla bench live`. The measuring process subscribes to the small topics, and to sensor
batches and images only for their capture stamps (see listener.py); what was sent comes from the
simulator's own statistics.
"""

from dataclasses import dataclass
from datetime import datetime, UTC
import json
from pathlib import Path
import shlex
import time
from typing import Any

from vla_cli import system
from vla_cli.background import BackgroundStack
from vla_cli.bench import counts, figures, report
from vla_cli.bench.listener import Listener
from vla_cli.supervisor.status import read_status
from vla_core.contract import Contract
from vla_core.errors import VlaError

POLL_S = 0.05
TICK_S = 0.1
STEADY_CHUNKS = 30  # in a row without HOLD or STOP
DRAIN_S = 2.0  # after the end, for what is still on its way


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    seconds: float
    settle_s: float
    start_limit_s: float
    checkpoint: str
    arguments: tuple[str, ...] = ()  # for `vla up`
    sim_arguments: str = ''  # for the simulator, last: they win
    camera_hz: float = 5.0

    @property
    def drifting_camera_hz(self) -> float:
        """The cameras' rate, slower by one tick of the action grid over the whole measurement.

        On real hardware cameras and actions share no clock. In the simulation both would keep one
        phase for ever, and the image age at action, which takes only two values then, would be a
        matter of luck: 100 ms between the best and the worst start. With the drift every phase is
        met equally often, whatever the length of the measurement.
        """
        return self.camera_hz * (1.0 - TICK_S / max(self.seconds, 10.0))


class Measurement:
    """One run. One thread."""

    def __init__(self, settings: Settings, contract: Contract, run_dir: Path, say):
        self._settings = settings
        self._contract = contract
        self._stats_path = run_dir / 'sim_stats.json'
        self._run_dir = run_dir
        self._say = say

    def run(self) -> dict[str, Any]:
        """Measure and return the result, ready for JSON."""
        settings = self._settings
        sim = f'--stats-file {shlex.quote(str(self._stats_path))}'
        sim += f' --camera-rate {settings.drifting_camera_hz:.6f} {settings.sim_arguments}'
        arguments = (*settings.arguments, '--checkpoint', settings.checkpoint)
        arguments += ('--sim-arguments=' + sim.strip(),)
        listener = Listener(self._contract)
        try:
            with BackgroundStack(self._run_dir, arguments) as stack:
                return self._measure(stack, listener)
        finally:
            listener.close()

    def _measure(self, stack: BackgroundStack, listener: Listener) -> dict[str, Any]:
        self._wait_until_steady(stack, listener)
        self._listen(stack, listener, self._settings.settle_s)
        self._say(f'measuring for {self._settings.seconds:g} s')
        first, usage_before = self._sent(), self._usage(stack)
        start_ns, start_s = time.time_ns(), time.monotonic()
        restarts = self._restarts(stack)
        self._listen(stack, listener, self._settings.seconds)
        last, usage_after = self._sent(), self._usage(stack)
        end_ns, wall_s = time.time_ns(), time.monotonic() - start_s
        pss_mb = self._pss_mb(stack)
        self._listen(stack, listener, DRAIN_S)
        result = self._evaluate(listener, first, last, start_ns, end_ns)
        result.update(_usage_figures(usage_before, usage_after, wall_s))
        result.update(pss_mb_by_process=pss_mb, restarts=self._restarts(stack) - restarts)
        result['targets'] = report.judge(result)
        return result

    def _wait_until_steady(self, stack: BackgroundStack, listener: Listener) -> None:
        started_s = time.monotonic()
        while not self._steady(listener):
            if time.monotonic() - started_s > self._settings.start_limit_s:
                chunk = listener.chunks[-1] if listener.chunks else None
                why = '; '.join(chunk.reasons) if chunk else 'no actions came'
                raise VlaError(
                    f'the stack did not reach its rates within '
                    f'{self._settings.start_limit_s:g} s ({why}); see {self._run_dir}'
                )
            self._listen(stack, listener, POLL_S)
        first_s = listener.chunks[0].published_ns / 1e9 - (time.time() - time.monotonic())
        self._say(
            f'steady after {time.monotonic() - started_s:.1f} s '
            f'(first chunk after {first_s - started_s:.1f} s)'
        )

    def _steady(self, listener: Listener) -> bool:
        recent = listener.chunks[-STEADY_CHUNKS:]
        return (
            len(recent) == STEADY_CHUNKS
            and all(chunk.reaction < 2 for chunk in recent)
            and len(listener.passes) > 2
            and self._stats_path.exists()
        )

    def _listen(self, stack: BackgroundStack, listener: Listener, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(POLL_S, left_s))
            listener.poll()
            if not stack.running():
                raise VlaError(f'the stack has ended:\n{stack.last_words()}')

    def _sent(self) -> counts.Sent:
        return counts.parse_stats(json.loads(self._stats_path.read_text()), time.time_ns())

    def _usage(self, stack: BackgroundStack) -> dict[str, system.Usage]:
        pids = {'supervisor': stack.pid, **_pids(stack)}
        # The supervisor's own children are listed by themselves.
        samples = {
            name: system.usage(pid, with_children=name != 'supervisor')
            for name, pid in pids.items()
        }
        samples['bench'] = system.usage(_own_pid(), with_children=False)
        return {name: sample for name, sample in samples.items() if sample is not None}

    def _pss_mb(self, stack: BackgroundStack) -> dict[str, float]:
        sizes = {name: system.pss_bytes(pid) for name, pid in _pids(stack).items()}
        return {name: round(size / 1e6, 1) for name, size in sizes.items() if size is not None}

    def _restarts(self, stack: BackgroundStack) -> int:
        status = read_status(stack.status_path)
        return sum(process.restarts for process in status.processes) if status else 0

    def _evaluate(
        self, listener: Listener, first: counts.Sent, last: counts.Sent, start_ns: int, end_ns: int
    ) -> dict[str, Any]:
        chunks = [c for c in listener.chunks if start_ns < c.published_ns <= end_ns]
        passes = [p for p in listener.passes if start_ns < p.published_ns <= end_ns]
        tallies = counts.tally(first, last, listener.stamps_ns)
        views = {name: item for name, item in tallies.items() if name != counts.SENSOR}
        window = self._contract.sensor.window
        result = {
            'date': datetime.now(UTC).isoformat(timespec='seconds'),
            'machine': system.machine(),
            'commit': system.commit(Path(__file__).parent),
            'settings': {
                'seconds': self._settings.seconds, 'checkpoint': self._settings.checkpoint,
                'checkpoint_hash': passes[-1].checkpoint_hash if passes else '',
                'arguments': list(self._settings.arguments),
                'sim_arguments': self._settings.sim_arguments,
                'camera_hz': self._settings.drifting_camera_hz, 'contract': self._contract.hash,
            },
            'sensor_samples_sent': tallies[counts.SENSOR].sent,
            'sensor_samples_received': tallies[counts.SENSOR].received,
            'sensor_samples_missing_in_windows': counts.missing_in_windows(
                [(c.tick_ns, c.sensor_samples) for c in chunks], listener.stamps_ns[counts.SENSOR],
                window.duration_ns, window.lag_ns),
            'images_sent': sum(item.sent for item in views.values()),
            'images_received': sum(item.received for item in views.values()),
            'images_by_view': {name: {'sent': item.sent, 'received': item.received}
                               for name, item in views.items()},
        }  # fmt: skip
        result.update(figures.vl_figures(passes))
        result.update(figures.action_figures(chunks))
        result.update(figures.age_figures(chunks, passes, _camera_period_s(views)))
        return result


def _camera_period_s(views: dict[str, counts.Tally]) -> float:
    """Measured from what was sent: the simulator's rate is an option."""
    periods = [
        (item.until_ns - item.after_ns) / 1e9 / item.sent for item in views.values() if item.sent
    ]
    return max(periods, default=0.0)


def _pids(stack: BackgroundStack) -> dict[str, int]:
    status = read_status(stack.status_path)
    return {p.name: p.pid for p in status.processes if p.pid} if status else {}


def _own_pid() -> int:
    import os

    return os.getpid()


def _usage_figures(
    before: dict[str, system.Usage], after: dict[str, system.Usage], wall_s: float
) -> dict[str, Any]:
    cores = {
        name: round(sample.cpu_since(before[name]) / wall_s, 4)
        for name, sample in after.items()
        if name in before
    }
    memory = {name: round(sample.rss_bytes / 1e6, 1) for name, sample in after.items()}
    bench = cores.pop('bench', 0.0)
    memory.pop('bench', None)
    return {
        'cpu_cores_by_process': cores, 'rss_mb_by_process': memory, 'cpu_cores_bench': bench,
        'cpu_cores_total': round(sum(cores.values()), 4),
        'rss_mb_total': round(sum(memory.values()), 1),
    }  # fmt: skip
