"""One episode in simulated time: lab, scripted expert, safety gate, chunk executor, file.

Called by `run`. Chunks go through the driver's own CommandPath, so the gate judges and the
executor splices as on the wire; only time is simulated. Deterministic: the same options give the
same messages, byte for byte. Deliberately makes no vision-language features: there is no model.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from vla_cli.examples import messages as msg
from vla_cli.examples.options import EpisodeOptions, LIMIT_S, TASKS
from vla_cli.examples.outbox import absent_topics, announce, Outbox
from vla_core.arms import meca500 as kin
from vla_core.contract import Contract
from vla_core.errors import VlaError
from vla_core.execution.executor import ExecutorSettings
from vla_core.execution.values import TimedChunk
from vla_core.freshness import Reaction
from vla_core.rotation import euler_to_quat
from vla_core.safety.values import ArmState, GateState
from vla_core.timebase import NS, s_to_ns
from vla_data.episode import EpisodeInfo
from vla_data.importing.messages import TASK_TOPIC
from vla_data.recording.manifest import Manifest
from vla_data.recording.writer import EpisodeWriter
from vla_sim.disturbance import Disturber
from vla_sim.scripted import ScriptedExpert
from vla_sim.scripted_values import Goal, STEPS
from vla_training.simulation import devices as sim
from vla_training.simulation.command import command_path, SLOT_NS
from vla_training.simulation.judge import Judge, STANDING_M

EPOCH_NS = 1_750_000_000 * NS
SEED_NS = 120 * NS  # between the episodes of two seeds
SEEDS = 1_000_000
WARM_UP_NS = NS // 2  # devices run and the gate is enabled before the recording begins
ENABLE_NS = 3 * NS // 10
PUBLISHED_NS = 20 * sim.MS  # a chunk's tick to its publication
STATUS_NS = NS
COMMAND_STATUS_NS = NS // 10
GOALS = {'insert': Goal.INSERT, 'retract': Goal.RETRACT}
CHECKPOINT = 'scripted'


class HeadlessEpisode:
    """Makes one episode; `run` once. Single-threaded."""

    def __init__(
        self, path: Path, options: EpisodeOptions, contract: Contract, manifest: Manifest,
        common: EpisodeInfo,
    ) -> None:  # fmt: skip
        """`common` holds contract, software version and calibration."""
        self._options, self._contract = options, contract
        self._started_ns = EPOCH_NS + options.seed % SEEDS * SEED_NS + WARM_UP_NS
        start_ns = self._started_ns - WARM_UP_NS
        lab = sim.LabOptions(
            options.seed, options.width, options.height, options.camera_rate,
            contract.sensor.rate_hz, eye=options.eye,
        )  # fmt: skip
        self._devices = sim.SimulatedDevices(lab, start_ns)
        self._messages = msg.EpisodeMessages(contract)
        self._judge = Judge(self._devices.lab.scene.tissue_depth_m, STANDING_M[options.eye])
        self._expert = ScriptedExpert(options.seed)
        generator = np.random.default_rng([options.seed, 0xD157])
        self._disturber = Disturber(generator) if options.noise else None
        self._changed = False
        settings = ExecutorSettings(period_ns=contract.action.period_ns)
        self._path = command_path(self._devices, settings, self._note_change)
        self._outbox, self._manifest = Outbox(), manifest
        self._pending: list[tuple[int, TimedChunk]] = []  # chunks before their publication
        self._arriving: list[sim.Samples] = []
        self._chunks = self._batches = self._received = self._states = 0
        self._robot_ns = self._sensor_ns = 0
        self._view_topics = {view.name: view.topic for view in contract.views}
        self._folder, self._common = path, common
        self._preparing = self._retracted = False
        self._held_ns: int | None = None  # when the insertion had succeeded

    def _note_change(self) -> None:
        self._changed = True

    def _info(self, common: EpisodeInfo) -> EpisodeInfo:
        options = self._options
        return replace(
            common,
            task=TASKS[options.task],
            operator='scripted',
            source='headless',
            tags=(*(['disturbed'] if options.noise else []),
                  *(['moving'] if options.eye == 'moving' else [])),  # fmt: skip
            started_ns=self._started_ns,
        )

    def run(self) -> dict[str, Any]:
        """Generate to the end and close the file; returns name, outcome, length and size."""
        self._goal = GOALS.get(self._options.task)
        if self._goal is Goal.RETRACT:
            self._insert_first()
        self._writer = EpisodeWriter(self._folder, self._info(self._common))
        self._outbox.record_into(self._writer, self._started_ns)
        announce(self._writer, self._contract, self._manifest)
        text = self._messages.task(TASKS[self._options.task])  # first, as a recorder repeats it
        self._outbox.put(TASK_TOPIC, self._started_ns, text)
        end_ns = self._started_ns + s_to_ns(self._options.limit_s)
        with self._writer:
            while self._devices.now_ns < end_ns and not self._done():
                self._step()
            duration_s = (self._devices.now_ns - self._started_ns) / NS
            self._outbox.flush(self._devices.now_ns)
            outcome = self._outcome()
            self._writer.close(
                outcome=outcome, ended_ns=self._devices.now_ns, loss=self._loss(),
                extra=self._extra(),
            )  # fmt: skip
        return {
            'episode': self._writer.path.name, 'outcome': outcome, 'duration_s': duration_s,
            'messages': sum(self._writer.counts.values()),
            'bytes': self._writer.file_path.stat().st_size,
        }  # fmt: skip

    def close(self) -> None:
        """Free the GL context."""
        self._devices.close()

    def _insert_first(self) -> None:
        """Insert the needle unseen: what is recorded begins inside the eye."""
        end_ns = self._started_ns + s_to_ns(LIMIT_S['insert'])
        self._goal, self._started_ns, self._preparing = Goal.INSERT, end_ns, True
        while not self._judge.held:
            if self._devices.now_ns >= end_ns:
                raise VlaError(f'seed {self._options.seed}: the needle could not be inserted')
            self._step()
        self._goal, self._started_ns = Goal.RETRACT, self._devices.now_ns
        self._preparing = False

    def _done(self) -> bool:
        if self._goal is Goal.INSERT:
            return self._held_ns is not None and (
                self._devices.now_ns >= self._held_ns + s_to_ns(self._options.linger)
            )
        return self._goal is Goal.RETRACT and self._retracted

    def _outcome(self) -> str:
        if self._goal is Goal.RETRACT:
            return 'success' if self._retracted else 'failure'
        if self._goal is not Goal.INSERT:
            return ''
        good = self._held_ns is not None and not self._judge.harm
        return 'success' if good else 'failure'

    def _extra(self) -> dict[str, Any]:
        return {
            'generator': asdict(self._options),
            'seed': self._options.seed,
            'judgement': self._judge.to_dict(),
            'absent_topics': absent_topics(self._writer, self._manifest),
            'chunks_refused': self._path.gate.counters.snapshot().get('chunks_refused', 0),
        }

    def _loss(self) -> dict[str, dict[str, int]]:
        return {
            name: {'received': count, 'written': count}
            for name, count in self._writer.counts.items()
        }

    # One step of simulated time ------------------------------------------------------------------

    def _step(self) -> None:
        devices = self._devices
        devices.step()
        since_ns = devices.now_ns - devices.start_ns
        if since_ns > WARM_UP_NS:
            self._look()
        self._sense()
        if self._preparing:
            devices.skip_pictures()
        else:
            self._see()
        if since_ns % SLOT_NS == 0:
            self._robot_state()
            if since_ns % self._contract.action.period_ns == 0:
                self._tick()
            self._deliver_chunks()
            self._command(since_ns)
            if since_ns == ENABLE_NS:
                self._path.enable()
        if since_ns % STATUS_NS == 0:
            self._tell_status()
        self._outbox.flush(devices.now_ns)

    def _look(self) -> None:
        """Judge this instant, and note when the insertion has succeeded."""
        self._judge.look(self._devices.state)
        if self._held_ns is None and self._judge.held:
            self._held_ns = self._devices.now_ns

    def _sense(self) -> None:
        self._arriving += self._devices.samples()
        while self._arriving and self._arriving[0].arrived_ns <= self._devices.now_ns:
            batch = self._arriving.pop(0)
            self._path.on_samples(batch.stamps_ns, batch.force_n)
            self._sensor_ns = int(batch.stamps_ns[-1])
            self._received += len(batch.stamps_ns)
            delay_s = (batch.arrived_ns - self._sensor_ns) / NS
            data = self._messages.batch(
                batch.stamps_ns, batch.force_n, batch.profile, self._batches, self._received,
                delay_s,
            )  # fmt: skip
            self._batches += 1
            self._outbox.put(self._contract.sensor.topic, batch.arrived_ns, data)

    def _see(self) -> None:
        for stamp_ns, arrived_ns, pictures in self._devices.pictures():
            for number, (view, jpeg) in enumerate(pictures.items()):
                data = self._messages.image(stamp_ns, view, jpeg)
                self._outbox.put(self._view_topics[view], arrived_ns + number * sim.MS, data)

    def _robot_state(self) -> None:
        now_ns, robot = self._devices.now_ns, self._devices.commanded.robot
        joints = robot.measured_rad
        position_m, rotation = kin.forward(joints)
        quat = euler_to_quat(kin.euler_rad(rotation))
        self._path.on_state(ArmState(now_ns, joints, position_m, quat))
        self._robot_ns, log_ns, state = now_ns, now_ns + sim.ROBOT_DELAY_NS, self._contract.state
        self._states += 1
        joint_data = self._messages.moving_joints(now_ns, joints, robot.measured_rad_s)
        self._outbox.put(state.joint_topic, log_ns, joint_data)
        self._outbox.put(state.pose_topic, log_ns, self._messages.pose(now_ns, position_m, quat))

    def _tick(self) -> None:
        """A tick of the scripted expert; its chunk is published a little later."""
        now_ns, period_ns = self._devices.now_ns, self._contract.action.period_ns
        self._chunks += 1
        stamps_ns = now_ns + np.arange(STEPS, dtype=np.int64) * period_ns
        executed = label = np.zeros((STEPS, 6))
        reaction, reasons = Reaction.HOLD, ("task: 'hold still'; insert or retract",)
        if self._goal is not None:
            sight = self._devices.commanded.sight(now_ns)
            plan = self._expert.plan(sight, self._goal)
            self._retracted = self._goal is Goal.RETRACT and plan.done
            reaction, reasons, executed, label = Reaction.USE, (), plan.delta, plan.delta
            moving = self._path.gate.state is GateState.ENABLED
            if self._disturber is not None and moving and not self._preparing:
                executed = self._disturber.disturb(plan, sight)
        chunk = TimedChunk(
            self._chunks, now_ns, stamps_ns, label, reaction, reasons,
            self._contract.action.frame, CHECKPOINT, self._contract.hash,
            TASKS[self._options.task],
        )  # fmt: skip
        published_ns = now_ns + PUBLISHED_NS
        data = self._messages.chunk(chunk, published_ns, self._robot_ns, self._sensor_ns)
        self._outbox.put(self._contract.action.topic, published_ns, data)
        self._pending.append((published_ns, replace(chunk, delta=executed)))

    def _deliver_chunks(self) -> None:
        while self._pending and self._pending[0][0] <= self._devices.now_ns:
            self._path.on_chunk(self._pending.pop(0)[1])

    def _command(self, since_ns: int) -> None:
        report = self._path.tick(self._devices.now_ns)
        refusal = self._path.take_refusal()
        for item in (refusal, report):
            if item is not None and (self._changed or since_ns % COMMAND_STATUS_NS == 0):
                data = self._messages.command(self._path, item)
                self._outbox.put(msg.COMMAND_TOPIC, self._devices.now_ns, data)
        self._changed = False

    def _tell_status(self) -> None:
        now_ns, age_s = self._devices.now_ns, (self._devices.now_ns - self._robot_ns) / NS
        gate, report = str(self._path.gate.state), self._devices.robot.report()
        rate_hz = NS / SLOT_NS
        data = self._messages.status(now_ns, report, gate, age_s, rate_hz, self._states)
        self._outbox.put(msg.STATUS_TOPIC, now_ns, data)
