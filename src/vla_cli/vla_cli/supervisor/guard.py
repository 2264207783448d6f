"""A tiny process that outlives the supervisor: ends what a killed supervisor leaves behind.

Started by the supervisor with a pipe as stdin, told of each process group (`+pgid`, `-pgid`). When
the pipe closes, the supervisor is gone: the groups get SIGTERM, then SIGKILL. PR_SET_PDEATHSIG
alone would miss grandchildren and processes that ignore the signal. Runs without the suite:
standard library only.
"""

import os
import signal
import sys
import time

TERM_TO_KILL_S = 2.0


def main() -> None:
    """Keep the list of groups until the supervisor is gone, then end them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == '+':
            groups.add(group)
        else:
            groups.discard(group)
    end_groups(groups)


def end_groups(groups: set[int]) -> None:
    """SIGTERM to every group, SIGKILL to those still there after a while."""
    left = {group for group in groups if send(group, signal.SIGTERM)}
    deadline = time.monotonic() + TERM_TO_KILL_S
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = {group for group in left if send(group, 0)}
    for group in left:
        send(group, signal.SIGKILL)


def send(group: int, number: int) -> bool:
    """Signal a process group; False when there is none any more."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == '__main__':
    main()
