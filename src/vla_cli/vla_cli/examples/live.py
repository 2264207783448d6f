"""Example episodes through the live stack: simulated lab, scripted expert, live recorder.

Called by `vla sim --record N`. Does what an operator would: recover, enable, start the recorder,
let the task server insert the needle, stop the recorder, retract. Deliberately only for the
simulated lab, which it starts itself.
"""

from collections.abc import Callable
from pathlib import Path
import time
from typing import TypeVar

from vla_cli import workspace
from vla_cli.arguments import complain, say
from vla_cli.background import BackgroundStack
from vla_cli.environment import prepare
from vla_cli.nano import ensure_checkpoint
from vla_core.errors import VlaError

T = TypeVar('T')
START_S = 90.0  # the model's node loads its checkpoint
READY_S = 30.0
RETRY_S = 1.0
SETTLE_S = 0.5  # recorded before the task begins and after its end
TRIES = 3  # a busy machine may miss a deadline, and the gate then stops the robot


def record(out: Path, count: int, sim_arguments: str = '', tell: Callable = say) -> int:
    """Record `count` insertions into `out`; 1 when one of them did not succeed."""
    checkpoint = ensure_checkpoint(workspace.root())
    arguments = [
        '--policy', 'scripted', '--robot', 'mecademic', '--record', '--episodes',
        str(out.absolute()), '--checkpoint', str(checkpoint),
    ]  # fmt: skip
    if sim_arguments:
        arguments.append(f'--sim-arguments={sim_arguments}')
    prepare()
    from vla_cli.episodes.recorder_client import RecorderClient
    from vla_cli.operator.link import OperatorLink

    with BackgroundStack(workspace.new_run_dir(None), tuple(arguments)) as stack:
        tell(f'vla: starting the stack; logs in {stack.run_dir}')
        with OperatorLink() as link:
            operator = Operator(link, stack)
            operator.until(lambda: link.call('recover'), START_S)
            # One of our own beside the stack's would share its services.
            found = operator.until(lambda: RecorderClient(start_own=False), START_S)
            with found as recorder:
                return _record_all(operator, recorder, count, tell)


class Operator:
    """The operator's steps, tried again while the processes come up or a deadline was missed."""

    def __init__(self, link, stack: BackgroundStack) -> None:
        self._link, self._stack = link, stack

    def until(self, action: Callable[[], T], limit_s: float) -> T:
        """Try until it works; VlaError with the last reason after `limit_s`."""
        deadline_s = time.monotonic() + limit_s
        while True:
            if not self._stack.running():
                raise VlaError(f'the stack has ended: {self._stack.last_words()}')
            try:
                return action()
            except VlaError:
                if time.monotonic() > deadline_s:
                    raise
                self._link.spin(RETRY_S)

    def task(self, instruction: str):
        """Reset what a busy machine stopped, enable, carry out; returns how it ended.

        KeyboardInterrupt once Ctrl-C has cancelled it.
        """
        self.until(self.enable, READY_S)
        end = self._link.execute(instruction, 0.0, stop=lambda: not self._stack.running())
        if self._link.interrupted:
            raise KeyboardInterrupt
        return end

    def retract(self, instruction: str) -> None:
        """Take the needle out; VlaError when it stays in."""
        for _ in range(TRIES):
            end = self.task(instruction)
            if end.success:
                return
        raise VlaError(f'the needle was not retracted: {end.line()}')

    def rest(self) -> None:
        """Hear the robot for a moment."""
        self._link.spin(SETTLE_S)

    def enable(self) -> None:
        """Reset what has stopped the gate, then enable."""
        command = self._link.status().command
        if command is not None and command.gate in ('stopped', 'emergency_stop'):
            self._link.call('reset')
        self._link.call('enable')


def _record_all(operator: Operator, recorder, count: int, tell: Callable) -> int:
    from vla_cli.operator.performance import INSERT, RETRACT

    failed, began_s = 0, time.monotonic()
    for number in range(1, count + 1):
        good = _record_one(operator, recorder, INSERT, tell)
        failed += not good
        operator.retract(RETRACT)
        each_s = (time.monotonic() - began_s) / number
        tell(f'{number}/{count}  {each_s:.0f} s each  {each_s * (count - number):.0f} s left')
    tell(f'{count} episodes, {count - failed} succeeded')
    return 1 if failed else 0


def _record_one(operator: Operator, recorder, instruction: str, tell: Callable) -> bool:
    request = {'task': instruction, 'operator_name': 'scripted', 'tags': ['example']}
    recorder.start(**request)
    try:
        operator.rest()
        end = operator.task(instruction)
        operator.rest()
    except BaseException:
        recorder.stop('aborted')
        raise
    outcome = 'success' if end.success else 'failure'
    answer = recorder.stop(outcome)
    (tell if outcome == 'success' else complain)(f'{outcome}: {answer.message}; {end.line()}')
    return outcome == 'success'
