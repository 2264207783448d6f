"""Recorder node: the topics of a manifest into episodes, on request.

Started by stack.yaml (argument `record`), the launch files and `vla record`. Services
recorder/start, recorder/stop, recorder/discard; status on recorder/status. Logic is in
vla_data.recording (session, queue, file) and tap.py (subscriptions).
"""

from dataclasses import dataclass
from pathlib import Path
import threading

from ament_index_python.packages import get_package_share_directory, PackageNotFoundError

from vla_core.errors import VlaError
from vla_core.health import HealthItem
from vla_data.recording.manifest import load_manifest
from vla_data.recording.recording import RecordingSettings
from vla_data.recording.session import Session, Status
from vla_data.recording.writer import WriterSettings
from vla_msgs.msg import RecorderStatus
from vla_msgs.srv import DiscardEpisode, StartEpisode, StopEpisode
from vla_recorder.common import common_info
from vla_recorder.health import items, status_message
from vla_recorder.tap import Tap
from vla_ros import qos
from vla_ros.lifecycle import one_line, VlaLifecycleNode
from vla_ros.params import BRINGUP_PACKAGE, param
from vla_ros.spin import run_node

STATUS_PERIOD_S = 1.0
MB = 1_000_000


@dataclass(frozen=True)
class Parameters:
    """Parameters; values in launch/config/recorder_node.yaml."""

    directory: str = param('folder for the episodes; ~ is the home folder')
    manifest: str = param("which topics; '': config/recorder/manifest.yaml of vla_bringup")
    contract: str = param("contract kept in every episode; '': contract/insertion.yaml")
    calibration: str = param("YAML file kept in every episode (camera poses, ...); '': none")
    poll_s: float = param('time between two looks at the topics, s', low=0.005, high=0.2)
    flush_s: float = param('what kill -9 may cost at most, s', low=0.05, high=0.8)
    sync_s: float = param('what a power failure may cost, s', low=0.05, high=60.0)
    chunk_kb: int = param('size of a chunk in the file, kB', low=16, high=16384)
    queue_mb: int = param('bound of what waits for a slow disk, MB', low=1, high=4096)
    keep_free_mb: int = param('the recording ends below this free disk space, MB', low=0)


class RecorderNode(VlaLifecycleNode):
    """Threads: `_take` runs in the taking thread, the episode's file has a writing thread of its
    own, everything else runs in the executor's.
    """

    def __init__(self, **kwargs):
        super().__init__('recorder_node', Parameters, hardware_id='recorder', **kwargs)
        self._tap: Tap | None = None
        self._session: Session | None = None
        self._told = ''  # reason of an end that was logged
        self._stop = threading.Event()
        self._serve(StartEpisode, 'recorder/start', self._start)
        self._serve(StopEpisode, 'recorder/stop', self._stop_episode)
        self._serve(DiscardEpisode, 'recorder/discard', self._discard)

    def configure(self) -> None:
        """Read manifest and contract, subscribe."""
        params = self.params
        manifest = load_manifest(_file(params.manifest, 'recorder/manifest.yaml'))
        contract = _file(params.contract, 'contract/insertion.yaml')
        calibration = Path(params.calibration).expanduser() if params.calibration else None
        topics = manifest.resolved(self.get_namespace())
        writer = WriterSettings(params.flush_s, params.chunk_kb * 1024, params.sync_s)
        settings = RecordingSettings(params.queue_mb * MB, params.keep_free_mb * MB, writer)
        directory = Path(params.directory).expanduser().absolute()
        common = common_info(contract, calibration)
        self._session = Session(directory, topics, settings, common)
        self._tap = Tap(self, topics)
        self._status = self.add_publisher(RecorderStatus, 'recorder/status', qos.STATUS)
        self.add_timer(STATUS_PERIOD_S, self._tell)

    def activate(self) -> None:
        """Begin to take messages; an episode begins by the service."""
        self._stop.clear()
        self.start_worker('recorder tap', self._take)

    def deactivate(self) -> None:
        """Stop taking; an episode that runs is closed with this as its reason."""
        self._stop.set()
        self.join_workers()
        finished = self._session.shut_down()
        if finished is not None:
            self.get_logger().warning(str(finished))

    def cleanup(self) -> None:
        """Leave the topics."""
        if self._tap is not None:
            self._tap.close()
        self._tap = self._session = None

    def health(self) -> list[HealthItem]:
        """The recording, and topics that bring nothing."""
        if self._session is None:
            return []
        return items(self._session.status(), self._tap, self.params.queue_mb * MB)

    def _take(self) -> None:
        """The taking thread."""
        sim = self.get_parameter('use_sim_time').value
        while not self._stop.wait(self.params.poll_s):
            self._session.put(self._tap.drain(self.now_ns() if sim else None))

    def _serve(self, kind, name: str, handle) -> None:
        """A refusal is an answer, never an exception in the executor."""

        def answer(request, response):
            try:
                if self.state_label != 'active':
                    raise VlaError(f'the recorder is {self.state_label}, not active')
                handle(request, response)
                response.success = True
            except (VlaError, OSError) as error:
                response.success, response.message = False, one_line(error)
                self.get_logger().error(f'{name}: {response.message}')
            self._tell()
            return response

        self.create_service(kind, name, answer)

    def _start(self, request, response) -> None:
        self._told = ''
        path = self._session.start(
            self.now_ns(),
            self._tap.latched(),
            request.name,
            task=request.task or self._task_in_force(),
            operator=request.operator_name,
            notes=request.notes,
            tags=tuple(request.tags),
        )
        response.path, response.message = str(path), f'recording {path}'
        self.get_logger().info(response.message)

    def _stop_episode(self, request, response) -> None:
        finished = self._session.stop(outcome=request.outcome, notes=request.notes)
        response.path, response.message = str(finished.path), str(finished)
        response.duration_s = finished.duration_s
        response.messages, response.lost = finished.messages, finished.lost
        self.get_logger().info(response.message)

    def _discard(self, request, response) -> None:
        finished = self._session.discard(request.delete_files)
        done = 'deleted' if request.delete_files else 'discarded'
        response.path, response.message = str(finished.path), f'{done}: {finished}'
        self.get_logger().info(response.message)

    def _task_in_force(self) -> str:
        from rclpy.serialization import deserialize_message
        from std_msgs.msg import String

        for entry in self._tap.latched():
            if entry.topic.rpartition('/')[2] == 'task':
                return deserialize_message(entry.data, String).data
        return ''

    def _tell(self) -> None:
        if self._session is None:
            return
        status: Status = self._session.status()
        if status.reason and status.reason != self._told:
            self._told = status.reason
            self.get_logger().error(f'the recording of {status.path} ended: {status.reason}')
        message = status_message(status, self._tap, self.now_ns())
        self._status.publish(message)


def _file(path: str, default: str) -> Path:
    if path:
        return Path(path).expanduser()
    try:
        share = Path(get_package_share_directory(BRINGUP_PACKAGE))
    except PackageNotFoundError:
        raise VlaError(f'{BRINGUP_PACKAGE} is not installed: give the file {default}') from None
    return share / 'config' / default


def main(args=None) -> int:
    """Entry point."""
    return run_node(RecorderNode, args)
