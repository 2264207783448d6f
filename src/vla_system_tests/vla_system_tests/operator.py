"""The operator's hand in a test: the robot driver's services, called as a person would.

Used by the tests of the command path.
"""

from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from vla_core.robot_services import ROBOT_SERVICES
from vla_ros import qos
from vla_ros.testing import wait_for


class Operator:
    """Calls the services on a node that somebody else spins."""

    def __init__(self, node) -> None:
        self._clients = {
            name: node.create_client(Trigger, f'robot/{name}') for name in ROBOT_SERVICES
        }
        self.stop_topic = node.create_publisher(Bool, 'robot/emergency_stop', qos.STATUS)

    def call(self, name: str, timeout_s: float = 15.0) -> tuple[bool, str]:
        """Call a service; return whether it did it, and what it said."""
        client = self._clients[name]
        wait_for(client.service_is_ready, timeout_s, f'service robot/{name}')
        future = client.call_async(Trigger.Request())
        answer = wait_for(
            lambda: future.done() and future.result(), timeout_s, f'an answer of robot/{name}'
        )
        return answer.success, answer.message

    def must(self, name: str, timeout_s: float = 15.0) -> None:
        """Call a service that has to do it."""
        success, message = self.call(name, timeout_s)
        assert success, f'robot/{name}: {message}'

    def make_ready(self) -> None:
        """Bring the robot from power-on to an open gate."""
        self.must('recover', 30.0)
        wait_for(lambda: self.call('enable')[0], 15.0, 'an enabled gate')
