"""Subscriptions that a thread of the node's own empties, out of the executor's sight.

Used by the action expert and the recorder, which take hundreds of messages a second: one by one
through the executor they cost several times as much. Deliberately only the callback group: who
drains when is the node's business.
"""

from rclpy.callback_groups import CallbackGroup


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
