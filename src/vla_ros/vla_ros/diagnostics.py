"""Health of a node on /diagnostics at 1 Hz, as rqt_runtime_monitor and `vla monitor` expect it.

Called by VlaLifecycleNode; the items come from vla_core.health. It deliberately keeps no history
and judges nothing: levels are decided where the limits are known.
"""

from collections.abc import Callable, Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType

from vla_core.health import HealthItem, Level
from vla_ros.qos import STATUS

_LEVELS = {
    Level.OK: DiagnosticStatus.OK,
    Level.WARN: DiagnosticStatus.WARN,
    Level.ERROR: DiagnosticStatus.ERROR,
    Level.STALE: DiagnosticStatus.STALE,
}
PERIOD_S = 1.0


def to_status(item: HealthItem, node_name: str, hardware_id: str) -> DiagnosticStatus:
    """Return the message of one item; its name is '<node>: <item>'."""
    return DiagnosticStatus(
        level=_LEVELS[item.level],
        name=f'{node_name}: {item.name}',
        message=item.message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=str(value)) for key, value in item.values.items()],
    )


class DiagnosticsPublisher:
    """Publishes what `source()` returns once a second, and at once on `publish()`.

    The timer and therefore `source` run on the executor's thread. The timer follows the steady
    clock: diagnostics go on when ROS time stands still.
    """

    def __init__(self, node, hardware_id: str, source: Callable[[], Sequence[HealthItem]]):
        self._node = node
        self._hardware_id = hardware_id
        self._source = source
        self._name = node.get_fully_qualified_name().lstrip('/')
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', STATUS)
        self._timer = node.create_timer(
            PERIOD_S, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def publish(self) -> None:
        """Publish the items as they are now."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status = [
            to_status(item, self._name, self._hardware_id) for item in self._source()
        ]
        self._publisher.publish(message)
