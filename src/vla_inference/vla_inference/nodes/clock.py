"""The clock and the tick grid of a node: the system's, or ROS time under use_sim_time.

Called by both nodes when they are configured. Deliberately no timers: the tick belongs to the
loop's own thread.
"""

import threading
import time

from vla_core.timebase import Clock, SteadyGrid, SystemClock, Tick

SIM_POLL_NS = 2_000_000  # simulated time runs at any speed: look at it this often


class RosClock:
    """ROS time of a node."""

    def __init__(self, node) -> None:
        self._clock = node.get_clock()

    def now_ns(self) -> int:
        """ROS time, ns."""
        return self._clock.now().nanoseconds


class RosGrid:
    """Ticks on ROS time; the first one once a /clock has come."""

    def __init__(self, period_ns: int, clock: Clock) -> None:
        self.period_ns = period_ns
        self._clock = clock
        self._grid = SteadyGrid(period_ns, clock.now_ns, clock.now_ns, SIM_POLL_NS)

    def wait(self, stop: threading.Event) -> Tick | None:
        """Sleep to the next grid point; None once `stop` is set."""
        while self._clock.now_ns() == 0:
            if stop.wait(SIM_POLL_NS / 1e9):
                return None
        return self._grid.wait(stop)


def uses_sim_time(node) -> bool:
    """Whether the node follows /clock."""
    return node.has_parameter('use_sim_time') and bool(node.get_parameter('use_sim_time').value)


def node_clock(node) -> Clock:
    """The clock of a node's stamps."""
    return RosClock(node) if uses_sim_time(node) else SystemClock()


def node_grid(node, period_ns: int):
    """Return the tick grid and the steady clock it runs on, a callable in ns."""
    if uses_sim_time(node):
        clock = RosClock(node)
        return RosGrid(period_ns, clock), clock.now_ns
    return SteadyGrid(period_ns), time.monotonic_ns
