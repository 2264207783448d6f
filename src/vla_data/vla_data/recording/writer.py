"""One episode on disk: a rosbag2 folder with one MCAP file, written from serialized messages.

Used by the recorder's writing thread, the importer and headless generation. Chunks (zstd) are
closed at least twice a second, so that a killed process loses less than a second; the metadata is
there from the start, marked as unfinished. Deliberately no thread, no queue and no opinion about
what is recorded.
"""

from dataclasses import dataclass, replace
from pathlib import Path
import time
from typing import Any

from mcap.data_stream import RecordBuilder
from mcap.records import Channel, Schema
from mcap.writer import CompressionType, Writer

from vla_core.errors import VlaError
from vla_data.episode import EpisodeInfo, RECORD
from vla_data.errors import BagError
from vla_data.recording import bag_metadata, state
from vla_data.recording.bag_metadata import FileCount, TopicCount
from vla_data.recording.outfile import OutFile
from vla_data.recording.qos import profiles_text, Qos
from vla_data.types import make_typestore

LIBRARY = 'vla_data'
ROSBAG2_RECORD = 'rosbag2'  # rosbag2 keeps a copy of its metadata in the file under this name
HASH_KEY = 'topic_type_hash'  # of a channel's metadata, as rosbag2_storage_mcap writes it


class DiskError(BagError):
    """The disk refused to take more; what was written before can be saved by `salvage`."""


@dataclass(frozen=True)
class WriterSettings:
    """`flush_s` and `chunk_bytes`: a chunk is closed at the earlier of the two."""

    flush_s: float = 0.5
    chunk_bytes: int = 1024 * 1024  # what a reader must uncompress to get at one message
    sync_s: float = 5.0  # what a power failure may cost


@dataclass
class _Topic:
    channel: int
    type: str
    qos: Qos
    type_hash: str
    count: int = 0


