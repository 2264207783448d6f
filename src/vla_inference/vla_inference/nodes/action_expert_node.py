"""The action expert's node: features, sensor and robot state in, a chunk every 100 ms out.

Started by `vla up` and the launch files. Parameters, topics and wiring only: aligning, judging and
inferring are the engine's, in the loop's own thread, the only busy one beside the executor.
Deliberately decodes no images.
"""

from collections.abc import Callable
import threading
import time

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from vla_core.counters import Counters
from vla_core.errors import WireFormatError
from vla_core.health import HealthItem, RateMeter
from vla_core.realtime import IdleCollector, prefer_this_thread
from vla_inference.engine.action_loop import ActionLoop, LoopSettings
from vla_inference.engine.input_buffers import BufferSettings, InputBuffers
from vla_inference.engine.lockstep import HeldFeatures
from vla_inference.engine.recent import Recent
from vla_inference.engine.records import Chunk, FeatureSet
from vla_inference.engine.reports import actions_item, inputs_item, Rate
from vla_inference.engine.warm_up import warm_up
from vla_inference.nodes.clock import node_clock, node_grid, uses_sim_time
from vla_inference.nodes.loading import load_expert, LoadedExpert
from vla_inference.nodes.lockstep import check_lockstep, wait_for_readers
from vla_inference.nodes.messages import chunk_message, feature_set
from vla_inference.nodes.parameters import ExpertParameters
from vla_inference.nodes.polling import IdlePhase, Poller
from vla_msgs.msg import ActionChunk, SensorBatch, VLFeatures
from vla_ros import convert, qos
from vla_ros.lifecycle import VlaLifecycleNode
from vla_ros.spin import run_node

WARNING_PERIOD_S = 5.0


