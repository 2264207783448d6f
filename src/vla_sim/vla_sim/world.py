"""The world process: steps the one scene's physics, shares its states, speaks for the robot.

With `--motion script` physics runs `LEAD_S` ahead of the clock. So the cameras can render the
scene of a trigger before the trigger comes and send the pictures on time: rendering five views
takes one processor core tens of milliseconds that five real cameras would not need.

With `--motion commanded` the arm obeys the emulated Meca500 and physics runs up to now, in small
blocks, so that a command acts at once. Pictures then come after their trigger by the time it takes
to render them, as from cameras with a slow readout.

Stamps stay true in both, for all devices show the same scene at the same time.
"""

from collections.abc import Callable
import signal
import time

import numpy as np

from vla_core.timebase import NS
from vla_sim.commanded import CommandedLab
from vla_sim.control import ControlServer
from vla_sim.expert import CYCLE_S
from vla_sim.lab import Lab
from vla_sim.meca.controller import Controller
from vla_sim.meca.server import MecaServer
from vla_sim.options import SimOptions
from vla_sim.robot_stream import RobotStream
from vla_sim.shared import ROBOT_COUNTERS, SharedState, STEP_NS, WIDTH
from vla_sim.truth import TruthPublisher

LEAD_S = 0.160
_LEAD_NS = int(LEAD_S * NS)
_WAKE_NS = 40_000_000  # in blocks: a step costs twice as much on a cold cache
_COMMANDED_WAKE_NS = 4_000_000  # a command waits for it
_BURST = 100  # steps before the robot stream gets its turn, when catching up
_COMMANDED_BURST = 10
_COUNT_NS = 100_000_000


class World:
    """Steps a `Lab` on the clock and writes its states; single-threaded."""

    def __init__(self, options: SimOptions, shared: SharedState) -> None:
        self._options = options
        self._shared = shared
        self.lab = Lab(
            options.seed, options.width, options.height, moving=options.eye == 'moving'
        )
        self.meca: MecaServer | None = None
        if options.commanded:
            self.meca = MecaServer(
                options.bind, options.meca_control_port, options.meca_monitor_port,
                Controller(self.lab.joint_rad),
            )  # fmt: skip
            self._commanded = CommandedLab(self.lab, self.meca.robot, options.seed)
        self._lead_ns = 0 if options.commanded else _LEAD_NS
        self._burst = _COMMANDED_BURST if options.commanded else _BURST
        self.wake_ns = _COMMANDED_WAKE_NS if options.commanded else _WAKE_NS
        self._start_ns = 0
        self._state = np.zeros(WIDTH)

    def start(self, start_ns: int) -> None:
        """Put the scene into its state at `start_ns` (steady clock) and write it.

        The script begins with the simulator, or runs on Unix time so that devices on several hosts
        agree.
        """
        self._start_ns = start_ns
        if self._options.follows_unix_time and not self._options.commanded:
            self._preroll(self._shared.unix_ns(start_ns) / NS)
        self._write()

    def _preroll(self, script_s: float) -> None:
        cycle_begin_s = script_s // CYCLE_S * CYCLE_S
        self.lab.reset(self._options.seed, script_start_s=cycle_begin_s)
        steps = round((script_s - cycle_begin_s) * NS / STEP_NS)
        self.lab.follow_expert(steps)

    def advance(self, now_ns: int) -> bool:
        """Step towards now + lead; True when there."""
        wanted = (now_ns + self._lead_ns - self._start_ns) // STEP_NS + 1
        missing = wanted - self._shared.head
        if self.meca is not None:  # with every block: nobody reads the encoders more often
            self._commanded.draw_noise()
        for _ in range(min(missing, self._burst)):
            self._step()
            self._write()
        return missing <= self._burst

    def _step(self) -> None:
        if self.meca is None:
            self.lab.follow_expert()
            return
        self._commanded.step()
        self.meca.after_step()

    def _write(self) -> None:
        self.lab.write_state(self._state, scripted=self.meca is None)
        self._shared.append(self._state)

    def count(self) -> None:
        """Write the emulated robot's counts where the supervisor finds them."""
        if self.meca is not None:
            robot = self.meca.robot
            counts = {**self.meca.counts, **robot.counts, 'refused': robot.refused}
            self._shared.robot_counts[:] = [counts.get(name, 0) for name in ROBOT_COUNTERS]

    def close(self) -> None:
        """Close the robot's ports."""
        if self.meca is not None:
            self.meca.close()


def run(options: SimOptions, shared: SharedState, ready: Callable[[], object]) -> None:
    """Body of the world process. ready(): call once everything that can fail has been set up."""
    signal.signal(signal.SIGTERM, lambda *_: shared.stop())
    parts: list[World | RobotStream | TruthPublisher | ControlServer] = []
    try:
        world = World(options, shared)
        parts.append(world)
        robot = RobotStream(options, shared) if options.runs('robot') else None
        truth = TruthPublisher(options, shared, world)
        control = ControlServer(options, shared, world, truth)
        parts += [part for part in (robot, truth, control) if part is not None]
        ready()
        start_ns = shared.wait_for_go()
        if start_ns is None:
            return
        world.start(start_ns)
        truth.start(start_ns)
        if robot is not None:
            robot.start(start_ns)
        _Loop(world, robot, truth, control, shared).run()
    finally:
        for part in parts:
            part.close()


class _Loop:
    """Gives every part its turn, and sleeps in between; ends when the simulator does."""

    def __init__(
        self,
        world: World,
        robot: RobotStream | None,
        truth: TruthPublisher,
        control: ControlServer,
        shared: SharedState,
    ) -> None:
        self._world, self._robot, self._truth, self._control = world, robot, truth, control
        self._shared = shared
        self._count_ns = 0

    def run(self) -> None:
        """Run to the end."""
        wake_ns = time.monotonic_ns()
        while not self._shared.stopped:
            now_ns = time.monotonic_ns()
            self._listen(now_ns)
            there = self._world.advance(now_ns)
            self._speak()
            if not there:
                continue
            if now_ns >= wake_ns:
                wake_ns = max(wake_ns + self._world.wake_ns, now_ns)
            due_ns = wake_ns if self._robot is None else max(self._robot.due_ns, now_ns)
            self._sleep(min(wake_ns, due_ns) - time.monotonic_ns())

    def _listen(self, now_ns: int) -> None:
        self._control.poll(now_ns)
        if self._world.meca is not None:
            self._world.meca.poll(int(self._shared.unix_ns(now_ns)))

    def _speak(self) -> None:
        if self._robot is not None:
            self._robot.emit_due(time.monotonic_ns())
        if self._world.meca is not None:
            self._world.meca.emit()
        self._truth.emit_due(time.monotonic_ns())
        now_ns = time.monotonic_ns()
        if now_ns >= self._count_ns:
            self._count_ns = now_ns + _COUNT_NS
            self._world.count()

    def _sleep(self, nap_ns: int) -> None:
        if self._world.meca is not None:
            self._world.meca.wait(nap_ns / NS)
        else:
            time.sleep(max(0, nap_ns) / NS)
