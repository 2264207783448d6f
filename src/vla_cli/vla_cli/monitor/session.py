"""One running monitor: node, model, process table and, if wanted, the page; looked at in one loop.

Used by `vla monitor` and `vla demo`. It draws nothing.
"""

from collections.abc import Callable
from pathlib import Path
import time

from vla_cli.monitor import plain
from vla_cli.monitor.model import Model
from vla_cli.monitor.node import MonitorNode
from vla_cli.monitor.processes import ProcessTable
from vla_cli.monitor.snapshot import Snapshot
from vla_cli.monitor.web import StatusPage
from vla_core.contract import Contract

LOOK_PERIOD_S = 0.25
WATCHED_PERIOD_S = 0.1  # while the page shows pictures: cameras come at 5 Hz


class Session:
    """A context manager; every method belongs to the thread that made it."""

    def __init__(
        self, contract: Contract, namespace: str, status_path: Path, web_port: int | None
    ):
        self._model = Model(contract)
        self._processes = ProcessTable(status_path)
        self._page = StatusPage(web_port, contract.view_names) if web_port is not None else None
        self.note: Callable[[], str] = lambda: ''
        self._node = MonitorNode(self._model, contract, namespace)

    def __enter__(self) -> 'Session':
        return self

    def __exit__(self, *exc_info) -> None:
        self._node.__exit__(*exc_info)
        if self._page is not None:
            self._page.close()

    @property
    def url(self) -> str:
        """Address of the page, '' without one."""
        return self._page.url if self._page is not None else ''

    def poll_for(self, period_s: float, until=lambda: False) -> Snapshot:
        """Look at the topics for `period_s` or until `until()`; return the last snapshot."""
        end_s = time.monotonic() + period_s
        while True:
            watched = self._page is not None and self._page.watched()
            self._node.watch_images(watched)
            left_s = end_s - time.monotonic()
            time.sleep(max(0.0, min(WATCHED_PERIOD_S if watched else LOOK_PERIOD_S, left_s)))
            snapshot = self._look()
            if time.monotonic() >= end_s or until():
                return snapshot

    def plain(self) -> list[str]:
        """Return the status as lines."""
        return plain.lines(self._look())

    def _look(self) -> Snapshot:
        now_ns = time.time_ns()
        self._node.poll(now_ns)
        snapshot = self._model.snapshot(now_ns, note=self.note(), **self._processes.parts())
        if self._page is not None:
            self._page.update(snapshot, self._node.images)
        return snapshot
