"""A lab whose robot moves: truth of the simulator, live faults, the operator and a pilot.

Used by the tests of the command path. What is measured comes from the simulator's truth and from
the messages a user would see, never from inside a process.
"""

from collections.abc import Iterator
import contextlib
from pathlib import Path
import threading
import time

from vla_core.errors import StaleDataError
from vla_msgs.msg import CommandStatus
from vla_ros.testing import wait_for
from vla_sim.control import ControlClient
from vla_sim.truth import TruthClient, TruthSample
from vla_system_tests.ears import Ears, listening
from vla_system_tests.lab import Lab, running_lab
from vla_system_tests.operator import Operator
from vla_system_tests.pilot import Pilot

AT_REST_M_S = 0.0003  # of the needle tip; the slowest insertion is ten times faster
DRIVERS_ONLY = ('--group', 'sim', '--group', 'drivers', '--robot', 'mecademic')
QUIET_SIM = '--camera-rate 1 --width 160 --height 96'


class Trace:
    """Keeps what the truth said, oldest first, from a thread of its own."""

    def __init__(self, client: TruthClient) -> None:
        self.samples: list[TruthSample] = []
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(StaleDataError):
                self.samples.append(self._client.wait(timeout_s=0.2))

    def rest_ns(self, after_ns: int) -> int | None:
        """Return when the tip came to rest for good after a time, None while it has not."""
        later = [sample for sample in self.samples if sample.stamp_ns >= after_ns]
        moving = [sample.stamp_ns for sample in later if sample.tip_speed_m_s > AT_REST_M_S]
        if not later or later[-1].tip_speed_m_s > AT_REST_M_S:
            return None
        return max(moving, default=after_ns)

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()


class RobotLab:
    """Everything a test of the command path needs, in one hand."""

    def __init__(self, lab: Lab, ears: Ears) -> None:
        self.lab, self.ears = lab, ears
        self.operator, self.pilot = Operator(ears), Pilot(ears)
        self.truth = TruthClient(lab.sim_ports['truth'])
        self.control = ControlClient(lab.sim_ports['control'])
        self.trace = Trace(self.truth)
        self.samples = ears.hear_samples()

    def make_ready(self, pilot: bool = True) -> None:
        """Everything healthy, gate enabled, pilot hovering."""
        wait_for(lambda: self.truth.newest() is not None, 60, 'the simulator')
        self.control.clear_faults()
        self.operator.call('reset', 60.0)
        wait_for(lambda: self.operator.call('recover', 40.0)[0], 40.0, 'a recovered robot')
        if pilot:
            self.pilot.shape = lambda chunk: chunk
            self.pilot.fly([0.0] * 6)
        wait_for(lambda: self.operator.call('reset')[0] and self.operator.call('enable')[0], 15,
                 'an enabled gate')

    def fly(self, step, timeout_s: float = 5.0) -> None:
        """Let the pilot command equal steps (6,) and wait until the tip moves."""
        self.pilot.fly(step)
        self.truth.wait(lambda sample: sample.commanded_speed_m_s > 5 * AT_REST_M_S, timeout_s)

    def wait_for_rest(self, after_ns: int, timeout_s: float = 5.0) -> int:
        """Wait until the tip has been at rest for a moment; return since when, Unix ns."""
        def resting():
            rest_ns = self.trace.rest_ns(after_ns)
            newest = self.trace.samples[-1].stamp_ns
            return rest_ns if rest_ns is not None and newest - rest_ns > 300_000_000 else None
        return wait_for(resting, timeout_s, 'the tip at rest')

    def wait_for_status(self, wanted, timeout_s: float = 5.0, what: str = '') -> CommandStatus:
        """Return the first command status from now on that is as wanted."""
        begin = len(self.ears.commands)
        return wait_for(
            lambda: next((s for s in self.ears.commands[begin:] if wanted(s)), None),
            timeout_s, what or 'a command status',
        )

    def wait_for_reason(self, kind: str, timeout_s: float = 5.0) -> CommandStatus:
        """Return the first command status from now on that names a reason."""
        return self.wait_for_status(lambda s: kind in s.reasons, timeout_s, f'reason {kind}')

    def close(self) -> None:
        """Let go of everything."""
        self.pilot.stop()
        self.trace.close()
        self.truth.close()
        self.control.close()


@contextlib.contextmanager
def robot_lab(
    run_dir: Path, checkpoint: Path, sim: str = QUIET_SIM, extra: tuple[str, ...] = DRIVERS_ONLY
) -> Iterator[RobotLab]:
    """A running stack with a robot that takes commands."""
    with running_lab(run_dir, checkpoint, sim, extra) as lab, listening() as ears:
        robot = RobotLab(lab, ears)
        try:
            yield robot
        finally:
            robot.close()


def ns(stamp) -> int:
    """builtin_interfaces/Time to ns."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def sleep_until(now_ns: int) -> None:
    """Sleep to a Unix time."""
    time.sleep(max(0.0, (now_ns - time.time_ns()) / 1e9))
