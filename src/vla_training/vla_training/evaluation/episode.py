"""One closed-loop episode in simulated time, with the delays of the real system.

Called by `evaluate`, in several processes. Inputs go through the live action expert's own buffers
and are judged as there; chunks go through the driver's own command path, so the gate decides what
moves. Deterministic: seed and options give the same result. Deliberately no ROS and no clock.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
import math

import numpy as np
from numpy.typing import NDArray

from vla_core.arms import meca500 as kin
from vla_core.contract import Contract
from vla_core.errors import VlaError
from vla_core.execution.continuation import Continuation, Prefix
from vla_core.execution.executor import ExecutorSettings
from vla_core.execution.values import TimedChunk
from vla_core.freshness import Reaction
from vla_core.rotation import euler_to_quat
from vla_core.safety.values import ArmState, GateState
from vla_core.timebase import NS, s_to_ns
from vla_inference.engine.input_buffers import BufferSettings, InputBuffers, Snapshot
from vla_inference.engine.records import FeatureSet
from vla_sim.scene import DEFAULT_RANGES
from vla_sim.shared import COLUMNS
from vla_training.evaluation.options import EvaluationOptions, INSTRUCTION, STREAMS
from vla_training.evaluation.passes import Passes
from vla_training.evaluation.policies import Policy
from vla_training.evaluation.track import EpisodeTrack
from vla_training.simulation.command import command_path, SLOT_NS
from vla_training.simulation.devices import LabOptions, ROBOT_DELAY_NS, SimulatedDevices
from vla_training.simulation.judge import Judge

EPOCH_NS = 1_750_000_000 * NS
WATCH_NS = NS // 5
ENABLE_NS = NS  # by then every input has come once
MS = NS // 1000


@dataclass(frozen=True)
class EpisodeResult:
    """What became of one seed. Lengths m, forces N, times s; NaN where it did not come to it."""

    seed: int
    success: bool
    reason: str  # success, or what went wrong
    duration_s: float  # from the first motion allowed
    entry_error_m: float  # tip from the axis when it entered the opening
    depth_error_m: float  # from the depth to hold, at the end
    peak_force_n: float  # along the needle
    peak_side_n: float  # across it, on the trocar's wall
    splice_ratio: float
    jerk_m_s3: float  # root mean square of the tip's
    holds: int | None  # ticks at which stale input forbade to act
    image_ages_s: tuple[float, ...]  # at the ticks, where there was a picture
    feature_ages_s: tuple[float, ...]


class Episode:
    """Runs once. Single-threaded; rendering stays in its thread."""

    def __init__(self, seed: int, policy: Policy, options: EvaluationOptions) -> None:
        """GraphicsError when pictures are needed and cannot be rendered here."""
        self._seed, self._policy, self._options = seed, policy, options
        self._contract = _patient(policy.contract, options.hold_age_s)
        ranges = DEFAULT_RANGES.jittered(options.camera_jitter)
        lab = LabOptions(
            seed, options.width, options.height, sensor_rate_hz=self._contract.sensor.rate_hz,
            ranges=ranges, eye=options.task, picture_loss=options.loss.images,
        )  # fmt: skip
        self._devices = SimulatedDevices(lab, EPOCH_NS)
        self._judge = Judge(self._devices.lab.scene.tissue_depth_m, options.judged_standing_m)
        self._buffers = InputBuffers(
            self._contract, BufferSettings(policy.checkpoint_hash, passes=policy.passes)
        )
        self._buffers.set_task(INSTRUCTION, EPOCH_NS)
        settings = ExecutorSettings(options.executor, self._contract.action.period_ns)
        self._path = command_path(self._devices, settings)
        self._track = EpisodeTrack()
        self._arriving: list = []  # datagrams of the sensor
        self._robot: list[tuple[int, ArmState]] = []  # states on their way
        self._pending: list[tuple[int, TimedChunk]] = []  # chunks before their publication
        self._passes = Passes(policy, options, self._contract)
        self._losses = {
            stream: np.random.default_rng([seed, number, 0x1055])
            for number, stream in enumerate(STREAMS)
        }
        self._continuation = Continuation(
            self._contract.action.steps, self._contract.action.period_ns
        )
        self._enabled = False
        self._ticks = 0
        # Called with the newest pictures and lines of text, five times a second.
        self.watch: Callable[[dict[str, bytes], list[str]], None] | None = None
        policy.reset(seed)

    def run(self) -> EpisodeResult:
        """Run to success, failure or the limit."""
        end_ns = EPOCH_NS + ENABLE_NS + s_to_ns(self._options.limit_s)
        while self._devices.now_ns < end_ns:
            self._step()
            reason = self._ended()
            if reason:
                return self._result(reason)
        return self._result('time-out' if self._enabled else 'never enabled by the gate')

    def close(self) -> None:
        """Free the GL context."""
        self._devices.close()

    def _step(self) -> None:
        devices = self._devices
        devices.step()
        since_ns = devices.now_ns - EPOCH_NS
        self._judge.look(devices.state)
        self._sense()
        if since_ns % SLOT_NS == 0:
            self._robot_state()
            self._passes.look(devices, self._deliver_features)
            if since_ns % self._contract.action.period_ns == 0:
                self._tick()
            self._deliver()
            self._path.tick(devices.now_ns)
            self._track.look(devices.state, self._judge.inside)
            if self.watch is not None and since_ns % WATCH_NS == 0:
                self._show(self.watch)
            if not self._enabled and since_ns % ENABLE_NS == 0:
                self._enable()

    def _enable(self) -> None:
        """Ask the gate once a second, as an operator would; inputs may have been lost."""
        try:
            self._path.enable()
        except VlaError:
            return  # told as the episode's end if it stays so
        else:
            self._enabled = True

    def _show(self, watch: Callable[[dict[str, bytes], list[str]], None]) -> None:
        seen, judge, state = self._devices.newest_pictures(), self._judge, self._devices.state
        if seen is not None:
            lines = [
                f'seed {self._seed}',
                f'{(self._devices.now_ns - EPOCH_NS - ENABLE_NS) / NS:.1f} s',
                f'depth {1e3 * state[COLUMNS.depth]:.1f} mm',
                f'off the axis {1e3 * state[COLUMNS.radial]:.2f} mm',
                f'force {state[COLUMNS.force]:.2f} N',
                'inside' if judge.inside else str(self._path.gate.state),
            ]
            watch(seen[1], lines)

    def _sense(self) -> None:
        self._arriving += self._devices.samples()
        while self._arriving and self._arriving[0].arrived_ns <= self._devices.now_ns:
            batch = self._arriving.pop(0)
            if self._lost('sensor'):
                continue
            self._path.on_samples(batch.stamps_ns, batch.force_n)
            values = np.concatenate([batch.force_n[:, None], batch.profile], axis=1)
            self._buffers.push_samples(batch.stamps_ns, values)

    def _robot_state(self) -> None:
        """Read the arm; what was read a slot before has arrived by now."""
        now_ns, joints = self._devices.now_ns, self._devices.commanded.robot.measured_rad.copy()
        position_m, rotation = kin.forward(joints)
        quat = euler_to_quat(kin.euler_rad(rotation))
        state = ArmState(now_ns, joints, position_m, quat)
        if not self._lost('robot'):
            self._path.on_state(state)
            self._robot.append((now_ns + ROBOT_DELAY_NS, state))
        while self._robot and self._robot[0][0] <= now_ns:
            _, known = self._robot.pop(0)
            self._buffers.set_joints(known.stamp_ns, known.joint_rad)
            self._buffers.set_pose(known.stamp_ns, known.position_m, known.quat_xyzw)

    def _deliver_features(self, features: FeatureSet) -> None:
        if not self._lost('features'):
            self._buffers.set_features(features, self._devices.now_ns)

    # The fast side -------------------------------------------------------------------------------

    def _tick(self) -> None:
        now_ns, period_ns = self._devices.now_ns, self._contract.action.period_ns
        shot = self._buffers.snapshot(now_ns)
        self._ticks += 1
        prefix = self._prefix(now_ns)
        delta, reaction = self._act(shot, now_ns, prefix)
        self._remember(now_ns, delta, reaction)
        allowed = now_ns > EPOCH_NS + ENABLE_NS
        self._track.tick(shot, reaction >= Reaction.HOLD and allowed)
        steps = self._contract.action.steps
        chunk = TimedChunk(
            self._ticks, now_ns, now_ns + np.arange(steps, dtype=np.int64) * period_ns, delta,
            reaction, shot.reasons, self._contract.action.frame, self._policy.checkpoint_hash,
            self._contract.hash, INSTRUCTION, prefix.committed_steps if prefix else 0,
        )  # fmt: skip
        if not self._lost('chunks'):
            self._pending.append((now_ns + s_to_ns(self._options.delays.expert_s), chunk))

    def _prefix(self, now_ns: int) -> Prefix | None:
        if self._options.executor != 'rtc':
            return None
        return self._continuation.prefix(now_ns, INSTRUCTION)[0]

    def _remember(self, now_ns: int, delta: NDArray[np.float64], reaction: Reaction) -> None:
        delay_s = self._options.delays.expert_s
        if reaction >= Reaction.HOLD:
            self._continuation.held(delay_s)
        else:
            self._continuation.published(now_ns, delta, INSTRUCTION, delay_s)

    def _act(
        self, shot: Snapshot, now_ns: int, prefix: Prefix | None
    ) -> tuple[NDArray[np.float64], Reaction]:
        if shot.inputs is None or shot.tokens is None:
            return np.zeros((self._contract.action.steps, 6)), max(shot.reaction, Reaction.HOLD)
        inputs = shot.inputs
        if self._options.sensor == 'absent':
            inputs = replace(inputs, window_mask=np.zeros_like(inputs.window_mask))
        sight = self._devices.commanded.sight(now_ns)
        seed = self._seed * 100_003 + self._ticks
        return self._policy.act(shot.tokens, inputs, sight, seed, prefix), shot.reaction

    def _lost(self, stream: str) -> bool:
        chance: float = getattr(self._options.loss, stream)
        return chance > 0.0 and float(self._losses[stream].random()) < chance

    def _deliver(self) -> None:
        while self._pending and self._pending[0][0] <= self._devices.now_ns:
            self._path.on_chunk(self._pending.pop(0)[1])

    # The end -------------------------------------------------------------------------------------

    def _ended(self) -> str:
        """Say why the episode is over, '' while it is not."""
        if self._judge.harm:
            return self._judge.harm
        if self._judge.held:
            return 'success'
        if self._path.gate.state is GateState.STOPPED:
            causes = ', '.join(cause.kind for cause in self._path.gate.causes)
            return f'stopped by the gate: {causes}'
        return ''

    def _result(self, reason: str) -> EpisodeResult:
        track, judge = self._track, self._judge
        entered = math.isfinite(track.entry_error_m)
        return EpisodeResult(
            self._seed, reason == 'success', reason,
            max(self._devices.now_ns - EPOCH_NS - ENABLE_NS, 0) / NS, track.entry_error_m,
            judge.depth_error_m if entered else math.nan, judge.max_force_n, judge.max_side_n,
            self._path.executor.splice.ratio, track.jerk_m_s3, track.holds,
            tuple(track.image_ages_s), tuple(track.feature_ages_s),
        )  # fmt: skip


def _patient(contract: Contract, hold_age_s: float | None) -> Contract:
    """Return the contract with another age of pictures and features at which the robot holds."""
    if hold_age_s is None:
        return contract
    own = contract.images.limits
    limits = replace(
        own, mark_s=min(own.mark_s, hold_age_s), hold_s=hold_age_s,
        stop_s=max(own.stop_s, hold_age_s + own.stop_s - own.hold_s),
    )  # fmt: skip
    return replace(
        contract, images=replace(contract.images, limits=limits),
        features=replace(contract.features, limits=limits),
    )  # fmt: skip
