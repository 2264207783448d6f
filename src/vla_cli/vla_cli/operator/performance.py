"""What the demo's operator does: recover, enable, insert, enable, retract, and again.

A policy that only inserts cannot retract: then the operator withdraws the needle, by the gate.
Runs in a thread of its own beside the monitor of `vla demo`. Only for the simulated lab: it homes
and enables without asking anybody. A stop because something was too old for too long (a machine
that was busy) or because the needle struck something (a policy that missed the opening: it pulls
the needle out and tries again) it resets after a pause; after any other it waits for a person.
"""

from collections.abc import Callable
import threading
from typing import TypeVar

from rclpy.executors import ExternalShutdownException, ShutdownException
from rclpy.impl.implementation_singleton import rclpy_implementation

from vla_cli.examples.options import INSERT, RETRACT
from vla_cli.operator.link import OperatorLink
from vla_cli.operator.records import GoalEnd
from vla_core.errors import VlaError

T = TypeVar('T')
RETRY_S = 1.0
PAUSE_S = 1.0  # between two goals, so that a person sees the end of one
RESET_AFTER_S = 3.0
SETTLE_S = 0.5
JOIN_S = 2.0
# Reasons of a stop that say no more than that this machine was late.
AGES = frozenset(('chunk_age', 'sensor_age', 'state_age', 'no_chunk', 'no_motion'))
TOUCHES = frozenset(('force_limit', 'force_slope'))
MENDED = AGES | TOUCHES | {'withdrawal'}


# What rcl says of a context that was shut down.
_INVALID = ('context is invalid', 'context is not valid')


class Performance:
    """A context manager. `note` may be called from any thread."""

    def __init__(
        self, make_link: Callable[[], OperatorLink] = OperatorLink, *, withdraw: bool = False
    ):
        """`withdraw`: the needle is not retracted by the policy, but by `robot/withdraw`."""
        self._make_link, self._withdraws = make_link, withdraw
        self._stop = threading.Event()
        self._note = 'waiting for the robot driver'
        self._thread = threading.Thread(target=self._run, name='operator', daemon=True)

    def __enter__(self) -> 'Performance':
        self._thread.start()
        return self

    def __exit__(self, *exc_info) -> None:
        self._stop.set()
        self._thread.join(JOIN_S)

    def note(self) -> str:
        """What is being done, for the monitor."""
        return self._note

    def _run(self) -> None:
        try:
            with self._make_link() as link:
                self._perform(link)
        except (ExternalShutdownException, ShutdownException):
            self._note = 'ended'  # Ctrl-C ends every ROS context of the process
        except rclpy_implementation.RCLError as error:
            if not any(text in str(error) for text in _INVALID):
                raise
            self._note = 'ended'  # the same, noticed by a call in between

    def _perform(self, link: OperatorLink) -> None:
        self._until_done(lambda: self._recover(link), link)
        instruction = INSERT
        while not self._stop.is_set():
            self._until_done(lambda: self._enable(link), link)
            end = self._until_done(lambda task=instruction: self._execute(link, task), link)
            link.spin(PAUSE_S, self._stop.is_set)
            if end is not None:
                instruction = following(instruction, end)
            if instruction == RETRACT and self._withdraws:
                self._until_done(lambda: self._withdraw(link), link)
                instruction = INSERT

    def _until_done(self, action: Callable[[], T], link: OperatorLink) -> T | None:
        """Try until it works: at the start the processes come up one after another."""
        while not self._stop.is_set():
            try:
                return action()
            except VlaError as error:
                self._note = str(error)
                link.spin(RETRY_S, self._stop.is_set)
        return None

    def _recover(self, link: OperatorLink) -> None:
        robot = link.status().robot
        if not robot.device or robot.state == 'disconnected':
            raise VlaError('waiting for the robot')
        self._note = 'recover: the robot is activated and homed'
        link.call('recover', self._stop.is_set)

    def _enable(self, link: OperatorLink) -> None:
        status = link.status()
        command = status.command
        if command is not None and command.gate not in ('', 'disabled', 'enabled'):
            if command.gate != 'stopped' or not set(command.reasons) <= MENDED:
                raise VlaError(f'{command.gate}: {command.why()}; go on with vla robot reset')
            self._note = f'stopped: {command.why()}; reset in {RESET_AFTER_S:g} s'
            link.spin(RESET_AFTER_S, self._stop.is_set)
            link.call('reset', self._stop.is_set)
        link.call('enable', self._stop.is_set)
        self._note = 'enabled'

    def _withdraw(self, link: OperatorLink) -> None:
        link.call('withdraw', self._stop.is_set)
        self._note = 'withdraw: the gate pulls the needle out'
        link.spin(SETTLE_S, self._stop.is_set)  # the status of before says nothing
        while not self._stop.is_set():
            command = link.status().command
            if command is None or command.result != 'RETRACTING':
                return
            link.spin(SETTLE_S, self._stop.is_set)

    def _execute(self, link: OperatorLink, instruction: str) -> GoalEnd:
        self._note = f"goal: '{instruction}'"
        end = link.execute(instruction, 0.0, stop=self._stop.is_set)
        self._note = f"'{instruction}': {end.line()}"
        return end


def following(instruction: str, end: GoalEnd) -> str:
    """Return what to do next: whatever became of an insertion that began, the needle comes out."""
    if end.outcome == 'REFUSED':
        return instruction
    if instruction == INSERT:
        return RETRACT
    return INSERT if end.success else RETRACT
