"""The vision-language node: five camera topics in, features with lineage out, in the background.

Started by `vla up` and the launch files. Parameters, topics and wiring only; the work is
engine.vlm_worker's, in its own thread. Deliberately knows nothing of the sensor and the robot.
"""

from collections.abc import Callable
import threading
import time

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String

from vla_core.health import HealthItem, RateMeter
from vla_core.realtime import be_nice
from vla_inference.engine.image_inbox import ImageInbox, InboxSettings
from vla_inference.engine.lockstep import follow_clock, LockstepPasses
from vla_inference.engine.pass_schedule import least_period_ns, PassSchedule
from vla_inference.engine.recent import Recent
from vla_inference.engine.records import FeatureSet
from vla_inference.engine.reports import images_item, Rate, vlm_item
from vla_inference.engine.vlm_worker import VlmWorker, WorkerSettings
from vla_inference.nodes.clock import node_clock
from vla_inference.nodes.loading import load_vlm, LoadedVlm
from vla_inference.nodes.lockstep import (
    check_lockstep,
    wait_for_readers,
    wait_for_receipt,
)
from vla_inference.nodes.messages import features_message
from vla_inference.nodes.parameters import VlmParameters
from vla_inference.nodes.polling import Poller
from vla_msgs.msg import VLFeatureInfo, VLFeatures
from vla_policy.host import keep_freed_memory
from vla_ros import convert, qos
from vla_ros.lifecycle import VlaLifecycleNode
from vla_ros.spin import run_node

WARNING_PERIOD_S = 5.0


class VlmNode(VlaLifecycleNode):
    """Executor thread: images, task, diagnostics. Thread 'vlm': decoding, model, publishing."""

    def __init__(self, load: Callable[[VlmParameters], LoadedVlm] = load_vlm, **kwargs):
        """`load` makes the model from the parameters; tests pass a small one."""
        self._load = load
        self._worker: VlmWorker | None = None
        self._stop = threading.Event()
        self._rate = RateMeter(10.0)
        self._totals = Recent()
        super().__init__('vlm_node', VlmParameters, **kwargs)

    def configure(self) -> None:
        """Load the model, run it once, create publishers and subscriptions."""
        check_lockstep(self)
        params, loaded = self.params, self._load(self.params)
        self._loaded, contract = loaded, loaded.contract
        images = contract.images
        if (params.image_width, params.image_height) != (images.width, images.height):
            self.get_logger().warning(
                f'images of {params.image_width}x{params.image_height}, but the policy was made '
                f'for {images.width}x{images.height}'
            )
        self._inbox = ImageInbox(
            contract.view_names,
            PassSchedule(least_period_ns(params.vl_reuse, params.max_rate_hz)),
            InboxSettings(params.image_wait_s, params.image_settle_s),
            *([node_clock(self).now_ns] if params.lockstep else []),
        )
        settings = WorkerSettings(
            params.image_width, params.image_height, loaded.checkpoint_hash, contract.hash
        )
        self._worker = VlmWorker(
            self._inbox,
            loaded.encoder,
            settings,
            self._hold if params.lockstep else self._publish,
            node_clock(self),
            params.task,
            self._complain,
        )
        warm_up_s = self._worker.warm_up()
        self._features = self.add_publisher(VLFeatures, contract.features.topic, qos.FEATURES)
        profile = qos.IN_STEP if params.lockstep else qos.CHUNKS
        self._info = self.add_publisher(VLFeatureInfo, 'vlm/info', profile)
        self._subscribe()
        self.get_logger().info(
            f'checkpoint {loaded.checkpoint_hash}, contract {contract.name} {contract.hash}, '
            f'{loaded.device}, first pass {warm_up_s * 1e3:.0f} ms'
        )

    def activate(self) -> None:
        """Start the worker on what comes from now on."""
        if self.params.lockstep:
            self._poller.drain()  # what waited while the node was inactive is old
        self._inbox.forget()
        self._stop = threading.Event()
        self.start_worker('vlm', self._run)

    def deactivate(self) -> None:
        """Tell the worker to end after its pass."""
        self._stop.set()

    def cleanup(self) -> None:
        """Let go of the model."""
        self._worker = self._loaded = None
        self._totals.clear()

    def health(self) -> list[HealthItem]:
        """Passes and images."""
        if self._worker is None or self.state_label != 'active':
            return []
        counts = {kind: str(count) for kind, count in self._worker.counters.snapshot().items()}
        values = {
            'device': self._loaded.device,
            'checkpoint': self._loaded.checkpoint_hash,
            **counts,
        }
        rate = Rate(self._rate.hz(time.monotonic_ns()), self.params.warn_rate_hz)
        return [
            vlm_item(
                self._worker.last,
                rate,
                self.params.warn_total_ms / 1e3,
                {**values, **self._totals.summary_ms('total')},
            ),
            images_item(self._inbox, self._loaded.contract, self.now_ns()),
        ]

    def _subscribe(self) -> None:
        self._poller = Poller()
        # In lockstep the worker takes the messages itself, at the steps of the clock.
        add = self._add_polled if self.params.lockstep else self.add_subscription
        add(String, 'task', self._on_task, qos.LATCHED)
        for view in self._loaded.contract.views:
            add(CompressedImage, view.topic, self._image_callback(view.name), qos.IMAGES)
        if self.params.lockstep:
            self._answers = self.add_publisher(Time, 'vlm/time_reached', qos.IN_STEP)

    def _add_polled(self, message_type, topic: str, callback: Callable, profile) -> None:
        subscription = self.add_subscription(
            message_type, topic, callback, profile, callback_group=self._poller.group
        )
        self._poller.add(subscription)

    def _run(self) -> None:
        be_nice(self.params.nice)
        if self.params.lockstep:
            self._run_in_step()
        else:
            self._worker.run(self._stop)

    def _run_in_step(self) -> None:
        """Answer every step of the clock when all that is due at it was received."""
        latency_ns = round(self.params.lockstep_latency_ms * 1e6)
        passes = LockstepPasses(self._inbox, self._worker.process, self._publish, latency_ns)
        self._hold_result = passes.hold
        wait_for_readers(self._stop, self._features, self._answers)

        def step(now_ns: int) -> None:
            self._poller.drain()
            if passes.step(now_ns):
                wait_for_receipt(self._stop, self._features, self._info)

        def answer(now_ns: int) -> None:
            self._answers.publish(convert.to_time(now_ns))

        follow_clock(node_clock(self), step, answer, self._stop)

    def _hold(self, made: FeatureSet) -> None:
        self._hold_result(made)

    def _publish(self, made: FeatureSet) -> None:
        message = features_message(made)
        self._features.publish(message)
        self._info.publish(message.info)
        self._rate.tick(time.monotonic_ns())
        self._totals.add(made.stages_s['total'])

    def _image_callback(self, view: str) -> Callable[[CompressedImage], None]:
        def on_image(message: CompressedImage) -> None:
            self._inbox.put(view, convert.to_ns(message.header.stamp), bytes(message.data))

        return on_image

    def _on_task(self, message: String) -> None:
        if not message.data.strip():
            self._worker.counters.add('empty_task')
        elif message.data != self._worker.task:
            self._worker.task = message.data
            self.get_logger().info(f"task: '{message.data}'")

    def _complain(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=WARNING_PERIOD_S)


def main(args: list[str] | None = None) -> int:
    """Run the node; the exit code is 1 after an error."""
    keep_freed_memory()
    return run_node(VlmNode, args)