class EpisodeWriter:
    """Writes one episode. One thread calls everything. A context manager closes it.

    Raises BagError when the folder exists already, DiskError when the disk refuses.
    """

    def __init__(
        self, path: Path | str, info: EpisodeInfo, settings: WriterSettings | None = None
    ) -> None:
        self.path = Path(path)
        self.info = info
        self._settings = settings or WriterSettings()
        self._store: Any = None
        self._topics: dict[str, _Topic] = {}
        self._schemas: dict[str, tuple[int, str]] = {}
        self._start_ns = self._end_ns = 0
        self._open = False
        self._begin()

    @property
    def file_path(self) -> Path:
        """The MCAP file."""
        return self.path / f'{self.path.name}_0.mcap'

    @property
    def bytes_written(self) -> int:
        """Size of the file so far; what waits in the open chunk does not count."""
        return self._file.tell()

    @property
    def counts(self) -> dict[str, int]:
        """Messages written by topic."""
        return {name: topic.count for name, topic in self._topics.items()}

    def add_topic(self, name: str, type_name: str, qos: Qos | None = None) -> None:
        """Announce a topic. type_name: 'sensor_msgs/msg/JointState'. Again the same: nothing."""
        known = self._topics.get(name)
        if known is not None:
            if known.type != type_name:
                raise VlaError(f'{name}: already recorded as {known.type}, not {type_name}')
            return
        schema, type_hash = self._schema(type_name)
        qos = qos or Qos()
        metadata = {'offered_qos_profiles': profiles_text([qos]), HASH_KEY: type_hash}
        channel = self._writer.register_channel(name, 'cdr', schema, metadata)
        self._repeat(Channel(channel, name, 'cdr', metadata, schema))
        self._topics[name] = _Topic(channel, type_name, qos, type_hash)

    def write(self, topic: str, log_ns: int, publish_ns: int, data: bytes) -> None:
        """Add one serialized message. Any order of times is allowed; sorted ones read fastest."""
        entry = self._topics[topic]
        try:
            self._writer.add_message(entry.channel, log_ns, data, publish_ns, entry.count)
        except OSError as error:
            raise self._disk_error(error) from error
        self._start_ns = min(self._start_ns, log_ns) if self._start_ns else log_ns
        self._end_ns = max(self._end_ns, log_ns)
        entry.count += 1
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Close the chunk when it has been open for `flush_s`; also to be called in silence."""
        if time.monotonic() - self._flushed_s >= self._settings.flush_s:
            self.flush()

    def flush(self) -> None:
        """Close the chunk and hand it to the kernel."""
        self._flushed_s = time.monotonic()
        try:
            self._writer.flush()
        except OSError as error:
            raise self._disk_error(error) from error

    def close(self, **changes: Any) -> EpisodeInfo:
        """Write the end; `changes` are fields of EpisodeInfo (outcome, notes, loss, ...).

        Returns the final info. DiskError: call `salvage`.
        """
        info = replace(self.info, **changes)
        self.info = replace(info, ended_ns=info.ended_ns or self._end_ns or time.time_ns())
        custom = state.with_state(self.info, state.FINISHED)
        content = self._document(custom)
        text = bag_metadata.to_text(content[bag_metadata.INFORMATION])
        try:
            self._writer.flush()
            self._writer.add_metadata(RECORD, custom)
            self._writer.add_metadata(ROSBAG2_RECORD, {'serialized_metadata': text})
            self._writer.finish()
            self._file.sync()
            bag_metadata.write(self.path, content)
        except OSError as error:
            raise self._disk_error(error) from error
        self._file.close()
        self._open = False
        return self.info

    def salvage(self, **changes: Any) -> EpisodeInfo:
        """After a DiskError: give what reached the disk a proper end. BagError when even that is
        refused; the next command that opens the episode then tries again.
        """
        from vla_data.recovery import finish  # it imports this module's names

        self._file.close()
        self._open = False
        self.info = replace(self.info, **changes)
        self.info = finish(self.path, self.info)
        return self.info

    def __enter__(self) -> 'EpisodeWriter':
        return self

    def __exit__(self, kind, error, trace) -> None:
        if self._open and kind is None:
            self.close()
        elif self._open:
            self.salvage(ended_because=f'an error in the writing program: {kind.__name__}')

    def _begin(self) -> None:
        custom = state.with_state(self.info, state.RECORDING)
        try:
            self.path.mkdir(parents=True)
        except FileExistsError:
            raise BagError(self.path, 'exists already', 'choose another name') from None
        except OSError as error:
            raise self._disk_error(error) from error
        try:
            self._file = OutFile(self.file_path, self._settings.sync_s)
            self._writer = Writer(
                self._file, self._settings.chunk_bytes, CompressionType.ZSTD
            )
            self._writer.start('ros2', LIBRARY)
            self._writer.add_metadata(RECORD, custom)
            bag_metadata.write(self.path, self._document(custom))
        except OSError as error:
            raise self._disk_error(error) from error
        self._flushed_s = time.monotonic()
        self._open = True

    def _schema(self, type_name: str) -> tuple[int, str]:
        if type_name not in self._schemas:
            self._store = self._store or make_typestore()
            try:
                text, _ = self._store.generate_msgdef(type_name, ros_version=2)
                type_hash = self._store.hash_rihs01(type_name)
            except Exception as error:  # noqa: BLE001 - rosbags raises several kinds
                raise VlaError(
                    f'the message type {type_name} is not known: neither of ROS 2 Jazzy nor of '
                    'this suite'
                ) from error
            schema = self._writer.register_schema(type_name, 'ros2msg', text.encode())
            self._repeat(Schema(schema, text.encode(), 'ros2msg', type_name))
            self._schemas[type_name] = (schema, type_hash)
        return self._schemas[type_name]

    def _repeat(self, record: Channel | Schema) -> None:
        """Write a description outside of the chunks as well: mcap's writer puts it into the first
        one only, and with that chunk damaged no message could be read.
        """
        out = RecordBuilder()
        record.write(out)
        try:
            self._file.write(out.end())
        except OSError as error:
            raise self._disk_error(error) from error

    def _document(self, custom: dict[str, str]) -> dict[str, Any]:
        topics = [
            TopicCount(name, topic.type, topic.count, [topic.qos.to_rosbag2()], topic.type_hash)
            for name, topic in self._topics.items()
        ]
        count = sum(topic.count for topic in self._topics.values())
        file = FileCount(self.file_path.name, count, self._start_ns, self._end_ns)
        return bag_metadata.document([file], topics, custom)

    def _disk_error(self, error: OSError) -> DiskError:
        return DiskError(self.path, f'cannot be written: {error.strerror or error}')
