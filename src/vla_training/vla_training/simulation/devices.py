"""The lab's devices in simulated time: what drivers would have read and published, and when.

Headless generation of episodes and closed-loop evaluation step it. States, samples and pictures
come from the same code as those of `vla sim` on the wire; delays from acquisition to the log are
those of the live stack, with a little jitter. Deliberately no gate and no policy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_core.arms.meca500 import TOOL_TIP_M
from vla_core.timebase import NS
from vla_drivers.devices.base import RobotReport
from vla_drivers.devices.mecademic_recovery import wire_velocity
from vla_sim.commanded import CommandedLab
from vla_sim.lab import Lab
from vla_sim.meca.controller import Controller
from vla_sim.oct_signal import FORCE_OFFSET, FORCE_PER_NEWTON, OctSignal
from vla_sim.options import SimOptions
from vla_sim.scene import DEFAULT_RANGES, SceneRanges
from vla_sim.scene_cameras import SceneCameras
from vla_sim.sensor_stream import capture_offsets_ns, samples_at
from vla_sim.shared import SharedState, STEP_NS, WIDTH

MS = NS // 1000
VELOCITY_TIMEOUT_S = 0.1  # as launch/config/robot_driver.yaml
SENSOR_DELAY_NS, IMAGE_DELAY_NS, ROBOT_DELAY_NS = 2 * MS, 45 * MS, 1 * MS
BATCH = SimOptions().batch


@dataclass(frozen=True)
class Samples:
    """One datagram, calibrated to newtons."""

    stamps_ns: NDArray[np.int64]  # (N,)
    force_n: NDArray[np.float32]  # (N,)
    profile: NDArray[np.float32]  # (N, 1025)
    arrived_ns: int


class SimulatedRobot:
    """The emulated Meca500 as `vla_drivers.devices.base.CommandDevice`."""

    def __init__(self, commanded: CommandedLab) -> None:
        self._commanded = commanded

    def report(self) -> RobotReport:
        """What the robot says about itself."""
        robot = self._commanded.robot
        return RobotReport(
            connected=True, activated=robot.activated, homed=robot.homed, paused=robot.paused,
            error_code=int(robot.error or 0), error='' if robot.error is None else 'robot error',
            recovery_needed=robot.error is not None, detail='ready',
        )  # fmt: skip

    def send_velocity(self, velocity: NDArray[np.float64]) -> bool:
        """Move with (6,) m/s and rad/s, rounded as on the wire."""
        self._commanded.send('MoveLinVelWrf', *wire_velocity(velocity))
        return True

    def stop(self) -> None:
        """Bring the robot to rest."""
        self._commanded.send('MoveLinVelWrf', *([0.0] * 6))


@dataclass(frozen=True)
class LabOptions:
    """What the simulated lab is like; everything random in it follows from the seed."""

    seed: int = 0
    width: int = 640
    height: int = 360
    camera_rate_hz: float = 5.0  # triggers
    sensor_rate_hz: float = 650.0
    ranges: SceneRanges = DEFAULT_RANGES
    eye: str = 'still'  # of vla_sim.eye_motion.VARIANTS
    picture_loss: float = 0.0  # probability that a trigger's pictures never arrive


class SimulatedDevices:
    """One scene with robot, cameras and sensor; single-threaded. Use `close`."""

    def __init__(self, options: LabOptions, start_ns: int) -> None:
        self.lab = Lab(
            options.seed, options.width, options.height, options.ranges,
            moving=options.eye == 'moving',
        )  # fmt: skip
        self._cameras: SceneCameras | None = None
        self.commanded = CommandedLab(self.lab, Controller(self.lab.joint_rad), options.seed)
        self.commanded.recover(TOOL_TIP_M, VELOCITY_TIMEOUT_S)
        self.robot = SimulatedRobot(self.commanded)
        self.start_ns, self.now_ns = start_ns, start_ns
        self.state = np.zeros(WIDTH)
        self._options = options
        self._shared = SharedState()
        self._shared.go(start_ns)
        self._signal = OctSignal(options.seed)
        self._delays = np.random.default_rng([options.seed, 0xDE1A])
        self._sample = self._trigger = 0
        self._expect_batch()
        self._write()

    def step(self) -> None:
        """Advance by one physics step."""
        self.commanded.robot.now_ns = self.now_ns
        self.commanded.draw_noise()
        self.commanded.step()
        self.now_ns += STEP_NS
        self._write()

    def _write(self) -> None:
        self.lab.write_state(self.state, scripted=False)
        self._shared.append(self.state)

    def samples(self) -> list[Samples]:
        """Datagrams whose last sample has been captured since the last call."""
        found = []
        while self._shared.has_state(self._newest_of_batch_ns):
            index = np.arange(self._sample, self._sample + BATCH)
            stamps_ns = self.start_ns + capture_offsets_ns(index, self._options.sensor_rate_hz)
            self._sample += BATCH
            self._expect_batch()
            time_s = (stamps_ns - self.start_ns) / NS
            force, profile, _ = samples_at(self._signal, self._shared, index, stamps_ns, time_s)
            force_n = (force - np.float32(FORCE_OFFSET)) / np.float32(FORCE_PER_NEWTON)
            arrived_ns = int(stamps_ns[-1]) + self._delayed(SENSOR_DELAY_NS)
            found.append(Samples(stamps_ns, force_n, profile, arrived_ns))
        return found

    def _expect_batch(self) -> None:
        last = np.array([self._sample + BATCH - 1])
        offset_ns = capture_offsets_ns(last, self._options.sensor_rate_hz)[0]
        self._newest_of_batch_ns = self.start_ns + int(offset_ns)

    def pictures(self) -> list[tuple[int, int, dict[str, bytes]]]:
        """(trigger's time, arrival, JPEG of each view) of triggers since the last call."""
        found = []
        while (due_ns := self._trigger_ns(self._trigger + 1)) <= self.now_ns:
            self._trigger += 1
            made = self._render(self._trigger)
            found.append((due_ns, due_ns + self._delayed(IMAGE_DELAY_NS), made))
        return found

    def skip_pictures(self) -> None:
        """Pass over the triggers since the last call without rendering them."""
        while self._trigger_ns(self._trigger + 1) <= self.now_ns:
            self._trigger += 1

    def newest_pictures(self) -> tuple[int, dict[str, bytes]] | None:
        """Trigger's time and JPEG of each view of the newest set that has arrived by now.

        Renders only what is asked for. None before the first has arrived.
        """
        index = self._newest_trigger()
        return (self._trigger_ns(index), self._render(index)) if index >= 1 else None

    def newest_trigger_ns(self) -> int | None:
        """Trigger's time of the newest set that has arrived by now, without rendering it."""
        index = self._newest_trigger()
        return self._trigger_ns(index) if index >= 1 else None

    def _newest_trigger(self) -> int:
        since_ns = max(self.now_ns - self.start_ns - IMAGE_DELAY_NS, 0)
        index = int(since_ns * self._options.camera_rate_hz / NS)
        while index >= 1 and self._lost(index):
            index -= 1
        return index

    def _lost(self, trigger: int) -> bool:
        options = self._options
        if options.picture_loss <= 0.0:
            return False
        draw = np.random.default_rng([options.seed, trigger, 0x1057])
        return float(draw.random()) < options.picture_loss

    def _render(self, trigger: int) -> dict[str, bytes]:
        """GraphicsError when pictures cannot be rendered here."""
        options = self._options
        if self._cameras is None:
            self._cameras = SceneCameras(self.lab.scene, options.width, options.height)
        states, _ = self._shared.states_at(np.array([self._trigger_ns(trigger)]))
        return self._cameras.pictures(states[0], trigger)

    def _trigger_ns(self, index: int) -> int:
        return self.start_ns + int(index * NS / self._options.camera_rate_hz)

    def _delayed(self, delay_ns: int) -> int:
        return int(delay_ns * (1.0 + 0.2 * self._delays.random()))

    def close(self) -> None:
        """Free the GL context."""
        if self._cameras is not None:
            self._cameras.close()
        self.lab.close()
