"""The scripted expert in the place of the model: chunks every 100 ms from the simulator's truth.

Started by stack.yaml with policy=scripted, for the simulated lab only: it needs the truth that no
real eye tells. Parameters, topics and wiring; the chunk is engine/scripted_ticks.py. Deliberately
a node of its own: the model's nodes run beside it unchanged, in shadow.
"""

from pathlib import Path
import struct
import threading
import time

from ament_index_python.packages import get_package_share_directory, PackageNotFoundError
from geometry_msgs.msg import PoseStamped
from rclpy.qos import QoSProfile
from std_msgs.msg import String

from vla_core.contract import Contract, load_contract
from vla_core.errors import ConfigError
from vla_core.freshness import Reaction
from vla_core.health import HealthItem, Level, RateMeter
from vla_core.realtime import prefer_this_thread
from vla_core.timebase import NS
from vla_inference.engine.scripted_ticks import check_action, ScriptedTicks, Seen
from vla_inference.nodes.clock import node_clock, node_grid
from vla_inference.nodes.messages import chunk_message
from vla_inference.nodes.polling import Poller
from vla_inference.nodes.task_parameters import ScriptedParameters
from vla_msgs.msg import ActionChunk, SensorBatch
from vla_ros import qos
from vla_ros.lifecycle import VlaLifecycleNode
from vla_ros.spin import run_node
from vla_sim.scripted import ScriptedExpert
from vla_sim.truth import TruthClient

CHECKPOINT = 'scripted'
NEWEST = QoSProfile(depth=1)
_CDR_STAMP = struct.Struct('<iI')  # header.stamp is the first field, after four bytes of CDR


class ScriptedExpertNode(VlaLifecycleNode):
    """Executor thread: the task. Thread 'ticks': stamps and truth in, chunks out. The task is
    replaced whole, so no lock.
    """

    def __init__(self, **kwargs):
        self._ticks: ScriptedTicks | None = None
        self._truth: TruthClient | None = None
        self._stop = threading.Event()
        self._rate = RateMeter(5.0)
        self._task = ''
        self._robot_ns = self._sensor_ns = 0
        self._said: tuple[str, ...] = ('nothing yet',)
        super().__init__('scripted_expert_node', ScriptedParameters, **kwargs)

    def configure(self) -> None:
        """Listen to the simulator; create topics."""
        self._contract = load_contract(contract_path(self.params.contract))
        problem = check_action(self._contract.action)
        if problem:
            raise ConfigError(str(contract_path(self.params.contract)), 'action', None, problem)
        self._truth = TruthClient(self.params.truth_port)
        contract: Contract = self._contract
        self._chunks = self.add_publisher(ActionChunk, contract.action.topic, qos.CHUNKS)
        self.add_subscription(String, 'task', self._on_task, qos.LATCHED)
        self._poller = Poller()
        # Only the newest stamp of these is wanted: a batch of A-scans is left as bytes.
        for kind, topic, callback in (
            (PoseStamped, contract.state.pose_topic, self._on_stamped_pose),
            (SensorBatch, contract.sensor.topic, self._on_stamped_samples),
        ):
            subscription = self.add_subscription(
                kind, topic, callback, NEWEST, callback_group=self._poller.group, raw=True
            )
            self._poller.add(subscription)

    def activate(self) -> None:
        """Start ticking."""
        self._stop = threading.Event()
        self._ticks = ScriptedTicks(
            ScriptedExpert(self.params.seed),
            self._contract.action,
            self.params.truth_hold_s,
            node_clock(self).now_ns,
        )
        self.start_worker('ticks', self._run)

    def deactivate(self) -> None:
        """Tell the ticks to end."""
        self._stop.set()

    def cleanup(self) -> None:
        """Close the connection to the simulator."""
        if self._truth is not None:
            self._truth.close()
        self._truth = self._ticks = None

    def health(self) -> list[HealthItem]:
        """The chunks: what is being done, or why the robot is held."""
        ticks = self._ticks
        if ticks is None or self.state_label != 'active':
            return []
        if ticks.last is None:
            return [HealthItem('scripted', Level.STALE, 'no chunk yet')]
        chunk, hz = ticks.last, self._rate.hz(time.monotonic_ns())
        values = {kind: str(count) for kind, count in ticks.counters.snapshot().items()}
        values |= {'phase': ticks.phase, 'task': chunk.task, 'rate_hz': f'{hz:.2f}'}
        values['inference_ms'] = f'{chunk.inference_s * 1e3:.1f}'
        self._log_change(chunk.reasons)
        text = f'{hz:.2f} Hz, {ticks.phase}'
        if chunk.reasons:
            # Waiting for the first instruction is nothing to worry about.
            level = Level.OK if not chunk.task else Level.ERROR
            return [HealthItem('scripted', level, '; '.join(chunk.reasons), values)]
        return [HealthItem('scripted', Level.OK, text, values)]

    def _run(self) -> None:
        prefer_this_thread(self.params.realtime_priority, self.params.nice)
        grid, _ = node_grid(self, self._contract.action.period_ns)
        frame, contract_hash = self._contract.action.frame, self._contract.hash
        while (tick := grid.wait(self._stop)) is not None:
            self._poller.drain()
            seen = Seen(self._truth.newest(), self._task, self._robot_ns, self._sensor_ns)
            chunk = self._ticks.step(tick, seen)
            self._chunks.publish(chunk_message(chunk, frame, CHECKPOINT, contract_hash))
            self._rate.tick(time.monotonic_ns())

    def _on_task(self, message: String) -> None:
        if message.data != self._task:
            self.get_logger().info(f"task: '{message.data}'")
        self._task = message.data

    def _on_stamped_pose(self, message: bytes) -> None:
        self._robot_ns = _stamp_ns(message)

    def _on_stamped_samples(self, message: bytes) -> None:
        self._sensor_ns = _stamp_ns(message)

    def _log_change(self, reasons: tuple[str, ...]) -> None:
        kinds = tuple(reason.split(':')[0] for reason in reasons)
        if kinds != self._said:
            self._said = kinds
            name = Reaction.HOLD.name if reasons else Reaction.USE.name
            self.get_logger().info(f'{name}: {"; ".join(reasons) or "truth is fresh"}')


def _stamp_ns(message: bytes) -> int:
    seconds, nanoseconds = _CDR_STAMP.unpack_from(message, 4)
    return seconds * NS + nanoseconds


def contract_path(given: str) -> Path:
    """Return the contract's file: the given one, or the installed one of the needle insertion."""
    if given:
        return Path(given)
    try:
        share = get_package_share_directory('vla_bringup')
    except PackageNotFoundError as error:
        raise ConfigError(
            'parameters of scripted_expert_node',
            'contract',
            '',
            'vla_bringup is not installed here: give a contract file',
        ) from error
    return Path(share) / 'config' / 'contract' / 'insertion.yaml'


def main(args: list[str] | None = None) -> int:
    """Run the node; the exit code is 1 after an error."""
    return run_node(ScriptedExpertNode, args)
