"""From one episode to the next: names, what is known at the start, start, stop, discard.

Used by the recorder node, whose services map one to one to these methods. It deliberately knows no
ROS; messages come as serialized entries.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
import re
import shutil
import threading
from typing import Any

from vla_core.errors import VlaError
from vla_data.episode import EpisodeInfo
from vla_data.recording.byte_queue import Entry
from vla_data.recording.manifest import Topic
from vla_data.recording.recording import Recording, RecordingSettings

_NAME = re.compile(r'^[A-Za-z0-9][A-Za-z0-9._-]{0,120}$')
STOPPED_FROM_OUTSIDE = 'the recorder node was stopped'


@dataclass(frozen=True)
class Status:
    """What the recorder does now."""

    state: str = 'idle'  # 'idle', 'recording', 'ended': by itself, see reason
    path: Path | None = None
    task: str = ''
    started_ns: int = 0
    messages: int = 0
    size_bytes: int = 0
    waiting_bytes: int = 0
    lost: int = 0
    reason: str = ''
    silent: tuple[str, ...] = ()  # topics that brought nothing so far


@dataclass(frozen=True)
class Finished:
    """How an episode ended."""

    path: Path
    info: EpisodeInfo
    messages: int

    @property
    def duration_s(self) -> float:
        """Start to end, s."""
        return max(0, self.info.ended_ns - self.info.started_ns) / 1e9

    @property
    def lost(self) -> int:
        """Messages lost before the file, all topics."""
        return lost_of(self.info.loss)

    def __str__(self) -> str:
        text = f'{self.path.name}: {self.duration_s:.1f} s, {self.messages} messages'
        text += f', {self.lost} lost' if self.lost else ', none lost'
        return text + (f'; it ended because {reason}' if (reason := self.reason) else '')

    @property
    def reason(self) -> str:
        """Why it ended, when nobody asked it to."""
        return self.info.ended_because


class Session:
    """Threads: `put` belongs to the thread that takes messages; `start`, `stop`, `discard` and
    `status` are guarded by one lock that `put` never waits for.
    """

    def __init__(
        self,
        directory: Path,
        topics: dict[str, Topic],
        settings: RecordingSettings,
        common: EpisodeInfo,
    ) -> None:
        """topics: by absolute name. `common` holds what all episodes have in common: contract,
        software version, calibration, source.
        """
        self._directory = directory
        self._topics = topics
        self._settings = settings
        self._common = common
        self._lock = threading.Lock()
        self._recording: Recording | None = None

    def start(
        self, now_ns: int, latched: Iterable[Entry] = (), name: str = '', **info: Any
    ) -> Path:
        """Begin an episode; returns its folder. `latched` are the last messages of latched topics,
        which come again at the beginning of every episode. VlaError when it may not begin.
        """
        with self._lock:
            if self._recording is not None and self._recording.active:
                raise VlaError(
                    f'{self._recording.path.name} is being recorded: stop or discard it first'
                )
            path = self._new_path(now_ns, name)
            known = replace(self._common, started_ns=now_ns, **info)
            recording = Recording(path, known, self._topics, self._settings)
            recording.put([replace(entry, log_ns=now_ns, lost_before=0) for entry in latched])
            self._recording = recording
            return path

    def put(self, entries: list[Entry]) -> None:
        """Hand over messages; those between two episodes belong to none."""
        recording = self._recording
        if recording is not None and entries:
            recording.put(entries)

    def stop(self, **changes: Any) -> Finished:
        """End the episode; VlaError when there is none, or when the disk does not answer."""
        changes = {key: value for key, value in changes.items() if value}
        replace(self._common, **changes)  # a wrong outcome is refused before anything ends
        with self._lock:
            recording = self._take()
        info = recording.stop(**changes)
        return Finished(recording.path, info, recording.written)

    def discard(self, delete_files: bool = False) -> Finished:
        """End the episode as one that is not to be used; its files stay unless told otherwise."""
        finished = self.stop(outcome='discarded')
        if delete_files:
            try:
                shutil.rmtree(finished.path)
            except OSError as error:
                raise VlaError(f'{finished.path}: cannot be deleted ({error.strerror})') from error
        return finished

    def shut_down(self) -> Finished | None:
        """End an episode that still runs, because the program ends."""
        if self._recording is None:
            return None
        if not self._recording.active:
            return self.stop()
        return self.stop(ended_because=STOPPED_FROM_OUTSIDE)

    def status(self) -> Status:
        """Return what is going on."""
        recording = self._recording
        if recording is None:
            return Status()
        loss = recording.loss()
        silent = tuple(name for name, counts in loss.items() if not counts['received'])
        return Status(
            'recording' if recording.active else 'ended',
            recording.path,
            recording.info.task,
            recording.info.started_ns,
            recording.written,
            recording.bytes_written,
            recording.queue_bytes,
            lost_of(loss),
            recording.ended_because or recording.error,
            silent,
        )

    def _take(self) -> Recording:
        recording, self._recording = self._recording, None
        if recording is None:
            raise VlaError('no episode is being recorded')
        return recording

    def _new_path(self, now_ns: int, name: str) -> Path:
        if name and not _NAME.match(name):
            raise VlaError(
                f'{name!r} is no name for a folder: letters, digits, dots, dashes, underscores'
            )
        if name:
            return self._directory / name
        name = datetime.fromtimestamp(now_ns / 1e9).strftime('episode_%Y%m%d-%H%M%S')
        for suffix in ('', *(f'-{number}' for number in range(2, 100))):
            path = self._directory / (name + suffix)
            if not path.exists():
                return path
        raise VlaError(f'{self._directory}: too many episodes of this second')


def lost_of(loss: dict[str, dict[str, int]]) -> int:
    """Messages lost by sequence numbers or counters. Both see the same loss: the larger counts."""
    return sum(
        max(counts.get('lost_transport', 0), counts.get('lost_counter', 0))
        for counts in loss.values()
    )
