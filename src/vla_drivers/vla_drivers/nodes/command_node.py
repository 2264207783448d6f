"""The part of robot_driver that moves the robot: chunk, force and stop topics, operator services,
CommandStatus, limits as parameters.

Made by robot_driver for a device that takes commands. Deliberately thin: what happens is in
command_path.py and vla_core.safety.
"""

from collections.abc import Callable
import gc
import threading
import time

import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.task import Future
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from vla_core.arms.meca500 import Meca500
from vla_core.errors import ConfigError, VlaError
from vla_core.execution.executor import ChunkExecutor, ExecutorSettings
from vla_core.health import HealthItem
from vla_core.realtime import prefer_this_thread
from vla_core.safety.gate import SafetyGate
from vla_core.safety.limits import loosened, SafetyLimits
from vla_core.safety.values import ArmState, GateState, Result
from vla_core.timebase import s_to_ns
from vla_drivers.command_health import commands_item, gate_item
from vla_drivers.command_path import CommandPath, CommandReport
from vla_drivers.devices.base import CommandDevice
from vla_drivers.nodes.robot_messages import command_status
from vla_drivers.nodes.robot_parameters import LIMIT_NAMES, limits_of
from vla_drivers.robot_stream import StampedState
from vla_msgs.msg import ActionChunk, CommandStatus, SensorBatch
from vla_ros import convert, qos
from vla_ros.lifecycle import one_line
from vla_ros.polling import NeverByExecutor, SubscriptionThread

STATUS_PERIOD_S = 0.1
# activate_at_start: a robot that is switched on later than this must not move by itself.
START_S = 10.0


