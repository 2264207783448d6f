"""A gate on a simulated arm, for the tests: a clock, a plant that does what is sent, live inputs.

The plant is the arm's kinematics and nothing else. `Latest` stands in for the chunk executor.
"""

import dataclasses
from functools import lru_cache

import numpy as np

from vla_core.arms import meca500 as kin
from vla_core.arms.meca500 import Meca500
from vla_core.execution.values import Motion, TimedChunk
from vla_core.freshness import Reaction
from vla_core.safety.gate import SafetyGate
from vla_core.safety.limits import SafetyLimits
from vla_core.safety.values import ArmState, GateState
from vla_core.timebase import NS

START_NS = 1_700_000_000 * NS
PERIOD_S = 0.01
PERIOD_NS = NS // 100
STEP_NS = NS // 10
SAMPLE_NS = 1_538_462  # 650 Hz
STEPS = 8
INWARD = np.array([np.cos(np.radians(62)), 0.0, -np.sin(np.radians(62))])
START_M = (0.225, 0.0, 0.13)
ARM = Meca500()
LIMITS = SafetyLimits()
NOISE_N = np.random.default_rng(3).normal(0, 0.004, 4096)


def joints_at(position_m=START_M, direction=INWARD):
    return kin.inverse(np.array(position_m), kin.frame_along(np.array(direction)))


def quat_of(rotation):
    """Quaternion xyzw of a matrix (3, 3), by its largest component."""
    r = rotation
    squares = np.array(
        [
            1 + r[0, 0] - r[1, 1] - r[2, 2],
            1 - r[0, 0] + r[1, 1] - r[2, 2],
            1 - r[0, 0] - r[1, 1] + r[2, 2],
            1 + np.trace(r),
        ]
    )
    table = np.array(
        [
            [squares[0], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
            [r[0, 1] + r[1, 0], squares[1], r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], squares[2], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], squares[3]],
        ]
    )
    row = table[int(np.argmax(squares))]
    return row / np.linalg.norm(row)


@lru_cache
def _limits(changes):
    return dataclasses.replace(LIMITS, **dict(changes))


class Latest:
    """The smallest executor: the newest chunk, by time."""

    def __init__(self):
        self.chunk = None

    def add(self, chunk, now_ns):
        self.chunk = chunk

    def at(self, now_ns):
        chunk = self.chunk
        if chunk is None:
            return None
        step = (now_ns - int(chunk.step_stamps_ns[0])) // STEP_NS
        if not 0 <= step < len(chunk.delta):
            return None
        return Motion(chunk.delta[step] / (STEP_NS / NS), chunk.chunk_id, step, chunk.made_ns)


class Rig:
    """Everything is fresh unless a test says otherwise."""

    def __init__(self, joint_rad=None, enable=True, **changes):
        self.now_ns = START_NS
        limits = _limits(tuple(sorted(changes.items())))
        self.gate = SafetyGate(limits, ARM, PERIOD_S)
        self.executor = Latest()
        self.joint_rad = joints_at() if joint_rad is None else np.array(joint_rad, float)
        self.unbooked = np.zeros(6)  # displacement sent and not yet in the joints
        self.velocity = np.zeros(6)
        self.chunk_id = 0
        self.samples = 0
        if enable:
            self.state()
            self.force()
            self.gate.enable(self.now_ns)

    @property
    def position_m(self):
        return kin.forward(self._book())[0]

    def _book(self):
        if self.unbooked.any():
            jacobian = kin.jacobian(self.joint_rad)
            self.joint_rad = self.joint_rad + np.linalg.solve(jacobian, self.unbooked)
            self.unbooked = np.zeros(6)
        return self.joint_rad

    def state(self, age_s=0.0, **changes):
        position, rotation = kin.forward(self._book())
        state = ArmState(
            self.now_ns - round(age_s * NS), self.joint_rad, position, quat_of(rotation)
        )
        self.gate.observe_state(dataclasses.replace(state, **changes))

    def force(self, force_n=0.0, n=7, age_s=0.0):
        """One datagram of n samples: noise on top of `force_n` (a number or an array)."""
        noise = NOISE_N[np.arange(self.samples, self.samples + n) % len(NOISE_N)]
        self.samples += n
        stamps = self.now_ns - round(age_s * NS) - SAMPLE_NS * np.arange(n)[::-1]
        return self.gate.observe_force(stamps, noise + force_n, self.now_ns)

    def make_chunk(self, step=(0, 0, 0, 0, 0, 0), age_s=0.0, **changes):
        self.chunk_id += 1
        made_ns = self.now_ns - round(age_s * NS)
        chunk = TimedChunk(
            chunk_id=self.chunk_id,
            made_ns=made_ns,
            step_stamps_ns=made_ns + STEP_NS * np.arange(STEPS),
            delta=np.tile(np.asarray(step, np.float64), (STEPS, 1)),
            reaction=Reaction.USE,
            checkpoint_hash='c1',
            contract_hash='k1',
        )
        return dataclasses.replace(chunk, **changes)

    def give(self, chunk):
        """Through the gate into the executor, as the driver does; kinds of the refusal."""
        found = self.gate.admit(chunk, self.now_ns)
        if not found:
            self.executor.add(chunk, self.now_ns)
        return [what.kind for what in found]

    def chunk(self, step=(0, 0, 0, 0, 0, 0), **changes):
        return self.give(self.make_chunk(step, **changes))

    def command(self, advance_ns=PERIOD_NS):
        """The plant goes on with what it was sent, then the gate is asked for the next."""
        self.unbooked = self.unbooked + self.velocity * (PERIOD_S if advance_ns else 0.0)
        self.now_ns += advance_ns
        out = self.gate.command(self.executor.at(self.now_ns), self.now_ns)
        self.velocity = out.velocity
        return out

    def run(self, seconds, step=(0, 0, 0, 0, 0, 0), feed=('state', 'force', 'chunk')):
        """Command for a while with live inputs; all outputs."""
        outs = []
        for cycle in range(round(seconds / PERIOD_S)):
            if 'state' in feed:
                self.state()
            if 'force' in feed:
                self.force()
            if 'chunk' in feed and cycle % 10 == 0:
                self.chunk(step)
            outs.append(self.command())
        return outs

    def recover(self):
        """Reset and enable with everything fresh."""
        self.gate.reset()
        self.state()
        self.force()
        self.gate.enable(self.now_ns)
        assert self.gate.state is GateState.ENABLED


def kinds(out):
    return [what.kind for what in out.interventions]
