"""The storage files of a bag behind the `rosbags` library: what the library does not tell.

Called by `bag_reader` only. Finds a topic's first and last message through the file's own index,
without reading messages, and the MCAP metadata record. Deliberately decodes nothing.
"""

from pathlib import Path
import struct
from typing import Any

from mcap.reader import make_reader

from vla_data.episode import RECORD

_INDEX_HEAD = struct.Struct('<BQHI')  # opcode, record length, channel, bytes of entries
_ENTRY = struct.Struct('<QQ')  # log time, offset in the chunk
_MESSAGE_INDEX = 0x07


def topic_span(storage: Any, connections: list[Any]) -> tuple[int, int] | None:
    """Log times (first, last) ns of the messages of `connections` in one storage; None without
    any.
    """
    if hasattr(storage, 'dbconn'):
        return _sqlite_span(storage, connections)
    if not storage.chunks:  # an MCAP file without index: it has to be read
        times = [time_ns for _, time_ns, _ in storage.messages(connections)]
        return (min(times), max(times)) if times else None
    spans = [span for item in connections if (span := _mcap_span(storage, item.id))]
    return (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None


def metadata_record(path: Path) -> dict[str, str]:
    """Return the episode's map of an MCAP file, the last written one; {} when there is none."""
    found: dict[str, str] = {}
    with path.open('rb') as file:
        for record in make_reader(file).iter_metadata():
            if record.name == RECORD:
                found = dict(record.metadata)
    return found


def _sqlite_span(storage: Any, connections: list[Any]) -> tuple[int, int] | None:
    marks = ', '.join('?' for _ in connections)
    query = f'SELECT MIN(timestamp), MAX(timestamp) FROM messages WHERE topic_id IN ({marks})'
    row = storage.dbconn.cursor().execute(query, [item.id for item in connections]).fetchone()
    return None if row is None or row[0] is None else (row[0], row[1])


def _mcap_span(storage: Any, channel: int) -> tuple[int, int] | None:
    chunks = [chunk for chunk in storage.chunks if chunk.channel_count.get(channel)]
    if not chunks:
        return None
    first_ns, last_ns = 2**63, -1
    for chunk in sorted(chunks, key=lambda item: item.message_start_time):
        if chunk.message_start_time >= first_ns:
            break
        first_ns = min(first_ns, min(_index_times(storage, chunk, channel)))
    for chunk in sorted(chunks, key=lambda item: -item.message_end_time):
        if chunk.message_end_time <= last_ns:
            break
        last_ns = max(last_ns, max(_index_times(storage, chunk, channel)))
    return first_ns, last_ns


def _index_times(storage: Any, chunk: Any, channel: int) -> list[int]:
    storage.bio.seek(chunk.message_index_offsets[channel])
    opcode, _, owner, size = _INDEX_HEAD.unpack(storage.bio.read(_INDEX_HEAD.size))
    if opcode != _MESSAGE_INDEX or owner != channel:
        raise ValueError(f'no message index of channel {channel} where the summary says')
    return [time_ns for time_ns, _ in _ENTRY.iter_unpack(storage.bio.read(size))]
