"""The ExecuteTask action server: one instruction at a time, watched until it has succeeded.

Started by stack.yaml and the launch files; `vla task` is its client. It publishes the instruction
on `task` and looks on; what moves the robot are the expert's chunks and the gate. Parameters,
topics and wiring only: the judgement is engine/task_watch.py. Everything runs on the executor's
thread; the fast topics are emptied ten times a second.
"""

from collections.abc import Callable
import math
import time

from geometry_msgs.msg import PoseStamped
import numpy as np
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.qos import QoSProfile
from rclpy.task import Future
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_core.counters import Counters
from vla_core.errors import WireFormatError
from vla_core.health import HealthItem, Level
from vla_core.rotation import rotate
from vla_core.surface import SurfaceSettings
from vla_inference.engine.task_success import SuccessSettings
from vla_inference.engine.task_watch import (
    ChunkView,
    End,
    GateView,
    Outcome,
    Progress,
    TaskWatch,
    WatchSettings,
)
from vla_inference.nodes.polling import Poller
from vla_inference.nodes.task_parameters import TaskParameters
from vla_msgs.action import ExecuteTask
from vla_msgs.msg import ActionChunk, CommandStatus, SensorBatch
from vla_ros import convert, qos
from vla_ros.lifecycle import VlaLifecycleNode
from vla_ros.spin import run_node

ACTION = 'execute_task'
TICK_S = 0.1
FEEDBACK_TICKS = 2  # feedback at 5 Hz
DISABLE_WAIT_S = 1.0
ENABLE_TICKS = 5  # CommandStatus comes at 10 Hz
NEWEST = QoSProfile(depth=1)
NEEDLE = np.array([0.0, 0.0, 1.0])  # in the tool's frame


