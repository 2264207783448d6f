"""The world process: steps the one scene's physics, shares its states, publishes the robot's.

Physics runs `LEAD_S` ahead of the clock. So the cameras can render the scene of a trigger before
the trigger comes and send the pictures on time: rendering five views takes one processor core tens
of milliseconds that five real cameras would not need. Stamps stay true, for all devices show the
same scene at the same time.

A commanded arm will be stepped here too; it will want a short lead, since a command takes effect
only after it.
"""

from collections.abc import Callable
import signal
import time

import numpy as np

from vla_core.timebase import NS
from vla_sim.expert import CYCLE_S
from vla_sim.lab import Lab
from vla_sim.options import SimOptions
from vla_sim.robot_stream import RobotStream
from vla_sim.shared import SharedState, STEP_NS, WIDTH

LEAD_S = 0.160
_LEAD_NS = int(LEAD_S * NS)
_WAKE_NS = 40_000_000  # in blocks: a step costs twice as much on a cold cache
_BURST = 100  # steps before the robot stream gets its turn, when catching up


class World:
    """Steps a `Lab` on the clock and writes its states; single-threaded."""

    def __init__(self, options: SimOptions, shared: SharedState) -> None:
        self._options = options
        self._shared = shared
        self.lab = Lab(options.seed, options.width, options.height)
        self._start_ns = 0
        self._state = np.zeros(WIDTH)

    def start(self, start_ns: int) -> None:
        """Put the scene into its state at `start_ns` (steady clock) and write it.

        The script begins with the simulator, or runs on Unix time so that devices on several hosts
        agree.
        """
        self._start_ns = start_ns
        if self._options.follows_unix_time:
            self._preroll(self._shared.unix_ns(start_ns) / NS)
        self._write()

    def _preroll(self, script_s: float) -> None:
        cycle_begin_s = script_s // CYCLE_S * CYCLE_S
        self.lab.reset(self._options.seed, script_start_s=cycle_begin_s)
        steps = round((script_s - cycle_begin_s) * NS / STEP_NS)
        self.lab.follow_expert(steps)

    def advance(self, now_ns: int) -> bool:
        """Step towards now + lead; True when there."""
        wanted = (now_ns + _LEAD_NS - self._start_ns) // STEP_NS + 1
        missing = wanted - self._shared.head
        for _ in range(min(missing, _BURST)):
            self.lab.follow_expert()
            self._write()
        return missing <= _BURST

    def _write(self) -> None:
        self.lab.write_state(self._state)
        self._shared.append(self._state)


def run(options: SimOptions, shared: SharedState, ready: Callable[[], object]) -> None:
    """Body of the world process. ready(): call once everything that can fail has been set up."""
    signal.signal(signal.SIGTERM, lambda *_: shared.stop())
    world = World(options, shared)
    robot = RobotStream(options, shared) if options.runs('robot') else None
    ready()
    start_ns = shared.wait_for_go()
    if start_ns is None:
        return
    world.start(start_ns)
    if robot is not None:
        robot.start(start_ns)
    try:
        _loop(world, robot, shared)
    finally:
        if robot is not None:
            robot.close()


def _loop(world: World, robot: RobotStream | None, shared: SharedState) -> None:
    wake_ns = time.monotonic_ns()
    while not shared.stopped:
        now_ns = time.monotonic_ns()
        there = world.advance(now_ns)
        if robot is not None:
            robot.emit_due(time.monotonic_ns())
        if not there:
            continue
        wake_ns = max(wake_ns + _WAKE_NS, now_ns)
        until_ns = wake_ns if robot is None else min(wake_ns, max(robot.due_ns, now_ns))
        time.sleep(max(0, until_ns - time.monotonic_ns()) / NS)
