"""Repair of episodes whose writer was killed, at the next command that opens or lists them.

Called by everything that opens an episode. What reached the disk is kept: the torn tail is cut,
summary and indexes are made anew from the chunks, metadata.yaml from both. Works in place and in
one pass; killed in the middle, it starts again. It deliberately never touches a bag that is being
written, nor one that is whole.
"""

from collections.abc import Callable
import contextlib
from dataclasses import dataclass, replace
import errno
import os
from pathlib import Path
import re
from typing import BinaryIO

import yaml

from vla_data.episode import EpisodeInfo, has_info, info_from_strings, RECORD
from vla_data.errors import BagError
from vla_data.recording import bag_metadata, mcap_file, state
from vla_data.recording.bag_metadata import FileCount, TopicCount
from vla_data.recording.mcap_file import Content
from vla_data.recording.outfile import lock, open_for_writing

KILLED = 'the recorder was killed'
# What a killed writer leaves behind its last whole record is less than one chunk, 1 MB here and 4
# in some presets of rosbag2. More means that something else happened to the file: then the tail is
# kept beside it.
TORN_LIMIT_BYTES = 8 * 1024 * 1024
_HASH_KEY = 'topic_type_hash'


class BagBusyError(BagError):
    """The bag is being recorded at this moment."""


@dataclass(frozen=True)
class Repair:
    """What was done to one bag."""

    path: Path
    messages: int
    seconds: float
    cut_bytes: int
    damaged_chunks: int

    def __str__(self) -> str:
        text = (
            f'{self.path}: was not closed ({KILLED}); repaired: {self.messages} messages, '
            f'{self.seconds:.1f} s are there'
        )
        if self.cut_bytes:
            text += f', a torn end of {self.cut_bytes} bytes was cut off'
        if self.damaged_chunks:
            text += f', {self.damaged_chunks} chunks inside are damaged and left out'
        return text


def repair(path: Path | str) -> Repair | None:
    """Make a bag folder readable that its writer left unfinished; None when nothing was to do.

    Raises BagBusyError while it is being written, BagError when there is nothing to save, or the
    place cannot be written. A folder without MCAP files (sqlite3, foreign) is left alone.
    """
    folder = Path(path)
    files = _files(folder)
    if not files or not needs_repair(folder, files):
        return None
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(_claimed(file)) for file in files]
        contents = [_look(file, stream) for file, stream in zip(files, streams)]
        _refuse_truncated(folder, contents)
        cut = sum(_mend(*each) for each in zip(files, streams, contents))
        custom = _custom(folder, streams[0], contents)
        contents = [
            content if content.whole else _end(stream, content, lambda content: custom)
            for stream, content in zip(streams, contents)
        ]
        _write_metadata(folder, files, contents, custom)
    counts = sum(content.count for content in contents)
    return Repair(
        folder,
        counts,
        _span_s(contents),
        cut,
        sum(content.damaged_chunks for content in contents),
    )


def needs_repair(folder: Path, files: list[Path]) -> bool:
    """Say whether the metadata or the end of a file is missing. Reads 37 bytes a file."""
    try:
        information = bag_metadata.read(folder)
    except BagError:
        return True
    if information is None or state.state_of(_custom_of(information)) == state.RECORDING:
        return True
    return not all(_is_whole(file) for file in files)


def finish(folder: Path, info: EpisodeInfo) -> EpisodeInfo:
    """Give the file of a writer that failed (disk full) its end, and close its metadata.

    When even the summary finds no room, the newest chunks make room for it. Returns the final
    info.
    """
    (file,) = _files(folder) or [None]
    if file is None:
        raise BagError(folder, 'holds nothing that could be saved')
    with _claimed(file) as stream:
        content = _look(file, stream)
        _mend(file, stream, content)

        def known(content: Content) -> dict[str, str]:
            ended_ns = info.ended_ns or content.end_ns
            told = replace(info, ended_ns=ended_ns, loss=_with_written(info, content))
            return state.with_state(told, state.FINISHED)

        content = _end(stream, content, known)
        custom = known(content)
        _write_metadata(folder, [file], [content], custom)
    return info_from_strings(custom)


