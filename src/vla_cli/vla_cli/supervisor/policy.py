"""What to do when a process ends by itself: pure decisions, no processes.

Called by the supervisor for every unexpected end.
"""

from dataclasses import dataclass
import signal

from vla_core.stack_description import Respawn

# A process that says `exit code 1` this soon after the very first start, without a traceback, has
# refused its configuration: starting it again gives the same answer. Loading a large checkpoint
# precedes some refusals.
START_WINDOW_S = 30.0
# After this long in good running order the next crash is a new one: the back-off starts again.
GOOD_RUN_S = 30.0


@dataclass(frozen=True)
class End:
    """How a process ended. `failures`: unexpected ends since its last good run, this one too."""

    returncode: int  # as subprocess gives it: minus the signal's number
    uptime_s: float
    lives: int  # starts so far, this one included
    failures: int
    saw_traceback: bool


@dataclass(frozen=True)
class Decision:
    """`action`: 'respawn' after `delay_s`, 'leave' it, or 'stop' the whole stack."""

    action: str
    delay_s: float = 0.0


def decide(end: End, respawn: Respawn) -> Decision:
    """Return what to do after an unexpected end."""
    refused = end.returncode == 1 and not end.saw_traceback
    if refused and end.lives == 1 and end.uptime_s < START_WINDOW_S:
        return Decision('stop')
    if not respawn.enabled:
        return Decision('leave')
    # 2 ** n is bounded before it is used: a process may crash for days.
    return Decision(
        'respawn', min(respawn.delay_s * 2 ** min(end.failures - 1, 16), respawn.max_delay_s)
    )


def describe(returncode: int) -> str:
    """Return 'exit code 3' or 'killed by SIGSEGV'."""
    if returncode >= 0:
        return f'exit code {returncode}'
    try:
        return f'killed by {signal.Signals(-returncode).name}'
    except ValueError:
        return f'killed by signal {-returncode}'
