"""Client of the recorder node, which it starts if none is running.

Used by `vla record`. One thread; services are called with a deadline. It deliberately records
nothing itself.
"""

import os
from pathlib import Path
import subprocess
import tempfile
import time

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from vla_cli import workspace
from vla_cli.supervisor.child import die_with_parent
from vla_core.errors import VlaError
from vla_msgs.msg import RecorderStatus
from vla_msgs.srv import DiscardEpisode, StartEpisode, StopEpisode
from vla_ros import qos

FOUND_WITHIN_S = 1.5
STARTED_WITHIN_S = 20.0
ANSWER_WITHIN_S = 15.0  # a disk that hangs is told after 10 s


class RecorderClient:
    """A context manager; a recorder that it started ends with it."""

    def __init__(
        self, namespace: str = '', directory: Path | None = None, start_own: bool = True
    ) -> None:
        """directory: where a recorder that has to be started puts its episodes. start_own: False
        makes it a VlaError that none is running.
        """
        self._own: OwnRecorder | None = None
        self.status: RecorderStatus | None = None
        rclpy.init(args=[])
        self._node = Node(
            'vla_record', namespace=namespace, enable_rosout=False, start_parameter_services=False
        )
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._start = self._node.create_client(StartEpisode, 'recorder/start')
        self._stop = self._node.create_client(StopEpisode, 'recorder/stop')
        self._discard = self._node.create_client(DiscardEpisode, 'recorder/discard')
        self._node.create_subscription(
            RecorderStatus, 'recorder/status', self._on_status, qos.STATUS
        )
        try:
            self._find(namespace, directory, start_own)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> 'RecorderClient':
        return self

    def __exit__(self, *exc_info) -> None:
        self._executor.shutdown(timeout_sec=0)
        self._node.destroy_node()
        rclpy.try_shutdown()
        if self._own is not None:
            self._own.end()

    @property
    def started_own(self) -> bool:
        """Whether no recorder was running before."""
        return self._own is not None

    def start(self, **request) -> StartEpisode.Response:
        """Begin an episode; VlaError with the recorder's reason."""
        return self._call(self._start, StartEpisode.Request(**request))

    def stop(self, outcome: str = '', notes: str = '') -> StopEpisode.Response:
        """End it."""
        return self._call(self._stop, StopEpisode.Request(outcome=outcome, notes=notes))

    def discard(self) -> DiscardEpisode.Response:
        """End it as one that is not to be used."""
        return self._call(self._discard, DiscardEpisode.Request())

    def watch(self, seconds: float) -> RecorderStatus | None:
        """Look at the status for a while; return the newest. VlaError when our recorder died."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left_s, 0.1))
        if self._own is not None:
            self._own.check()
        return self.status

    def _find(self, namespace: str, directory: Path | None, start_own: bool) -> None:
        if self._start.wait_for_service(FOUND_WITHIN_S):
            return
        if not start_own:
            raise VlaError(f'no recorder answers within {FOUND_WITHIN_S:g} s: vla up --record')
        self._own = OwnRecorder(namespace, directory)
        end_s = time.monotonic() + STARTED_WITHIN_S
        while self.status is None or not self._start.service_is_ready():
            self.watch(0.1)  # it tells its status once it is active
            if time.monotonic() > end_s:
                raise VlaError(f'the recorder did not start within {STARTED_WITHIN_S:.0f} s')

    def _call(self, client, request):
        future = client.call_async(request)
        end_s = time.monotonic() + ANSWER_WITHIN_S
        while not future.done():
            self.watch(0.02)
            if time.monotonic() > end_s:
                raise VlaError('the recorder does not answer: is it still running?')
        response = future.result()
        if not response.success:
            raise VlaError(f'recorder: {response.message}')
        return response

    def _on_status(self, message: RecorderStatus) -> None:
        self.status = message


class OwnRecorder:
    """A recorder node as a child process; what it says is kept for the case that it dies."""

    def __init__(self, namespace: str, directory: Path | None) -> None:
        command = [workspace.find_executable('vla_recorder', 'recorder_node'), '--ros-args']
        command += ['-r', f'__ns:=/{namespace.strip("/")}']
        if directory is not None:
            command += ['-p', f'directory:={directory.absolute()}']
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            process_group=0,  # Ctrl-C is ours: the episode is to be closed by its service first
            preexec_fn=die_with_parent(os.getpid()),
        )

    def check(self) -> None:
        """Raise VlaError with its last words when it has ended."""
        if self._process.poll() is not None:
            self._log.seek(0)
            said = self._log.read().decode(errors='replace').strip().splitlines()
            raise VlaError(f'the recorder has ended: {said[-1] if said else "without a word"}')

    def end(self) -> None:
        """End it as Ctrl-C does: a running episode is closed."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()