class TaskNode(VlaLifecycleNode):
    """One goal at a time; a second one is refused. All callbacks in the executor's thread."""

    def __init__(self, **kwargs):
        self._watch: TaskWatch | None = None
        self._server: ActionServer | None = None
        self._goal = None
        self._finished: Future | None = None
        self._last: End | None = None
        self._enabled: list[Future] = []  # goals that wait for the news that the gate is enabled
        self._ticks_waited = 0
        self._answer: Future | None = None  # of robot/disable
        self._answer_until_s = 0.0
        self._ticks = 0
        super().__init__('task_node', TaskParameters, **kwargs)

    def configure(self) -> None:
        """Create topics, the client of robot/disable, and the action server."""
        p = self.params
        self._task_counters = Counters()
        self._watch = TaskWatch(
            WatchSettings(p.timeout_s, p.status_stale_s, p.sensor_stale_s),
            SuccessSettings(
                p.target_distance_m, p.tolerance_m, p.standing_m, p.hold_s,
                p.insertion_travel_m, p.free_s,
            ),  # fmt: skip
            SurfaceSettings(p.depth_per_bin_m, p.blind_m, p.contrast, p.peak_width_m),
        )
        self._task = self.add_publisher(String, 'task', qos.LATCHED)
        self.add_subscription(CommandStatus, 'robot/command_status', self._on_status, qos.STATUS)
        self._poller = Poller()
        for kind, topic, callback, profile in (
            (ActionChunk, 'action/chunk', self._on_chunk, qos.CHUNKS),
            (PoseStamped, 'robot/tcp_pose', self._on_pose, NEWEST),
            (SensorBatch, 'sensor/samples', self._on_samples, qos.SENSOR_STREAM),
        ):
            subscription = self.add_subscription(
                kind, topic, callback, profile, callback_group=self._poller.group
            )
            self._poller.add(subscription)
        self._disable = self.add_client(Trigger, 'robot/disable')
        self.add_timer(TICK_S, self._tick)
        self._server = ActionServer(
            self,
            ExecuteTask,
            ACTION,
            self._execute,
            goal_callback=self._on_goal,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
        )

    def deactivate(self) -> None:
        """End the goal, if there is one, and take the robot's permission back."""
        if self._watch is not None and self._watch.running:
            self._call_disable()
            if self._finished is not None and not self._finished.done():
                self._watch.stop()
                self._finished.set_result(End(Outcome.CANCELED, 'task_node was deactivated'))

    def cleanup(self) -> None:
        """Let go of everything."""
        if self._server is not None:
            self._server.destroy()
        self._server = self._watch = self._goal = self._finished = None

    def health(self) -> list[HealthItem]:
        """The goal in force, or how the last one ended."""
        watch = self._watch
        if watch is None:
            return []
        values = {kind: str(count) for kind, count in self._task_counters.snapshot().items()}
        if watch.running:
            return [HealthItem('task', Level.OK, f"working on '{watch.instruction}'", values)]
        text = 'no goal yet'
        if self._last is not None:
            text = f'last: {self._last.outcome.name.lower()}: {self._last.detail}'
        return [HealthItem('task', Level.OK, text, values)]

    # The action ----------------------------------------------------------------------------------

    def _on_goal(self, goal: ExecuteTask.Goal) -> GoalResponse:
        """Take every goal while active: a refusal with its reason is a result, not a rejection."""
        return GoalResponse.ACCEPT if self.state_label == 'active' else GoalResponse.REJECT

    async def _execute(self, goal) -> ExecuteTask.Result:
        try:
            return await self._work(goal)
        except Exception as error:  # rclpy would only log it, with an empty result
            self.fail(error)
            raise

    async def _work(self, goal) -> ExecuteTask.Result:
        request = goal.request
        instruction = request.instruction.strip()
        reason = self._watch.refusal(instruction, request.timeout_s, self.now_ns())
        if reason and self._watch.gate_refusal(self.now_ns()) == reason:
            # Whoever has just enabled the gate is faster than its status.
            self._enabled.append(Future())
            await self._enabled[-1]
            reason = self._watch.refusal(instruction, request.timeout_s, self.now_ns())
        if reason:
            return self._finish(goal, End(Outcome.REFUSED, reason))
        self._watch.begin(instruction, request.timeout_s, self.now_ns())
        self._task.publish(String(data=instruction))
        self.get_logger().info(f"task: '{instruction}'")
        self._goal, self._finished = goal, Future()
        end = await self._finished
        if self.params.disable_at_end and end.outcome is not Outcome.GATE_STOP:
            await self._disabled()
        self._goal = self._finished = None
        return self._finish(goal, end)

    def _gate_is_open(self) -> bool:
        return self._watch.gate_refusal(self.now_ns()) == ''

    def _tick(self) -> None:
        """Look whether the goal is over; tell the client how far it is."""
        self._give_up_waiting()
        self._poller.drain()
        goal, finished = self._goal, self._finished
        if goal is None or finished.done():
            return
        verdict = self._watch.tick(self.now_ns(), goal.is_cancel_requested)
        if isinstance(verdict, End):
            finished.set_result(verdict)
            return
        self._ticks += 1
        if self._ticks % FEEDBACK_TICKS == 0:
            goal.publish_feedback(feedback_message(verdict))

    def _finish(self, goal, end: End) -> ExecuteTask.Result:
        if end.outcome is Outcome.SUCCESS:
            goal.succeed()
        elif end.outcome is Outcome.CANCELED and goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        self._last = end
        self._task_counters.add(f'outcome_{end.outcome.name.lower()}')
        text = f'{end.outcome.name}: {end.detail} ({end.duration_s:.1f} s)'
        if end.outcome is Outcome.SUCCESS:
            self.get_logger().info(text)
        else:
            self.get_logger().warning(text)
        return ExecuteTask.Result(
            outcome=int(end.outcome),
            detail=end.detail,
            duration_s=end.duration_s,
            peak_force_n=end.peak_force_n,
        )

    # robot/disable -------------------------------------------------------------------------------

    def _call_disable(self) -> Future | None:
        if not self._disable.service_is_ready():
            self.get_logger().warning('robot/disable is not there: the robot driver is gone')
            return None
        return self._disable.call_async(Trigger.Request())

    async def _disabled(self) -> None:
        """Disable the gate and wait for the answer, but not for ever."""
        answer = self._call_disable()
        if answer is None:
            return
        self._answer = Future()
        self._answer_until_s = time.monotonic() + DISABLE_WAIT_S
        waiting = self._answer
        answer.add_done_callback(lambda _: waiting.done() or waiting.set_result(True))
        if not await waiting:
            self.get_logger().warning(f'robot/disable: no answer within {DISABLE_WAIT_S:g} s')

    def _give_up_waiting(self) -> None:
        if self._enabled and (self._ticks_waited >= ENABLE_TICKS or self._gate_is_open()):
            waiting_goals, self._enabled = self._enabled, []
            for future in waiting_goals:
                future.set_result(None)
        self._ticks_waited = self._ticks_waited + 1 if self._enabled else 0
        waiting = self._answer
        if waiting is not None and not waiting.done() and time.monotonic() > self._answer_until_s:
            waiting.set_result(False)

    # What it looks at ----------------------------------------------------------------------------

    def _on_status(self, message: CommandStatus) -> None:
        if message.result == CommandStatus.REFUSED and self._watch.refused(self.now_ns()):
            return  # about a chunk; what became of the robot is in the next one
        view = GateView(
            self.now_ns(),
            message.gate,
            tuple(message.reasons),
            tuple(message.values),
            tuple(message.limits),
        )
        self._watch.observe_gate(view)

    def _on_samples(self, message: SensorBatch) -> None:
        if self._watch.running:
            with self._counted():
                _, force_n, profiles = convert.sensor_arrays(message)
                zero_n = self.params.force_zero_n
                self._watch.observe_samples(force_n - zero_n, profiles, self.now_ns())

    def _on_pose(self, message: PoseStamped) -> None:
        if self._watch.running:
            with self._counted():
                position, quat = convert.pose_arrays(message)
                self._watch.observe_tip(position, rotate(quat, NEEDLE))

    def _on_chunk(self, message: ActionChunk) -> None:
        if self._watch.running:
            with self._counted():
                line = message.lineage
                ages_s = (line.image_age_s, line.feature_age_s, line.sensor_age_s)
                view = ChunkView(
                    message.reaction, tuple(message.reasons), (*ages_s, line.robot_age_s)
                )
                self._watch.observe_chunk(message.task, convert.chunk_steps(message)[1], view)

    def _counted(self) -> 'Counted':
        return Counted(self._complain)

    def _complain(self, error: Exception) -> None:
        self._task_counters.add(getattr(error, 'kind', 'bad_message'))
        self.get_logger().warning(f'message not used: {error}', throttle_duration_sec=5.0)


class Counted:
    """A context in which a malformed message is counted and said, and no more."""

    def __init__(self, complain: Callable[[Exception], None]):
        self._complain = complain

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> bool:
        if isinstance(error, (WireFormatError, ValueError)):
            self._complain(error)
            return True
        return False


def feedback_message(progress: Progress) -> ExecuteTask.Feedback:
    """Progress -> feedback."""
    image_s, feature_s, sensor_s, robot_s = progress.chunk.ages_s
    return ExecuteTask.Feedback(
        elapsed_s=progress.elapsed_s,
        progress=min(max(progress.progress, 0.0), 1.0),
        held_s=progress.held_s,
        surface_distance_m=_number(progress.surface_distance_m),
        force_n=_number(progress.force_n),
        reaction=progress.chunk.reaction,
        reasons=list(progress.reasons),
        image_age_s=image_s,
        feature_age_s=feature_s,
        sensor_age_s=sensor_s,
        robot_age_s=robot_s,
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def main(args: list[str] | None = None) -> int:
    """Run the node; the exit code is 1 after an error."""
    return run_node(TaskNode, args)
