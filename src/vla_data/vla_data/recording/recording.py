"""One running recording: bounded queue, writing thread, disk guard, and how it ended.

Used by the recorder node. The thread that takes messages only ever puts them into a queue that is
bounded in bytes; a slow or full disk is the writing thread's trouble alone. When the queue is full
or the disk refuses, the recording ends there, with its reason: an episode may be short, but it has
no hole. Deliberately knows no ROS and no topic by name.
"""

from collections.abc import Callable
from dataclasses import dataclass
import os
from pathlib import Path
import threading
import time
from typing import Any

from vla_data import tagging
from vla_data.episode import EpisodeInfo
from vla_data.errors import BagError
from vla_data.recording.byte_queue import ByteQueue, Entry
from vla_data.recording.loss import LossAccount
from vla_data.recording.manifest import Topic
from vla_data.recording.writer import DiskError, EpisodeWriter, WriterSettings

WAKE_S = 0.1  # how long a message waits for the writing thread at most
DISK_LOOK_S = 1.0
JOIN_S = 10.0  # a disk that hangs must not hang whoever stops the recording


@dataclass(frozen=True)
class RecordingSettings:
    """Bounds of a recording."""

    queue_bytes: int = 64 * 1024 * 1024
    keep_free_bytes: int = 1024 * 1024 * 1024
    writer: WriterSettings = WriterSettings()


class Recording:
    """Threads: `put` belongs to one thread, `stop` to any other, the rest may be read by all.

    Raises BagError when the folder exists or the disk has too little room to begin.
    """

    def __init__(
        self,
        path: Path,
        info: EpisodeInfo,
        topics: dict[str, Topic],
        settings: RecordingSettings,
        make_writer: Callable[..., EpisodeWriter] = EpisodeWriter,
    ) -> None:
        """topics: by the name they are recorded under."""
        self.path = path
        self._settings = settings
        self._queue = ByteQueue(settings.queue_bytes)
        self._stop = threading.Event()
        self._changes: dict[str, Any] = {}
        self._account = LossAccount({name: topic.account for name, topic in topics.items()})
        self.refused = 0  # messages that came after the queue was full
        self.ended_because = ''
        self.error = ''  # the file could not be closed; the next command repairs it
        self.info = info
        self._refuse_full_disk(path)
        self._writer = make_writer(path, info, settings.writer)
        try:
            for name, topic in topics.items():
                self._writer.add_topic(name, topic.type, topic.qos)
        except BaseException:
            self._writer.salvage(ended_because='could not begin')
            raise
        self._looked_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name='episode writer', daemon=True)
        self._thread.start()

    @property
    def active(self) -> bool:
        """Whether messages are still accepted."""
        return not self.ended_because and not self._stop.is_set()

    @property
    def closed(self) -> bool:
        """Whether the writing thread has ended and with it all work on the file."""
        return not self._thread.is_alive()

    @property
    def written(self) -> int:
        """Messages written so far."""
        return sum(self._writer.counts.values())

    @property
    def bytes_written(self) -> int:
        """Size of the file so far."""
        return self._writer.bytes_written

    @property
    def queue_bytes(self) -> int:
        """Bytes that wait for the writing thread."""
        return self._queue.bytes

    @property
    def highest_queue_bytes(self) -> int:
        """The most that ever waited."""
        return self._queue.highest_bytes

    def put(self, entries: list[Entry]) -> bool:
        """Hand over messages, oldest first; False once the recording has ended. Never blocks."""
        if not self.active:
            self.refused += len(entries)
            return False
        accepted = self._queue.put(entries)
        self._account.see(entries[:accepted])
        if accepted == len(entries):
            return True
        self.refused += len(entries) - accepted
        if self._queue.closed:
            return False
        waiting_mb = self._queue.bytes / 1e6
        self._end(f'the disk is too slow: {waiting_mb:.0f} MB were waiting to be written')
        return False

    def loss(self) -> dict[str, dict[str, int]]:
        """Return the account of every topic so far."""
        return self._account.snapshot()

    def stop(self, **changes: Any) -> EpisodeInfo:
        """End the recording and close the file; `changes` are fields of EpisodeInfo.

        Also to be called after a recording that has ended by itself, to judge it. BagError when
        the file could not be closed: it is readable after the repair by the next command.
        """
        self._changes.update(changes)
        self._stop.set()
        self._thread.join(JOIN_S)
        if self._thread.is_alive():
            raise BagError(self.path, f'the disk has not answered for {JOIN_S:.0f} s')
        if self.error:
            raise BagError(self.path, self.error)
        if self.ended_because:  # it was closed then
            self.info = tagging.change(self.path, **changes)
        return self.info

    def _end(self, reason: str) -> None:
        if not self.ended_because:
            self.ended_because = reason

    def _run(self) -> None:
        """The writing thread. What has ended is closed at once: nobody may come to stop it."""
        try:
            self._write_until_end()
            self.info = self._writer.close(**self._last_changes())
        except DiskError as error:
            self._end(error.fault)
            self._salvage()
        except Exception as error:  # noqa: BLE001 - the reason must reach the operator
            self._end(f'an error in the recorder: {type(error).__name__}: {error}')
            self._salvage()

    def _write_until_end(self) -> None:
        while True:
            stopping = not self.active
            batch = self._queue.take()
            for entry in batch:
                self._writer.write(entry.topic, entry.log_ns, entry.publish_ns, entry.data)
            if not batch:
                if stopping and self._queue.close_if_empty():
                    return
                self._stop.wait(WAKE_S)
            self._writer.flush_if_due()
            self._watch_disk()

    def _watch_disk(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s < DISK_LOOK_S:
            return
        self._looked_s = now_s
        if (reason := self._full(self.path)) is not None:
            self._end(reason)

    def _full(self, path: Path) -> str | None:
        room = os.statvfs(path)
        free = room.f_bavail * room.f_frsize
        if free >= self._settings.keep_free_bytes:
            return None
        keep_mb = self._settings.keep_free_bytes / 1e6
        return f'the disk is full: {free / 1e6:.0f} MB free, {keep_mb:.0f} MB are kept free'

    def _refuse_full_disk(self, path: Path) -> None:
        folder = next(part for part in path.absolute().parents if part.is_dir())
        if (reason := self._full(folder)) is not None:
            raise BagError(path, reason)

    def _salvage(self) -> None:
        """Make what reached the disk readable."""
        try:
            self.info = self._writer.salvage(**self._last_changes())
        except (BagError, OSError) as error:
            self.error = str(error)

    def _last_changes(self) -> dict[str, Any]:
        changes = dict(self._changes)
        if self.ended_because:
            changes['ended_because'] = self.ended_because
        loss = {topic: dict(counts) for topic, counts in self._account.snapshot().items()}
        for topic, count in self._writer.counts.items():
            loss.setdefault(topic, {})['written'] = count
        if self.refused:
            changes['extra'] = {**self.info.extra, 'messages_after_the_end': self.refused}
        return {**changes, 'loss': loss}