class CommandNode:
    """Threads: `on_state` belongs to the reader's thread, the command loop and the force samples
    have threads of their own, so has `recover`, everything else is on the executor's.
    """

    def __init__(self, node, device: CommandDevice):
        self._node, self._device = node, device
        self.path: CommandPath | None = None
        self._logged: tuple | None = None
        self._end = threading.Event()

    def configure(self) -> None:
        """Create topics, services and the hooks of the parameters."""
        node = self._node
        self._status = node.add_publisher(CommandStatus, 'robot/command_status', qos.STATUS)
        for kind, topic, callback, profile in (
            (ActionChunk, 'action/chunk', self._on_chunk, qos.CHUNKS),
            (Bool, 'robot/emergency_stop', self._on_emergency_stop, qos.STATUS),
            (Bool, 'robot/dead_man', self._on_dead_man, qos.STATUS),
        ):
            node.add_subscription(kind, topic, callback, profile)
        # Force must not wait for its turn behind timers and chunks: it has a thread of its own.
        self._samples = node.add_subscription(
            SensorBatch,
            'sensor/samples',
            self._on_samples,
            qos.SENSOR_STREAM,
            callback_group=NeverByExecutor(),
        )
        for name, action, answer in (
            ('enable', lambda path: path.enable(), 'enabled: chunks move the robot'),
            ('disable', lambda path: path.disable(), 'disabled'),
            ('emergency_stop', lambda path: path.emergency_stop('service'), 'stopped'),
            ('reset', lambda path: path.reset(), 'reset: robot/enable lets it move again'),
            ('withdraw', lambda path: path.withdraw(), 'withdrawing; it ends stopped'),
        ):
            node.add_service(Trigger, f'robot/{name}', self._service(name, action, answer))
        node.add_service(Trigger, 'robot/recover', self._on_recover)
        node.add_timer(STATUS_PERIOD_S, self._publish)
        self._changed = node.create_guard_condition(self._publish)
        node.add_on_set_parameters_callback(self._check_limits)
        node.add_post_set_parameters_callback(self._apply_limits)

    def activate(self) -> None:
        """Begin to command: disabled, with the limits as they are now."""
        node, params = self._node, self._node.params
        period_s = 1.0 / params.command_rate_hz
        limits = self._limits({})
        settings = ExecutorSettings(
            policy=params.chunk_policy,
            period_ns=s_to_ns(limits.step_period_s),
            ensemble_decay=params.ensemble_decay,
        )
        self.path = CommandPath(
            SafetyGate(limits, Meca500(params.tool_m), period_s),
            ChunkExecutor(settings),
            self._device,
            period_s,
            self._changed.trigger,
        )
        # What is loaded never becomes garbage: a full collection over it would hold up the command
        # thread for 50 ms.
        gc.collect()
        gc.freeze()
        self._end = threading.Event()
        node.start_worker('robot_driver force', self._watch_force)
        node.start_worker('robot_driver commands', lambda: self.path.run(params.realtime_priority))
        if params.activate_at_start:
            self._start_recovery(lambda error: None, wait_s=START_S)

    def deactivate(self) -> None:
        """Bring the robot to rest and end the command thread."""
        self._end.set()
        if self.path is not None:
            self.path.finish()
            self._device.stop()  # from here, too: the command thread might be stuck

    def forget(self) -> None:
        """The command thread has ended."""
        self.path = None

    def cleanup(self) -> None:
        """Take the hooks out of the node; topics and services go with its cleanup."""
        node = self._node
        node.remove_on_set_parameters_callback(self._check_limits)
        node.remove_post_set_parameters_callback(self._apply_limits)
        node.destroy_guard_condition(self._changed)

    def health(self) -> list[HealthItem]:
        """The items 'gate' and 'commands'."""
        path = self.path
        return [] if path is None else [gate_item(path), commands_item(path, time.monotonic_ns())]

    def on_state(self, stamped: StampedState, quat_xyzw: np.ndarray) -> None:
        """A new state of the robot."""
        path, state = self.path, stamped.state
        if path is not None:
            path.on_state(ArmState(stamped.stamp_ns, state.joint_rad, state.position_m, quat_xyzw))

    def _watch_force(self) -> None:
        prefer_this_thread(self._node.params.realtime_priority)
        SubscriptionThread(self._samples, self._node.context).run(self._end)

    def _on_chunk(self, message: ActionChunk) -> None:
        if self.path is not None:
            self.path.on_chunk(convert.timed_chunk(message))

    def _on_samples(self, message: SensorBatch) -> None:
        if self.path is not None:
            stamps_ns = np.frombuffer(message.stamp_ns, np.int64)
            self.path.on_samples(stamps_ns, np.frombuffer(message.force_n, np.float32))

    def _on_emergency_stop(self, message: Bool) -> None:
        if self.path is not None:
            self.path.on_emergency_stop('topic', message.data)

    def _on_dead_man(self, message: Bool) -> None:
        if self.path is not None:
            self.path.on_dead_man(message.data)

    def _service(self, name: str, action: Callable[[CommandPath], None], answer: str) -> Callable:
        def serve(request, response):
            path = self.path
            if path is None:
                return _answer(response, False, f'{name}: the driver is not active')
            try:
                action(path)
            except VlaError as error:
                self._node.get_logger().warning(f'robot/{name}: {one_line(error)}')
                return _answer(response, False, one_line(error))
            self._node.get_logger().info(f'robot/{name}: {answer}')
            return _answer(response, True, answer)

        return serve

    async def _on_recover(self, request, response):
        if self.path is None:
            return _answer(response, False, 'recover: the driver is not active')
        done = Future(executor=self._node.executor)
        self._start_recovery(done.set_result)
        error = await done
        if error is not None:
            return _answer(response, False, one_line(error))
        return _answer(
            response, True, 'recovered: activated and homed; robot/reset if stopped, robot/enable'
        )

    def _start_recovery(
        self, done: Callable[[BaseException | None], None], wait_s: float = 0.0
    ) -> None:
        """Recover in a thread; `wait_s` is how long the connection may still take."""
        self._node.get_logger().info('robot/recover: begins')

        def work() -> None:
            error: BaseException | None = None
            try:
                deadline_s = time.monotonic() + wait_s
                while not self._device.report().connected and time.monotonic() < deadline_s:
                    time.sleep(0.05)
                self._device.recover()
            except Exception as caught:  # noqa: BLE001 - must reach the operator
                error = caught
            if self._node.context.ok():
                log = self._node.get_logger()
                if error is None:
                    log.info('robot/recover: activated and homed')
                else:
                    log.error(f'robot/recover: {one_line(error)}')
            done(error)

        threading.Thread(target=work, name='robot_driver recovery', daemon=True).start()

    def _publish(self) -> None:
        """The newest command's fate; runs 10 times a second and when it changes."""
        path = self.path
        if path is None:
            return
        refusal = path.take_refusal()
        for report in (refusal, path.newest):
            if report is not None:
                self._log(report)
                frame = self._node.params.base_frame
                self._status.publish(command_status(path, report, frame))

    def _log(self, report: CommandReport) -> None:
        """Once per change of the gate or of a refusal's reason."""
        reasons = ', '.join(what.kind for what in report.interventions)
        stopped = report.gate in (GateState.STOPPED, GateState.EMERGENCY_STOP)
        key = (report.gate, reasons if stopped else '')
        if report.step == -1 and report.chunk_id:
            self._node.get_logger().warning(
                f'chunk {report.chunk_id} refused: {reasons}', throttle_duration_sec=1.0
            )
        elif key != self._logged:
            self._logged = key
            text = f'gate {report.gate}: {reasons}' if stopped else f'gate {report.gate}'
            # Two calls: rclpy allows one severity for one line of code.
            if stopped and not _goes_as_asked(report):
                self._node.get_logger().error(text)
            else:
                self._node.get_logger().info(text)

    # Limits as parameters ------------------------------------------------------------------------

    def _limits(self, changes: dict) -> SafetyLimits:
        node = self._node
        values = {name: node.get_parameter(name).value for name in LIMIT_NAMES}
        return limits_of({'base_frame': node.params.base_frame, **values, **changes})

    def _check_limits(self, changes) -> SetParametersResult:
        named = {change.name: change.value for change in changes if change.name in LIMIT_NAMES}
        if not named:
            return SetParametersResult(successful=True)
        try:
            limits = self._limits(named)
        except (ConfigError, TypeError) as error:
            return SetParametersResult(successful=False, reason=one_line(error))
        reason = '' if self.path is None else self._objection(self.path.gate, limits)
        return SetParametersResult(successful=not reason, reason=reason)

    def _objection(self, gate: SafetyGate, limits: SafetyLimits) -> str:
        """Why these limits cannot be put in force now, '' when they can."""
        timeout_s = self._node.params.velocity_timeout_s
        if limits.step_period_s != gate.limits.step_period_s:
            return 'step_period_s: takes effect at the next configure; deactivate first'
        if limits.look_ahead_s < timeout_s:
            return f'look_ahead_s: expected at least velocity_timeout_s, {timeout_s:g}'
        looser = loosened(gate.limits, limits)
        if looser and (gate.state is GateState.ENABLED or gate.retracting):
            return f'{", ".join(looser)}: may not be loosened while enabled; disable first'
        return ''

    def _apply_limits(self, changes) -> None:
        if self.path is not None and any(change.name in LIMIT_NAMES for change in changes):
            self.path.gate.set_limits(self._limits({}))


def _answer(response, success: bool, message: str):
    response.success, response.message = success, message
    return response


def _goes_as_asked(report: CommandReport) -> bool:
    """Whether the gate is stopped for a withdrawal that goes on, or came to its right end."""
    kinds = [what.kind for what in report.interventions]
    asked_for = kinds[:1] == ['withdrawal']
    return asked_for and (report.result is Result.RETRACTING or kinds[1:] in ([], ['retracted']))
