"""An emulated Meca500 for the driver's tests: the simulator's arm alone, on free ports."""

import contextlib
from dataclasses import dataclass
import subprocess
import sys
import time

import numpy as np
from wire_helpers import free_port, NS

from vla_core.errors import StaleDataError
from vla_sim.control import ControlClient
from vla_sim.truth import TruthClient

TOOL_M = 0.095


@dataclass
class Emulator:
    port: int
    truth: TruthClient
    orders: ControlClient
    process: subprocess.Popen

    def tip_m(self):
        return np.array(self.truth.wait().tip_m)

    def at_rest(self, timeout_s=5.0):
        """The first sample of truth in which the tip is at rest."""
        try:
            return self.truth.wait(lambda sample: sample.tip_speed_m_s < 2e-4, timeout_s)
        except StaleDataError:
            raise AssertionError(f'not at rest: {self.truth.newest()}') from None

    def restore(self):
        """What a test has pressed or switched off."""
        self.orders.clear_faults()
        self.orders.power(True)
        self.orders.estop(False)
        self.orders.pstop2(False)


@contextlib.contextmanager
def emulator():
    control, monitor, truth, orders, state = (free_port() for _ in range(5))
    options = {
        '--only': 'robot',
        '--motion': 'commanded',
        '--meca-control-port': control,
        '--meca-monitor-port': monitor,
        '--truth-port': truth,
        '--control-port': orders,
        '--robot-port': state,
        '--robot-rate': 10,
    }
    words = [str(word) for pair in options.items() for word in pair]
    process = subprocess.Popen(
        [sys.executable, '-m', 'vla_sim.main', *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with TruthClient(truth) as samples:
            _started(samples, process)
            with ControlClient(orders) as client:
                yield Emulator(control, samples, client, process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _started(samples, process, timeout_s=40.0):
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            return samples.wait(timeout_s=0.5)
        except StaleDataError:
            assert process.poll() is None, 'the simulator has ended'
            assert time.monotonic() < deadline_s, 'the simulator did not start'


class Chunks:
    """Chunks of one constant velocity, as the action expert would publish them."""

    def __init__(self, velocity_m_s=(0.0, 0.0, 0.005), steps=8, period_s=0.1):
        self.velocity_m_s = np.array(velocity_m_s)
        self.steps, self.period_s, self.chunk_id = steps, period_s, 0

    def delta(self):
        step = np.concatenate([self.velocity_m_s * self.period_s, np.zeros(3)])
        return np.tile(step, (self.steps, 1))

    def stamps_ns(self, now_ns):
        return now_ns + np.arange(self.steps) * round(self.period_s * NS)
