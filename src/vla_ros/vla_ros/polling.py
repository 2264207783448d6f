"""Subscriptions that a thread of the node's own empties, out of the executor's sight.

Used by the action expert, the recorder and the robot driver, which take hundreds of messages a
second: one by one through the executor they cost several times as much, for it builds a wait set
of everything the node has for each of them. Deliberately without any rule about what is dropped:
the QoS depth is.
"""

import threading

from rclpy.callback_groups import CallbackGroup
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy

WAIT_NS = 50_000_000  # how long the end can go unnoticed


class NeverByExecutor(CallbackGroup):
    """Keeps its subscriptions out of the executor's wait set."""

    def can_execute(self, entity) -> bool:
        """No."""
        return False

    def beginning_execution(self, entity) -> bool:
        """No."""
        return False

    def ending_execution(self, entity) -> None:
        """Never called."""


class SubscriptionThread:
    """Waits for one subscription alone and calls back at once: the body of a worker.

    The subscription was created with a group `NeverByExecutor`. `run` belongs to the worker.
    """

    def __init__(self, subscription, context) -> None:
        self._subscription, self._context = subscription, context

    def run(self, stop: threading.Event) -> None:
        """Call back for every message, oldest first, until `stop` is set."""
        handle = self._subscription.handle
        with handle, self._context.handle:
            ready = _rclpy.WaitSet(1, 0, 0, 0, 0, 0, self._context.handle)
            while not stop.is_set():
                ready.clear_entities()
                ready.add_subscription(handle)
                ready.wait(WAIT_NS)
                if handle.pointer in ready.get_ready_entities('subscription'):
                    self._drain(handle, stop)

    def _drain(self, handle, stop: threading.Event) -> None:
        subscription = self._subscription
        while not stop.is_set():
            taken = handle.take_message(subscription.msg_type, subscription.raw)
            if taken is None:
                return
            subscription.callback(taken[0])