class ActionExpertNode(VlaLifecycleNode):
    """Executor thread: features, task, health. Thread 'ticks': the loop and the fast inputs."""

    def __init__(self, load: Callable[[ExpertParameters], LoadedExpert] = load_expert, **kwargs):
        """`load` makes the expert from the parameters; tests pass a small one."""
        self._load = load
        self._loop: ActionLoop | None = None
        self._buffers: InputBuffers | None = None
        self._stop = threading.Event()
        self._rate = RateMeter(5.0)
        self._periods, self._totals = Recent(), Recent()
        self._last_steady_ns = 0
        self._thread_priority = ''
        self._reasons: tuple[str, ...] = ()
        super().__init__('action_expert_node', ExpertParameters, **kwargs)

    def configure(self) -> None:
        """Load the expert, run it, create publishers and subscriptions."""
        check_lockstep(self)
        params, loaded = self.params, self._load(self.params)
        self._loaded, contract = loaded, loaded.contract
        self._counters = Counters()
        continued = params.chunk_policy == 'rtc'
        warm_up_s = warm_up(
            loaded.expert, contract, loaded.feature_shape, loaded.passes, continued
        )
        settings = BufferSettings(
            loaded.checkpoint_hash, params.robot_must_change, loaded.passes
        )
        self._buffers = InputBuffers(contract, settings)
        self._buffers.set_task(params.task, self.now_ns())
        topic = contract.action.topic + ('_shadow' if params.shadow else '')
        profile = qos.IN_STEP if params.lockstep else qos.CHUNKS
        self._chunks = self.add_publisher(ActionChunk, topic, profile)
        self._subscribe()
        self.get_logger().info(
            f'checkpoint {loaded.checkpoint_hash}, contract {contract.name} {contract.hash}, '
            f'{loaded.device}, inference {warm_up_s * 1e3:.1f} ms'
        )

    def activate(self) -> None:
        """Start ticking."""
        action = self._loaded.contract.action
        self._stop = threading.Event()
        self._poller.drain()  # what waited while the node was inactive is old
        self._buffers.forget()
        self._held.clear()
        self._collector = IdleCollector()
        # This, the executor's thread, holds the interpreter lock at times: were it to lose the
        # processor then, the tick thread would wait for it whatever its own priority.
        mine = prefer_this_thread(max(0, self.params.realtime_priority - 1), self.params.nice)
        grid, steady = node_grid(self, action.period_ns)
        self._loop = ActionLoop(
            self._buffers,
            self._loaded.expert,
            grid,
            self._publish,
            LoopSettings(
                action.steps,
                action.dims,
                action.period_ns,
                self.params.seed,
                self._phase_ns(mine.startswith('SCHED_FIFO')),
                self.params.chunk_policy == 'rtc',
                self.params.actuation_delay_s,
            ),
            node_clock(self),
            steady,
            idle=self._idle_phase(),
            refill=self._refill_in_step if self.params.lockstep else self._poller.drain,
        )
        self.start_worker('ticks', self._run)

    def deactivate(self) -> None:
        """Tell the loop to end."""
        self._stop.set()

    def cleanup(self) -> None:
        """Let go of the expert and of all data."""
        self._loop = self._buffers = self._loaded = None

    def health(self) -> list[HealthItem]:
        """Chunks and inputs."""
        loop, buffers = self._loop, self._buffers
        if loop is None or buffers is None or self.state_label != 'active':
            return []
        period_s = self._loaded.contract.action.period_s
        rate = Rate(
            self._rate.hz(time.monotonic_ns()), min(self.params.warn_rate_hz, 1 / period_s)
        )
        counts = {**loop.counters.snapshot(), **self._counters.snapshot()}
        if self.params.chunk_policy == 'rtc':
            counts |= loop.continuation.counters.snapshot()
        values = {
            'checkpoint': self._loaded.checkpoint_hash,
            'device': self._loaded.device,
            'thread': self._thread_priority,
            **self._periods.summary_ms('period'),
            **self._totals.summary_ms('total'),
            **{kind: str(count) for kind, count in counts.items()},
        }
        self._log_change(loop.last)
        return [actions_item(loop.last, rate, values), inputs_item(buffers, loop.last)]

    def _subscribe(self) -> None:
        contract = self._loaded.contract
        state = contract.state
        self._poller, self._held = Poller(), HeldFeatures()
        # In lockstep the tick takes these too: none may come a tick sooner or later by chance.
        add = self._add_polled if self.params.lockstep else self.add_subscription
        add(VLFeatures, contract.features.topic, self._on_features, qos.FEATURES)
        add(String, 'task', self._on_task, qos.LATCHED)
        self._add_polled(SensorBatch, contract.sensor.topic, self._on_samples, qos.SENSOR_STREAM)
        self._add_polled(JointState, state.joint_topic, self._on_joints, qos.SENSOR_STREAM)
        self._add_polled(PoseStamped, state.pose_topic, self._on_pose, qos.SENSOR_STREAM)

    def _add_polled(self, message_type, topic: str, callback: Callable, profile) -> None:
        subscription = self.add_subscription(
            message_type, topic, callback, profile, callback_group=self._poller.group
        )
        self._poller.add(subscription)

    def _refill_in_step(self) -> None:
        self._poller.drain()
        for features in self._held.take(self.now_ns()):
            self._use_features(features)

    def _idle_phase(self) -> Callable[[int], None]:
        # Simulated time may run at any speed: no sleeping towards a deadline of it.
        return (
            self._collector
            if uses_sim_time(self)
            else IdlePhase(self._poller.drain, self._collector)
        )

    def _phase_ns(self, realtime: bool) -> int:
        if uses_sim_time(self):
            return 0
        params = self.params
        phase_ms = params.publish_phase_ms if realtime else params.publish_phase_shared_ms
        return round(phase_ms * 1e6)

    def _run(self) -> None:
        self._thread_priority = prefer_this_thread(self.params.realtime_priority, self.params.nice)
        if self.params.lockstep:
            wait_for_readers(self._stop, self._chunks)
        self._collector.start()
        try:
            self._loop.run(self._stop)
        finally:
            self._collector.stop()

    def _publish(self, chunk: Chunk) -> None:
        loaded = self._loaded
        frame = loaded.contract.action.frame
        self._chunks.publish(
            chunk_message(chunk, frame, loaded.checkpoint_hash, loaded.contract.hash)
        )
        now_ns = time.monotonic_ns()
        if self._last_steady_ns:
            self._periods.add((now_ns - self._last_steady_ns) / 1e9)
        self._last_steady_ns = now_ns
        self._rate.tick(now_ns)
        self._totals.add(chunk.total_s)

    def _on_features(self, message: VLFeatures) -> None:
        try:
            features = feature_set(message)
        except WireFormatError as error:
            self._refuse(error.kind, str(error))
            return
        if self.params.lockstep:
            self._held.add(features)
        else:
            self._use_features(features)

    def _use_features(self, features: FeatureSet) -> None:
        if not self._buffers.set_features(features, self.now_ns()):
            self._complain(
                f'features {features.feature_id} not used: of another model or too late'
            )

    def _on_samples(self, message: SensorBatch) -> None:
        try:
            self._buffers.push_samples(*convert.sensor_matrix(message))
        except (WireFormatError, ValueError) as error:
            self._refuse(getattr(error, 'kind', 'bad_shape'), str(error))

    def _on_joints(self, message: JointState) -> None:
        self._buffers.set_joints(
            convert.to_ns(message.header.stamp), convert.joint_positions(message)
        )

    def _on_pose(self, message: PoseStamped) -> None:
        self._buffers.set_pose(convert.to_ns(message.header.stamp), *convert.pose_arrays(message))

    def _on_task(self, message: String) -> None:
        if self._buffers.set_task(message.data, self.now_ns()):
            self.get_logger().info(f"task: '{message.data}'")

    def _log_change(self, chunk: Chunk | None) -> None:
        """Log once per change of what holds the robot; once a second, off the tick thread."""
        kinds = tuple(reason.split(':')[0] for reason in chunk.reasons) if chunk else ()
        if kinds != self._reasons:
            self._reasons = kinds
            text = '; '.join(chunk.reasons) or 'all inputs fresh'
            self.get_logger().info(f'{chunk.reaction.name}: {text}')

    def _refuse(self, kind: str, text: str) -> None:
        self._counters.add(kind)
        self._complain(text)

    def _complain(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=WARNING_PERIOD_S)


def main(args: list[str] | None = None) -> int:
    """Run the node; the exit code is 1 after an error."""
    return run_node(ActionExpertNode, args)
