"""Subscriptions that a worker empties when it needs them, without waking the executor.

Used by the action expert's node: sensor and robot bring some 330 messages a second, of which the
tick needs the newest 100 ms ten times a second. Taken one by one through the executor they cost a
quarter of a core and the interpreter lock at bad moments; emptied in one go, a twentieth. Stamps
are acquisition times, so nothing gets older by waiting in the queue. Deliberately without any rule
of its own about what is dropped: the QoS depth is.
"""

from collections.abc import Callable
import time

from vla_core.timebase import NS
from vla_ros.polling import NeverByExecutor

# A burst after a stall must not eat the tick: what is left over comes with the next turn.
MOST_PER_TURN = 200
# How long before the next tick the queues are emptied, so that the tick itself finds little left.
LEAD_NS = 8 * NS // 1000


class Poller:
    """Empties subscriptions made with `group`. `drain` belongs to one thread at a time."""

    def __init__(self) -> None:
        self.group = NeverByExecutor()
        self._subscriptions: list = []

    def add(self, subscription) -> None:
        """Take charge of a subscription that was created with `group`."""
        self._subscriptions.append(subscription)

    def drain(self) -> int:
        """Call back for every waiting message, oldest first; return how many there were."""
        return sum(self._drain(subscription) for subscription in self._subscriptions)

    def _drain(self, subscription) -> int:
        for count in range(MOST_PER_TURN):
            with subscription.handle:
                taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
            if taken is None:
                return count
            subscription.callback(taken[0])
        return MOST_PER_TURN


class IdlePhase:
    """Between two ticks: housekeeping, then empties the queues just before the next one."""

    def __init__(
        self,
        drain: Callable[[], int],
        housekeeping: Callable[[int], None],
        sleep: Callable[[float], None] = time.sleep,
        steady: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._drain = drain
        self._housekeeping = housekeeping
        self._sleep = sleep
        self._steady = steady

    def __call__(self, remaining_ns: int) -> None:
        """Use the time until `LEAD_NS` before the next deadline, which is `remaining_ns` away."""
        deadline_ns = self._steady() + remaining_ns
        self._housekeeping(remaining_ns)
        spare_ns = deadline_ns - LEAD_NS - self._steady()
        if spare_ns > 0:
            self._sleep(spare_ns / NS)
            self._drain()
