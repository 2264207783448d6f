"""The episodes of a folder: one line each, filtered by what is known about them.

Used by `vla episodes`. Only metadata.yaml is read (and 37 bytes of the data), so a thousand
episodes take seconds; an episode that was not closed is repaired on the way. A bag that cannot be
read is an entry with its fault, never a missing line. Deliberately reads no message.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vla_core.errors import VlaError
from vla_data.episode import EpisodeInfo, has_info, info_from_strings
from vla_data.errors import BagError
from vla_data.recording import bag_metadata, state
from vla_data.recovery import BagBusyError, repair

DEPTH = 4  # folders below the one that is given


@dataclass(frozen=True)
class Entry:
    """One bag. `fault` says why nothing else is known."""

    path: Path
    info: EpisodeInfo = field(default_factory=EpisodeInfo)
    state: str = ''  # recording, finished, recovered; '' for a bag of another program
    start_ns: int = 0
    seconds: float = 0.0
    messages: int = 0
    size_bytes: int = 0
    topics: dict[str, int] = field(default_factory=dict)
    fault: str = ''

    @property
    def lost(self) -> int:
        """Messages lost by counters, all topics; stamps only give an estimate and do not count."""
        kinds = ('lost_transport', 'lost_counter')
        return sum(
            max((counts.get(kind, 0) for kind in kinds), default=0)
            for counts in self.info.loss.values()
        )


def find(root: Path) -> list[Path]:
    """Return the bag folders at and below `root`, sorted by name. VlaError if there is none."""
    if not root.is_dir():
        raise VlaError(f'{root}: no such folder')
    found, level = [], [root]
    for _ in range(DEPTH + 1):
        deeper: list[Path] = []
        for folder in level:
            if _is_bag(folder):
                found.append(folder)
            else:
                deeper += _folders(folder)
        level = deeper
    return sorted(found)


def load(path: Path, say: Callable[[str], None] = lambda text: None) -> Entry:
    """Read one entry; `say` hears of a repair."""
    busy = False
    try:
        done = repair(path)
        if done is not None:
            say(str(done))
    except BagBusyError:
        busy = True
    except BagError as error:
        return Entry(path, fault=error.fault, size_bytes=_size(path))
    try:
        return _entry(path, bag_metadata.read(path), busy)
    except VlaError as error:
        fault = error.fault if isinstance(error, BagError) else str(error)
        return Entry(path, fault=fault, size_bytes=_size(path))


@dataclass(frozen=True)
class Filter:
    """What an episode must be; what is not given does not matter."""

    task: str = ''  # a part of it, any case
    operator: str = ''
    outcomes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()  # all of them
    without_tags: tuple[str, ...] = ()  # none of them
    min_seconds: float = 0.0
    lossless: bool = False
    since_ns: int = 0
    until_ns: int = 0

    def matches(self, entry: Entry) -> bool:
        """Say whether the entry is wanted; one that cannot be read or is being recorded never."""
        info = entry.info
        return (
            not entry.fault
            and entry.state != state.RECORDING
            and self.task.lower() in info.task.lower()
            and self.operator.lower() in info.operator.lower()
            and (not self.outcomes or info.outcome in self.outcomes)
            and set(self.tags) <= set(info.tags)
            and not set(self.without_tags) & set(info.tags)
            and entry.seconds >= self.min_seconds
            and not (self.lossless and entry.lost)
            and entry.start_ns >= self.since_ns
            and (not self.until_ns or entry.start_ns < self.until_ns)
        )


def chosen(entries: Iterable[Entry], wanted: Filter) -> list[Entry]:
    """Return the entries that match."""
    return [entry for entry in entries if wanted.matches(entry)]


def _entry(path: Path, information: dict[str, Any] | None, busy: bool) -> Entry:
    if information is None:
        return Entry(path, fault='has no metadata.yaml; `ros2 bag reindex` makes one')
    custom = bag_metadata.custom_data(information)
    info = info_from_strings(custom) if has_info(custom) else EpisodeInfo()
    try:
        topics = {
            topic['topic_metadata']['name']: int(topic['message_count'])
            for topic in information.get('topics_with_message_count') or []
        }
        start_ns = int(information['starting_time']['nanoseconds_since_epoch'])
        seconds = int(information['duration']['nanoseconds']) / 1e9
        messages = int(information['message_count'])
    except (KeyError, TypeError, ValueError) as error:
        raise BagError(path / bag_metadata.FILE_NAME, f'lacks {error}') from error
    return Entry(
        path,
        info,
        state.RECORDING if busy else state.state_of(custom),
        info.started_ns or start_ns,
        seconds,
        messages,
        _size(path),
        topics,
    )


def _is_bag(folder: Path) -> bool:
    try:
        return (folder / bag_metadata.FILE_NAME).is_file() or any(
            path.suffix in ('.mcap', '.db3') for path in folder.iterdir()
        )
    except OSError:
        return False


def _folders(folder: Path) -> list[Path]:
    try:
        return [
            path
            for path in folder.iterdir()
            if path.is_dir() and not path.is_symlink() and not path.name.startswith('.')
        ]
    except OSError:
        return []


def _size(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    except OSError:
        return 0
