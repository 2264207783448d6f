"""The Meca500's controller: its states, its motion queue and the joints it commands.

`commands.receive` acts on it, the world steps it with the physics and tells it the measured
joints; tests do both. Deliberately without sockets and clocks: time is what `step` adds up, so a
time-out is one of emulated time. Single-threaded.

Behaviour: Mecademic programming manual for the Meca500. Simplified: activation and homing take a
fraction of a second and move nothing; moves are not blended; only the arm, no gripper, no I/O, no
programs.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vla_sim.meca.codes import Code
from vla_sim.meca.frames import Frames
from vla_sim.meca.motions import Arm, Motion, MotionError, NO_SPEED, VelocityMove
from vla_sim.meca.protocol import Command, message

Array = NDArray[np.float64]

ACTIVATION_S = 0.3
HOMING_S = 0.3
QUEUE_LIMIT = 13_000  # the manual's size of the command buffer
# Safety stop states, as the vendor numbers them.
RESET, ACTIVE, RESETTABLE = 0, 1, 2


@dataclass
class Settings:
    """What commands in the motion queue set; reset when the robot is activated.

    Defaults: the vendor's mx_robot_def. Percentages, mm/s, deg/s as on the wire; times in s.
    """

    joint_vel: float = 25.0
    joint_acc: float = 80.0
    joint_vel_limit: float = 100.0
    cart_lin_vel: float = 150.0
    cart_ang_vel: float = 45.0
    cart_acc: float = 50.0
    blending: float = 100.0
    vel_timeout: float = 0.05
    auto_conf: float = 1.0
    auto_conf_turn: float = 1.0
    frames: Frames = field(default_factory=Frames)


class Status(NamedTuple):
    """The flags of GetStatusRobot."""

    activated: bool
    homed: bool
    error: bool
    paused: bool
    end_of_block: bool

    def text(self) -> str:
        """As the robot writes them: the third is simulation mode, the last end of movement."""
        flags = (
            self.activated, self.homed, 0, self.error, self.paused, self.end_of_block,
            self.end_of_block,
        )  # fmt: skip
        return ','.join(str(int(flag)) for flag in flags)


@dataclass(frozen=True)
class Checkpoint:
    """A mark in the queue, reported when it is reached."""

    number: int


QueueEntry = Motion | Checkpoint | Callable[[], None]


class Controller:
    """State of one emulated controller since its power came on."""

    def __init__(self, joint_rad: Array) -> None:
        """Power on, at joints (6,) rad."""
        self._boot(joint_rad)

    def reboot(self) -> None:
        """Power is back after a cut: everything as at the start, but the arm stays where it is."""
        self._boot(self.measured_rad)

    def _boot(self, joint_rad: Array) -> None:
        self.arm = Arm(np.array(joint_rad, dtype=float), np.zeros(6))
        self.measured_rad, self.measured_rad_s = self.arm.joint_rad.copy(), np.zeros(6)
        self.settings = Settings()
        self.time_s = 0.0
        self.activated = self.homed = self.paused = False
        self.error: Code | int | None = None
        self.estop = self.pstop2 = RESET
        self.eob_enabled = True
        self.checkpoint = 0
        self.monitoring: set[Code] = {Code.RT_TARGET_JOINT_POS, Code.RT_TARGET_CART_POS}
        self.monitoring_interval_s = 0.016666
        self.control_monitoring = False
        self.watchdog_until_s: float | None = None
        self.counts: Counter[str] = Counter()  # what was refused or ignored, by kind
        self.refused = 0
        self.now_ns = 0  # Unix time, told by whoever calls
        self.last_motion_ns = self.last_stop_ns = 0
        self.replies: list[bytes] = []  # to the control client
        self.events: list[bytes] = []  # changes of state, to the monitoring clients
        self._queue: deque[QueueEntry] = deque()
        self._active: Motion | None = None
        self._pending: tuple[float, Callable[[], None]] | None = None
        self._status = self.status

    # -- what goes in

    def note_stop(self) -> None:
        """Remember when it was first told to stop after it was last told to move."""
        if self.last_stop_ns <= self.last_motion_ns:
            self.last_stop_ns = self.now_ns

    def connection_lost(self) -> None:
        """The control client is gone: nothing moves until somebody resumes."""
        self.control_monitoring = False
        self.watchdog_until_s = None
        self.clear()

    def refuse(self, code: Code, text: str) -> None:
        """Answer a command with an error, without error mode."""
        self.refused += 1
        self.counts[code.name.lower()] += 1
        self.reply(code, text)

    def refuse_argument(self, command: Command) -> None:
        """Answer a command whose arguments are wrong."""
        written = f'{command.name}({",".join(command.args)})'
        self.refuse(Code.ARG_ERR, f'Argument error. - Command: "{written}"')

    def reply(self, code: Code | int, text: object = '') -> None:
        """Send to the control client."""
        self.replies.append(message(code, text))

    # -- states

    @property
    def status(self) -> Status:
        """The flags right now."""
        idle = self._active is None and not self._queue and self.arm.at_rest
        return Status(self.activated, self.homed, self.error is not None, self.paused, idle)

    def activate(self) -> None:
        """Power the motors, after a while."""
        if self.estop != RESET:
            self.refuse(Code.ACTIVATION_ERR, 'Activation failed: emergency stop is active.')
        elif self.activated:
            self.reply(Code.ACTIVATED, 'Motors activated.')
        elif self._pending is None:
            self._pending = (self.time_s + ACTIVATION_S, self._activated)

    def _activated(self) -> None:
        self.activated, self.paused = True, False
        self.settings = Settings()
        self.arm.speed_share = 1.0
        self.reply(Code.ACTIVATED, 'Motors activated.')

    def home(self) -> None:
        """Home the arm, after a while; while activating, afterwards."""
        if not self.activated and self._pending is None:
            self.refuse(Code.NOT_ACTIVATED, 'The robot is not activated.')
        elif self.homed:
            self.reply(Code.HOME_DONE, 'Homing done.')
        else:
            before, then = self._pending or (self.time_s, lambda: None)

            def chain() -> None:
                then()
                self._pending = (self.time_s + HOMING_S, self._homed)

            self._pending = (before, chain)

    def _homed(self) -> None:
        self.homed = True
        self.reply(Code.HOME_DONE, 'Homing done.')

    def deactivate(self) -> None:
        """Take the power off the motors."""
        self._drop_queue()
        self._pending = None
        self.activated = self.homed = False
        self.reply(Code.DEACTIVATED, 'Motors deactivated.')

    def pause(self) -> None:
        """Halt on the path."""
        self.paused = True
        self.note_stop()
        self.reply(Code.PAUSE_MOTION, 'Motion paused.')

    def resume(self) -> None:
        """Go on; refused while a stop signal is there."""
        if self.estop != RESET or self.pstop2 != RESET or self.error is not None:
            self.refuse(Code.NOT_ALLOWED_NOW, 'Cannot resume motion now.')
            return
        self.paused = False
        self.reply(Code.RESUME_MOTION, 'Motion resumed.')

    def clear(self) -> None:
        """Halt and forget everything queued."""
        self._drop_queue()
        self.paused = True
        self.note_stop()

    def fail(self, code: Code | int, text: str) -> None:
        """Enter error mode: halt, forget everything queued, wait for ResetError."""
        self.clear()
        self.error = code
        self.reply(code, text)

    def reset_error(self) -> None:
        """Leave error mode; motion stays paused."""
        if self.error is None:
            self.reply(Code.NO_ERROR_RESET, 'There was no error to reset.')
        else:
            self.error = None
            self.reply(Code.ERROR_RESET, 'The error was reset.')

    def set_estop(self, pressed: bool) -> None:
        """The emergency stop's button: cuts the motors' power; home and activate afterwards."""
        if pressed == (self.estop == ACTIVE):
            return
        self.estop = ACTIVE if pressed else RESET
        if pressed:
            self._drop_queue()
            self._pending = None
            self.activated = self.homed = False
            self.paused = True
            self.note_stop()
        self._announce(Code.ESTOP, self.estop)

    def set_pstop2(self, pressed: bool) -> None:
        """The protective stop's input: clears motion, keeps power; ResetPStop2, ResumeMotion."""
        if pressed == (self.pstop2 == ACTIVE):
            return
        self.pstop2 = ACTIVE if pressed else RESETTABLE
        if pressed:
            self.clear()
        self._announce(Code.PSTOP2, self.pstop2)

    def reset_pstop2(self) -> None:
        """Acknowledge a protective stop that is over."""
        if self.pstop2 == ACTIVE:
            self.refuse(Code.IMPOSSIBLE_RESET_ERR, 'PStop2 is still active.')
            return
        self.pstop2 = RESET
        self._announce(Code.PSTOP2, self.pstop2)

    def _announce(self, code: Code, text: object) -> None:
        self.reply(code, text)
        self.events.append(message(code, text))

    # -- the queue

    @property
    def pending(self) -> int:
        """Number of commands waiting."""
        return len(self._queue)

    def enqueue(self, entry: QueueEntry) -> None:
        """Add to the motion queue. What only sets something acts at once in velocity mode."""
        if len(self._queue) >= QUEUE_LIMIT:
            self.refuse(Code.BUFFER_FULL, 'Command buffer is full.')
        elif callable(entry) and isinstance(self._active, VelocityMove) and not self._queue:
            entry()
        else:
            self._queue.append(entry)

    def set_velocity(self, speeds: Callable[[Arm], Array | None]) -> None:
        """Take a velocity command: it replaces the one before it at once."""
        if self.paused:
            self.counts['velocity_while_paused'] += 1
            return
        newest = self._queue[-1] if self._queue else self._active
        if isinstance(newest, VelocityMove):
            newest.renew(speeds)
        else:
            self.enqueue(VelocityMove(speeds, lambda: self.settings.vel_timeout))

    def _drop_queue(self) -> None:
        for entry in self._queue:
            if isinstance(entry, Checkpoint):
                self.reply(Code.CHECKPOINT_DISCARDED, entry.number)
        self._queue.clear()
        self._active = None

    # -- time

    def step(self, dt_s: float) -> None:
        """Move the commanded joints on by dt_s."""
        self.time_s += dt_s
        if self._pending is not None and self.time_s >= self._pending[0]:
            _, then = self._pending
            self._pending = None
            then()
        if self._active is None and not self.arm.at_rest:
            self.arm.drive(NO_SPEED, dt_s)
        else:
            self._advance(dt_s)
        self._report()

    def _advance(self, dt_s: float) -> None:
        try:
            while self._active is None and self._queue and not self.paused:
                self._begin(self._queue.popleft())
            if self._queue and isinstance(self._active, VelocityMove):
                self._active.expire()  # something else is waiting
            if self._active is not None and self._active.tick(self.arm, dt_s, self.paused):
                self._active = None
        except MotionError as error:
            self.fail(error.code, str(error))

    def _begin(self, entry: QueueEntry) -> None:
        if isinstance(entry, Checkpoint):
            self.checkpoint = entry.number
            self.reply(Code.CHECKPOINT_REACHED, entry.number)
        elif callable(entry):
            entry()
        else:
            entry.start(self.arm)
            self._active = entry

    def _report(self) -> None:
        status = self.status
        if status == self._status:
            return
        if status.end_of_block and not self._status.end_of_block and self.eob_enabled:
            self.reply(Code.EOB, 'End of block.')
        self._status = status
        self.events.append(message(Code.GET_STATUS_ROBOT, status.text()))
