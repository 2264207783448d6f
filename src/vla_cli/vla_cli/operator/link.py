"""What the operator does to the robot, from a program: services, status, goals with progress.

Used by `vla robot`, `vla task` and `vla demo`. Has a ROS context and an executor of its own, so
that it works beside the monitor. Every failure is one VlaError saying what to do; long waits are
told. Deliberately decides nothing: the driver and the task server do.
"""

from collections.abc import Callable
import math
import time

from action_msgs.msg import GoalStatus
import rclpy
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from vla_cli.operator.records import (
    goal_end,
    GoalEnd,
    OperatorStatus,
    progress_record,
    ProgressRecord,
)
from vla_cli.ros_records import command_record, robot_record
from vla_core.errors import VlaError
from vla_msgs.action import ExecuteTask
from vla_msgs.msg import CommandStatus, RobotStatus
from vla_ros import qos

ANSWER_S = 15.0  # discovery alone has taken more than 3 s on a loaded machine
PATIENT_S = 3.0  # after this it is said that we still wait
RECOVER_S = 60.0  # activating and homing take a while
CANCEL_S = 5.0
_SPIN_S = 0.05


class OperatorLink:
    """Use as a context manager; one thread."""

    def __init__(self, namespace: str = '', tell: Callable[[str], None] = lambda text: None):
        """`tell` gets a line when an answer takes long."""
        self._tell = tell
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node(
            'vla_operator',
            namespace=namespace,
            context=self._context,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._robot = self._command = None
        self._node.create_subscription(RobotStatus, 'robot/status', self._on_robot, qos.STATUS)
        self._node.create_subscription(
            CommandStatus, 'robot/command_status', self._on_command, qos.STATUS
        )
        self._actions: ActionClient | None = None
        self.interrupted = False  # Ctrl-C ended the newest goal

    def __enter__(self) -> 'OperatorLink':
        return self

    def __exit__(self, *exc_info) -> None:
        if self._actions is not None:
            self._actions.destroy()
        self._executor.shutdown(timeout_sec=0)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def status(self) -> OperatorStatus:
        """Return the newest robot and command status; VlaError when no driver tells any."""
        timeout_s = ANSWER_S
        self._find('a robot driver on robot/status', lambda: self._robot is not None, timeout_s)
        if self._robot is None:
            raise VlaError(f'no robot driver on robot/status within {timeout_s:g} s: vla up')
        self._wait(lambda: self._command is not None, 0.5)
        return OperatorStatus(self._robot, self._command)

    def newest(self) -> OperatorStatus | None:
        """What `status` would return, without waiting."""
        return None if self._robot is None else OperatorStatus(self._robot, self._command)

    def call(self, name: str, stop: Callable[[], bool] = lambda: False) -> str:
        """Call a service of the driver; return its answer. VlaError when it refuses or is
        absent.
        """
        client = self._node.create_client(Trigger, f'robot/{name}')
        try:
            if not self._find(f'robot/{name}', client.service_is_ready, ANSWER_S, stop):
                raise VlaError(
                    f'robot/{name}: no robot driver answers within {ANSWER_S:g} s: vla up'
                )
            future = client.call_async(Trigger.Request())
            limit_s = RECOVER_S if name == 'recover' else ANSWER_S
            if not self._wait(future.done, limit_s, stop):
                raise VlaError(f'robot/{name}: no answer within {limit_s:g} s')
            response = future.result()
        finally:
            self._node.destroy_client(client)
        if not response.success:
            raise VlaError(f'robot/{name}: {response.message}')
        return response.message

    def execute(
        self,
        instruction: str,
        timeout_s: float,
        tell: Callable[[ProgressRecord], None] = lambda record: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> GoalEnd:
        """Run a goal to its end; `stop` turning true, or Ctrl-C, cancels it.

        `interrupted` tells afterwards, and after an error, whether it was Ctrl-C.
        """
        self.interrupted = False
        if self._actions is None:
            self._actions = ActionClient(self._node, ExecuteTask, 'execute_task')
        ready = self._actions.server_is_ready
        if not self._find('a task server on execute_task', ready, ANSWER_S, stop):
            raise VlaError(f'no task server on execute_task within {ANSWER_S:g} s: vla up')
        sent = self._actions.send_goal_async(
            ExecuteTask.Goal(instruction=instruction, timeout_s=timeout_s),
            feedback_callback=lambda message: tell(progress_record(message.feedback)),
        )
        self.interrupted = self._interrupted(sent.done, ANSWER_S)
        if self.interrupted:
            self._wait(sent.done, ANSWER_S)
        if not sent.done():
            raise VlaError(f'execute_task: no answer within {ANSWER_S:g} s')
        handle = sent.result()
        if not handle.accepted:
            raise VlaError('execute_task: rejected, as task_node is not active')
        result = handle.get_result_async()
        if not self.interrupted:
            ended = lambda: stop() or self._gone()
            self.interrupted = self._interrupted(result.done, math.inf, ended)
        if not result.done():
            handle.cancel_goal_async()
            if not self._wait(result.done, CANCEL_S, stop):
                raise VlaError('execute_task: the task server is gone; vla robot disable')
        response = result.result()
        return goal_end(response.result, response.status == GoalStatus.STATUS_SUCCEEDED)

    def _interrupted(
        self,
        condition: Callable[[], bool],
        timeout_s: float,
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Wait as `_wait` does; True when Ctrl-C ended it."""
        try:
            self._wait(condition, timeout_s, stop)
        except KeyboardInterrupt:
            return True
        return False

    def _gone(self) -> bool:
        assert self._actions is not None
        return not self._actions.server_is_ready()

    def spin(self, seconds: float, stop: Callable[[], bool] = lambda: False) -> None:
        """Hear what comes for so long."""
        self._wait(lambda: False, seconds, stop)

    def _find(
        self,
        what: str,
        condition: Callable[[], bool],
        timeout_s: float,
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Wait as `_wait` does for somebody to be there; say so when it takes long."""
        patient_s = min(PATIENT_S, timeout_s)
        if self._wait(condition, patient_s, stop):
            return True
        left_s = timeout_s - patient_s
        if left_s <= 0 or stop():
            return condition()
        self._tell(f'waiting for {what}, up to {left_s:.0f} s more')
        return self._wait(condition, left_s, stop)

    def _wait(
        self,
        condition: Callable[[], bool],
        timeout_s: float,
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if stop() or time.monotonic() > deadline_s:
                return condition()
            self._executor.spin_once(_SPIN_S)
        return True

    def _on_robot(self, message) -> None:
        self._robot = robot_record(message)

    def _on_command(self, message) -> None:
        record = command_record(message)
        if record.result != 'REFUSED' or self._command is None:  # that one is about a chunk
            self._command = record
