"""Open any rosbag2 recording and read its messages, in the order they were logged.

Called by samples, replay, quality checks and exports. Takes folders of ours and of `ros2 bag
record`, MCAP or sqlite3, compressed or not, and single .mcap and .db3 files. Whatever is wrong
with a bag is one BagError that names the file and the fault. Deliberately aligns nothing: log
times only order the file, the messages' own stamps are the business of `samples`.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
import os
from os import PathLike
from pathlib import Path
from typing import Any

from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag2 import Reader
import zstandard

from vla_core.errors import did_you_mean, VlaError
from vla_data.bag_files import check_path
from vla_data.bag_storage import metadata_record, topic_span
from vla_data.episode import EpisodeInfo, has_info, info_from_strings
from vla_data.errors import BagError
from vla_data.recovery import BagBusyError, Repair, repair
from vla_data.types import make_typestore


@dataclass(frozen=True)
class TopicInfo:
    """One topic of a bag. Times are log times, Unix ns, both 0 without messages."""

    type: str
    count: int
    first_ns: int
    last_ns: int


def open_bag(path: str | PathLike[str]) -> 'Bag':
    """Open a bag; BagError names the file and what is wrong with it, also when it is empty.

    A bag whose writer was killed is repaired first; `repaired` of the result says what was done.
    """
    folder = Path(path)
    try:
        repaired = repair(folder)
    except BagBusyError:
        raise
    except BagError:
        check_path(folder)  # where this finds a fault, it says it in plainer words
        raise
    bag = Bag(folder)
    bag.repaired = repaired
    return bag


class Bag:
    """An open bag; also a context manager. One thread at a time.

    May be handed to other processes, forked or pickled: each opens the files anew. Nothing is held
    in memory but the file's index and the chunk being read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repaired: Repair | None = None
        check_path(path)
        with self._faults():
            self._open()
        if not self._reader.message_count:
            self.close()
            raise BagError(path, 'holds no messages')
        self._check_counts()
        self.custom: Mapping[str, str] = self._custom()
        try:
            self.info: EpisodeInfo = info_from_strings(self.custom)
        except VlaError as error:
            raise BagError(path, str(error)) from error
        self.topics: dict[str, TopicInfo] = {}
        with self._faults():
            self._typestore = self._make_typestore()
            self._list_topics()

    @property
    def start_ns(self) -> int:
        """Log time of the first message."""
        return min(topic.first_ns for topic in self.topics.values() if topic.count)

    @property
    def last_ns(self) -> int:
        """Log time of the last message."""
        return max(topic.last_ns for topic in self.topics.values() if topic.count)

    def find(self, topic: str) -> str | None:
        """Name in this bag of a relative topic, whatever namespace it was recorded in.

        None when it is not there; BagError when several namespaces have it.
        """
        wanted = topic.strip('/')
        exact = [name for name in self.topics if name.strip('/') == wanted]
        ending = exact or [name for name in self.topics if name.endswith(f'/{wanted}')]
        if len(ending) > 1:
            raise BagError(self.path, f'{topic} is there {len(ending)} times: {", ".join(ending)}')
        return ending[0] if ending else None

    def messages(
        self,
        topics: Iterable[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[tuple[str, int, Any]]:
        """Yield (topic, log time ns, decoded message), start <= log time < stop, lazily.

        `topics` are names as in `self.topics`, None for all. BagError when a message cannot be
        read or decoded.
        """
        for topic, log_ns, data in self.raw(topics, start_ns, stop_ns):
            yield topic, log_ns, self.decode(topic, data)

    def raw(
        self,
        topics: Iterable[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[tuple[str, int, bytes]]:
        """Yield what `messages` does with the serialised (CDR) bytes instead of the message."""
        wanted = set(self.topics if topics is None else topics)
        for name in wanted - set(self.topics):
            raise BagError(self.path, f'has no topic {name}{did_you_mean(name, self.topics)}')
        self._reopen_in_new_process()
        with self._faults():
            for storage in self._storages:
                mine = [item for item in storage.connections if item.topic in wanted]
                if not mine:
                    continue
                for item, log_ns, data in storage.messages(mine, start_ns, stop_ns):
                    yield item.topic, log_ns, self._inflate(data)

    def decode(self, topic: str, data: bytes) -> Any:
        """Return the message of serialised bytes; BagError when they do not fit the type."""
        kind = self.topics[topic].type
        if kind not in self._typestore.fielddefs:
            raise BagError(self.path, f'{topic}: nobody defines the type {kind}')
        try:
            # A view, because the library cuts four bytes off by copying the rest.
            return self._typestore.deserialize_cdr(memoryview(data), kind)
        except Exception as error:  # noqa: BLE001 - generated code raises whatever the bytes cause
            text = _one_line(error)
            raise BagError(self.path, f'{topic}: a message is not a {kind} ({text})') from error

    def knows(self, topic: str) -> bool:
        """Say whether messages of the topic can be decoded."""
        return self.topics[topic].type in self._typestore.fielddefs

    def close(self) -> None:
        """Close the files."""
        if self._reader.is_open:
            self._reader.close()

    def __enter__(self) -> 'Bag':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return Bag, (self.path,)

    def _open(self) -> None:
        self._pid = os.getpid()
        self._reader = Reader(self.path)
        self._reader.open()
        inner = self._reader.storage
        self._storages: list[Any] = getattr(inner, 'storages', [inner])
        self._by_message = self._reader.compression_mode == 'message'

    def _reopen_in_new_process(self) -> None:
        # A forked process shares the position in the parent's open files.
        if self._pid != os.getpid():
            with self._faults():
                self._open()

    def _inflate(self, data: bytes) -> bytes:
        if not self._by_message:
            return data
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)

    def _check_counts(self) -> None:
        """Compare what metadata.yaml tells with what the storage files hold."""
        if self._storages == [self._reader.storage]:
            return
        held: dict[str, int] = {}
        for storage in self._storages:
            for item in storage.connections:
                held[item.topic] = held.get(item.topic, 0) + item.msgcount
        told: dict[str, int] = {}
        for item in self._reader.connections:
            told[item.topic] = told.get(item.topic, 0) + item.msgcount
        for topic, count in told.items():
            if held.get(topic, 0) < count:
                text = f'{topic}: {held.get(topic, 0)} of the {count} messages that metadata.yaml'
                raise BagError(self.path, f'{text} tells of are there')

    def _custom(self) -> Mapping[str, str]:
        custom = getattr(self._reader.storage.metadata, 'custom', None) or {}
        if has_info(custom):
            return custom
        for storage in self._storages:
            if str(storage.path).endswith('.mcap'):
                with self._faults():
                    custom = {**custom, **metadata_record(Path(storage.path))}
        return custom

    def _make_typestore(self) -> Any:
        brought = {
            item.msgtype: item.msgdef.data
            for storage in self._storages
            for item in storage.connections
            if item.msgdef.format == MessageDefinitionFormat.MSG
        }
        return make_typestore(brought.items())

    def _list_topics(self) -> None:
        names = {item.topic for storage in self._storages for item in storage.connections}
        for name in sorted(names):
            spans, count, kinds = [], 0, set()
            for storage in self._storages:
                mine = [item for item in storage.connections if item.topic == name]
                count += sum(item.msgcount for item in mine)
                kinds |= {item.msgtype for item in mine}
                if mine and (span := topic_span(storage, mine)):
                    spans.append(span)
            if len(kinds) > 1:
                raise BagError(self.path, f'{name} has several types: {", ".join(sorted(kinds))}')
            first_ns = min((first for first, _ in spans), default=0)
            last_ns = max((last for _, last in spans), default=0)
            self.topics[name] = TopicInfo(kinds.pop(), count, first_ns, last_ns)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (VlaError, GeneratorExit):
            raise
        except Exception as error:  # noqa: BLE001 - zstd, lz4, struct, SQLite: each raises its own
            raise BagError(self.path, f'is damaged: {_one_line(error)}') from error


def _one_line(error: BaseException) -> str:
    text = ' '.join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + '...'