def _files(folder: Path) -> list[Path]:
    """The MCAP files of a folder, in the order rosbag2 numbers them."""

    def number(path: Path) -> tuple[int, str]:
        match = re.search(r'_(\d+)\.mcap$', path.name)
        return (int(match.group(1)) if match else 0, path.name)

    try:
        return sorted(folder.glob('*.mcap'), key=number) if folder.is_dir() else []
    except OSError as error:
        raise BagError(folder, f'cannot be read ({error.strerror})') from error


def _is_whole(file: Path) -> bool:
    try:
        with file.open('rb') as stream:
            return mcap_file.is_whole(stream, os.fstat(stream.fileno()).st_size)
    except OSError as error:
        raise BagError(file, f'cannot be read ({error.strerror})') from error


@contextlib.contextmanager
def _claimed(file: Path):
    """The file, open for reading and writing, if nobody else writes it."""
    if open_for_writing(file):
        raise BagBusyError(file.parent, 'is being recorded now', 'stop the recording first')
    try:
        stream = file.open('r+b')
    except OSError as error:
        raise BagError(
            file,
            f'was not closed ({KILLED}) and cannot be repaired here ({error.strerror})',
            'copy the folder to a place that can be written',
        ) from error
    with stream:
        if not lock(stream.fileno()):
            raise BagBusyError(file.parent, 'is being recorded now', 'stop the recording first')
        yield stream


def _look(file: Path, stream: BinaryIO) -> Content:
    """Read what is there, without changing anything."""
    size = os.fstat(stream.fileno()).st_size
    content = mcap_file.read_summary(stream, size)
    if content is not None:
        return content
    if size >= len(mcap_file.MAGIC) and not mcap_file.begins_well(stream):
        raise BagError(file, 'is no MCAP file')
    content = mcap_file.scan(stream, size)
    if content.damaged_chunks and not content.chunks:
        raise BagError(file, 'is damaged: none of its chunks can be read')
    return content


def _refuse_truncated(folder: Path, contents: list[Content]) -> None:
    """A bag that was closed and has fewer messages than it had is no matter of a killed writer."""
    try:
        information = bag_metadata.read(folder)
    except BagError:
        return
    if information is None or state.state_of(_custom_of(information)) == state.RECORDING:
        return
    told, found = information.get('message_count', 0), sum(c.count for c in contents)
    if found < told:
        raise BagError(
            folder,
            f'is truncated: it was closed with {told} messages, {found} are there',
            'copy it again from where it was recorded; without metadata.yaml the rest is repaired',
        )


def _mend(file: Path, stream: BinaryIO, content: Content) -> int:
    """Prepare the file for its end; return how many bytes at its present end are of no use."""
    if content.whole:
        return 0
    size = os.fstat(stream.fileno()).st_size
    if content.end <= len(mcap_file.MAGIC):  # killed before its first record was whole
        stream.seek(0)
        stream.write(mcap_file.empty_beginning())
        content.end = stream.tell()
        return size
    cut = 0 if content.closed else size - content.torn_at
    if cut > TORN_LIMIT_BYTES:
        _keep_tail(file, stream, content.torn_at)
    return cut


def _keep_tail(file: Path, stream: BinaryIO, start: int) -> None:
    """Save what cannot be read, as it is more than a killed writer leaves."""
    stream.seek(start)
    try:
        with file.with_suffix('.mcap.unreadable').open('xb') as copy:
            while block := stream.read(1 << 20):
                copy.write(block)
    except OSError as error:
        raise BagError(
            file, f'is damaged at byte {start} and the rest cannot be saved ({error.strerror})'
        ) from error


def _end(
    stream: BinaryIO, content: Content, known: Callable[[Content], dict[str, str]]
) -> Content:
    """Write the end; when the disk is full, without the newest 1, 2, 4, ... chunks.

    `known` gives the custom data for what is left; returns that.
    """
    chunks, drop = [chunk.chunk_start_offset for chunk in content.chunks], 0
    while True:
        try:
            custom = known(content)
            mcap_file.write_end(stream, content, {RECORD: custom} if custom else {})
            os.fsync(stream.fileno())
        except OSError as error:
            drop = 2 * drop or 1
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or drop > len(chunks):
                raise BagError(
                    stream.name, f'cannot be given its end ({error.strerror})', 'make room'
                ) from error
            content = mcap_file.scan(stream, chunks[-drop])
        else:
            return content


def _custom(folder: Path, stream: BinaryIO, contents: list[Content]) -> dict[str, str]:
    """Return the custom data for a repaired bag: the newest that is known, with the new state."""
    try:
        told = _custom_of(bag_metadata.read(folder))
    except BagError:
        told = {}
    inside = mcap_file.read_metadata(stream, contents[0], RECORD)
    closed_inside = state.state_of(inside) == state.FINISHED
    if not has_info(told) or (state.state_of(told) == state.RECORDING and closed_inside):
        told = inside or told
    if not has_info(told) or state.state_of(told) != state.RECORDING:
        return told  # a bag of `ros2 bag`, or only its end was lost while it was tagged
    info = info_from_strings(told)
    ended_ns = max(content.end_ns for content in contents)
    info = replace(info, ended_ns=ended_ns or info.started_ns, ended_because=KILLED)
    info = replace(info, loss=_with_written(info, contents[0]))
    return state.with_state(info, state.RECOVERED)


def _with_written(info: EpisodeInfo, content: Content) -> dict[str, dict[str, int]]:
    """What was written is known from the file; what was received died with the recorder."""
    written = {
        channel.topic: content.counts.get(channel.id, 0) for channel in content.channels.values()
    }
    return {
        topic: {**info.loss.get(topic, {}), 'written': count} for topic, count in written.items()
    }


def _custom_of(information) -> dict[str, str]:
    return bag_metadata.custom_data(information)


def _write_metadata(
    folder: Path, files: list[Path], contents: list[Content], custom: dict[str, str]
) -> None:
    topics: dict[str, TopicCount] = {}
    for content in contents:
        for channel in content.channels.values():
            known = topics.get(channel.topic)
            count = content.counts.get(channel.id, 0) + (known.count if known else 0)
            schema = content.schemas.get(channel.schema_id)
            topics[channel.topic] = TopicCount(
                channel.topic,
                schema.name if schema else '',
                count,
                _profiles(channel.metadata.get('offered_qos_profiles', '')),
                channel.metadata.get(_HASH_KEY, ''),
            )
    counts = [
        FileCount(file.name, content.count, content.start_ns, content.end_ns)
        for file, content in zip(files, contents)
    ]
    try:
        bag_metadata.write(folder, bag_metadata.document(counts, list(topics.values()), custom))
    except OSError as error:
        raise BagError(
            folder / bag_metadata.FILE_NAME, f'cannot be written ({error.strerror})', 'make room'
        ) from error


def _profiles(text: str) -> list:
    try:
        profiles = yaml.safe_load(text) if text else []
    except yaml.YAMLError:
        return []
    return profiles if isinstance(profiles, list) else []


def _span_s(contents: list[Content]) -> float:
    filled = [content for content in contents if content.count]
    if not filled:
        return 0.0
    first_ns = min(content.start_ns for content in filled)
    return (max(content.end_ns for content in filled) - first_ns) / 1e9


def repair_and_say(path: Path | str, say: Callable[[str], None]) -> None:
    """Repair if needed and say so; a bag that is being recorded is an error."""
    done = repair(path)
    if done is not None:
        say(str(done))
