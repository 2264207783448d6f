"""The structure of an MCAP file: what its data section holds, and writing the end that makes it
whole.

Used by the recovery (a file whose writer was killed has no end) and by tagging (a new metadata
record goes before the end). Everything happens in place: the data section is never copied, and a
file whose new end was itself cut off is again a file without an end. Deliberately no ROS and no
opinion on the content. Format: https://mcap.dev/spec
"""

import contextlib
from dataclasses import dataclass, field
from io import BytesIO
import struct
from typing import BinaryIO
import zlib

import lz4.frame
from mcap.data_stream import ReadDataStream, RecordBuilder
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import (
    AttachmentIndex,
    Channel,
    Chunk,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)
import zstandard

MAGIC = b'\x89MCAP0\r\n'
HEADER_BYTES = 9  # opcode and length before every record
_PREFIX = struct.Struct('<BQ')
_MESSAGE = struct.Struct('<HIQ')  # channel, sequence, log time
_FOOTER_BYTES = HEADER_BYTES + 20 + len(MAGIC)
_DATA_END_BYTES = HEADER_BYTES + 4
# What the parsers raise on bytes that are not what they should be (UnicodeDecodeError included).
_UNREADABLE = (
    ValueError,
    RuntimeError,
    EOFError,
    MemoryError,
    OverflowError,
    struct.error,
    McapError,
    zstandard.ZstdError,
)
_LAST_KNOWN = 0x0F  # opcodes from 0x80 are private, those between are reserved


@dataclass
class Content:
    """What the data section holds. `end`: offset behind its last record that is kept."""

    end: int = 0
    torn_at: int = 0  # offset behind its last whole record
    whole: bool = False  # the file has a data end, a summary and a footer
    closed: bool = False  # the file has at least a data end
    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    chunks: list[ChunkIndex] = field(default_factory=list)
    attachments: list[AttachmentIndex] = field(default_factory=list)
    metadata: list[MetadataIndex] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)  # messages by channel
    start_ns: int = 0
    end_ns: int = 0
    damaged_chunks: int = 0  # whole by their length, but their content cannot be read
    last_messages: list[MessageIndex] = field(default_factory=list)  # of the last chunk

    @property
    def count(self) -> int:
        """Messages in all."""
        return sum(self.counts.values())

    def see(self, channel: int, log_times_ns: list[int]) -> None:
        """Count messages of one channel."""
        first_ns, last_ns = min(log_times_ns), max(log_times_ns)
        self.start_ns = min(self.start_ns, first_ns) if self.counts else first_ns
        self.end_ns = max(self.end_ns, last_ns) if self.counts else last_ns
        self.counts[channel] = self.counts.get(channel, 0) + len(log_times_ns)


def is_whole(stream: BinaryIO, size: int) -> bool:
    """Say whether the file has its end: a footer and the closing magic."""
    if size < len(MAGIC) + _FOOTER_BYTES:
        return False
    stream.seek(size - _FOOTER_BYTES)
    tail = stream.read(_FOOTER_BYTES)
    return tail.endswith(MAGIC) and _PREFIX.unpack_from(tail) == (Opcode.FOOTER, 20)


def empty_beginning() -> bytes:
    """Return the first bytes of a ROS 2 MCAP file."""
    out = RecordBuilder()
    out.write(MAGIC)
    Header(profile='ros2', library='vla_data').write(out)
    return out.end()


def begins_well(stream: BinaryIO) -> bool:
    """Say whether the file begins as an MCAP does."""
    stream.seek(0)
    return stream.read(len(MAGIC)) == MAGIC


def scan(stream: BinaryIO, size: int) -> Content:
    """Read the data section record by record, checking every chunk's checksum.

    Stops at the data end or before the first record that is not whole. One chunk is in memory at a
    time. The message indexes of the last chunk are left out of `end`: `write_end` makes them anew.
    """
    content = Content(end=len(MAGIC))
    position = behind_chunk = len(MAGIC)
    while (record := _next_record(stream, position, size)) is not None:
        opcode, length = record
        if opcode in (Opcode.DATA_END, Opcode.FOOTER):
            content.closed = True
            break
        if opcode == Opcode.MESSAGE_INDEX and content.chunks:
            _add_index(content.chunks[-1], position, stream.read(length))
        elif opcode == Opcode.CHUNK:
            if not _add_chunk(content, position, stream.read(length), position + length < size):
                break
            behind_chunk = position + HEADER_BYTES + length
        else:
            with contextlib.suppress(*_UNREADABLE):  # the chunks hold schemas and channels, too
                _add_record(content, opcode, position, stream.read(length))
            if opcode != Opcode.MESSAGE_INDEX:
                behind_chunk = position + HEADER_BYTES + length
                content.last_messages = []  # its indexes are whole: something came after them
        position += HEADER_BYTES + length
    if content.last_messages:
        content.chunks[-1].message_index_offsets = {}
        content.chunks[-1].message_index_length = 0
    content.torn_at = position
    content.end = behind_chunk if content.last_messages else position
    return content


def read_summary(stream: BinaryIO, size: int) -> Content | None:
    """Return the content as the file's own summary tells it; None when it has none that serves."""
    if not is_whole(stream, size):
        return None
    stream.seek(size - _FOOTER_BYTES + HEADER_BYTES)
    start, offsets, _ = struct.unpack('<QQI', stream.read(20))
    end = start - _DATA_END_BYTES
    if not len(MAGIC) < end < size or _next_record(stream, end, size) != (Opcode.DATA_END, 4):
        return None
    content, position, told = Content(end=end, whole=True, closed=True), start, False
    while position < size - _FOOTER_BYTES:
        record = _next_record(stream, position, size)
        if record is None:
            return None
        opcode, length = record
        data = stream.read(length)
        if opcode == Opcode.STATISTICS:
            _take_statistics(content, Statistics.read(_reader(data)))
            told = True
        else:
            _add_summary_record(content, opcode, data)
        position += HEADER_BYTES + length
    return content if told else None


def read_metadata(stream: BinaryIO, content: Content, name: str) -> dict[str, str]:
    """Return the newest metadata record of this name; empty when there is none."""
    for index in reversed(content.metadata):
        if index.name == name:
            stream.seek(index.offset + HEADER_BYTES)
            data = stream.read(index.length - HEADER_BYTES)
            with contextlib.suppress(*_UNREADABLE):
                return dict(Metadata.read(_reader(data)).metadata)
    return {}


def write_end(
    stream: BinaryIO, content: Content, metadata: dict[str, dict[str, str]]
) -> None:
    """Cut the file behind its last whole record and give it an end, with these metadata records.

    `stream` is open for reading and writing. OSError when the disk refuses; the data is untouched.
    """
    stream.seek(content.end)
    stream.truncate()
    out = RecordBuilder()
    if content.last_messages and content.chunks:
        _write_indexes(out, content)
    for name, values in metadata.items():
        offset = content.end + out.count
        Metadata(name=name, metadata=values).write(out)
        length = content.end + out.count - offset
        content.metadata.append(MetadataIndex(offset=offset, length=length, name=name))
    DataEnd(0).write(out)  # 0: no checksum over the whole data section; every chunk has its own
    summary_start = content.end + out.count
    summary, offsets_start = _summary(content, summary_start)
    footer = struct.pack('<BQQQ', Opcode.FOOTER, 20, summary_start, offsets_start)
    crc = zlib.crc32(footer, zlib.crc32(summary))
    out.write(summary)
    Footer(
        summary_start=summary_start, summary_offset_start=offsets_start, summary_crc=crc
    ).write(out)
    out.write(MAGIC)
    stream.write(out.end())
    stream.flush()


def _next_record(stream: BinaryIO, position: int, size: int) -> tuple[int, int] | None:
    """Return opcode and length of the record at `position`, None if it is not whole."""
    stream.seek(position)
    prefix = stream.read(HEADER_BYTES)
    if len(prefix) < HEADER_BYTES:
        return None
    opcode, length = _PREFIX.unpack(prefix)
    known = 0 < opcode <= _LAST_KNOWN or opcode >= 0x80
    return (opcode, length) if known and position + HEADER_BYTES + length <= size else None


def _reader(data: bytes) -> ReadDataStream:
    return ReadDataStream(BytesIO(data))


def _add_record(content: Content, opcode: int, position: int, data: bytes) -> None:
    """Take a record outside of chunks."""
    length = HEADER_BYTES + len(data)
    if opcode == Opcode.METADATA:
        name = Metadata.read(_reader(data)).name
        content.metadata.append(MetadataIndex(offset=position, length=length, name=name))
    elif opcode == Opcode.ATTACHMENT:
        content.attachments.append(_attachment_index(position, length, data))
    elif opcode == Opcode.MESSAGE:
        channel, _, log_ns = _MESSAGE.unpack_from(data)
        content.see(channel, [log_ns])
    else:
        _add_summary_record(content, opcode, data)


def _add_summary_record(content: Content, opcode: int, data: bytes) -> None:
    if opcode == Opcode.SCHEMA:
        schema = Schema.read(_reader(data))
        content.schemas[schema.id] = schema
    elif opcode == Opcode.CHANNEL:
        channel = Channel.read(_reader(data))
        content.channels[channel.id] = channel
    elif opcode == Opcode.CHUNK_INDEX:
        content.chunks.append(ChunkIndex.read(_reader(data)))
    elif opcode == Opcode.METADATA_INDEX:
        content.metadata.append(MetadataIndex.read(_reader(data)))
    elif opcode == Opcode.ATTACHMENT_INDEX:
        content.attachments.append(AttachmentIndex.read(_reader(data)))


def _take_statistics(content: Content, statistics: Statistics) -> None:
    content.counts = dict(statistics.channel_message_counts)
    content.start_ns = statistics.message_start_time
    content.end_ns = statistics.message_end_time


def _attachment_index(position: int, length: int, data: bytes) -> AttachmentIndex:
    from mcap.records import Attachment

    item = Attachment.read(_reader(data))
    return AttachmentIndex(
        offset=position,
        length=length,
        log_time=item.log_time,
        create_time=item.create_time,
        data_size=len(item.data),
        name=item.name,
        media_type=item.media_type,
    )


def _add_index(chunk: ChunkIndex, position: int, data: bytes) -> None:
    (channel,) = struct.unpack_from('<H', data)
    chunk.message_index_offsets[channel] = position
    chunk.message_index_length += HEADER_BYTES + len(data)


def _add_chunk(content: Content, position: int, data: bytes, more: bool) -> bool:
    """Take a chunk; False when it cannot be read and nothing comes after it: the torn tail.

    A damaged chunk with more behind it is left out of the index and counted.
    """
    content.last_messages = []
    try:
        chunk = Chunk.read(_reader(data))
        records = _uncompressed(chunk)
        messages = _walk(content, records)
    except _UNREADABLE:
        content.damaged_chunks += 1 if more else 0
        return more
    content.last_messages = messages
    content.chunks.append(
        ChunkIndex(
            chunk_start_offset=position,
            chunk_length=HEADER_BYTES + len(data),
            message_start_time=chunk.message_start_time,
            message_end_time=chunk.message_end_time,
            message_index_offsets={},
            message_index_length=0,
            compression=chunk.compression,
            compressed_size=len(chunk.data),
            uncompressed_size=chunk.uncompressed_size,
        )
    )
    return True


def _uncompressed(chunk: Chunk) -> bytes:
    """Return the chunk's records; ValueError when they are not what was written."""
    if chunk.compression == 'zstd':
        data = zstandard.ZstdDecompressor().decompress(
            chunk.data, max_output_size=chunk.uncompressed_size
        )
    elif chunk.compression == 'lz4':
        data = lz4.frame.decompress(chunk.data)
    else:
        data = chunk.data
    if len(data) != chunk.uncompressed_size:
        raise ValueError('the chunk has another size than it says')
    if chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc:
        raise ValueError('the chunk has another checksum than it says')
    return data


def _walk(content: Content, data: bytes) -> list[MessageIndex]:
    """Take schemas, channels and messages of a chunk; return its message indexes."""
    indexes: dict[int, MessageIndex] = {}
    position, size = 0, len(data)
    while position < size:
        opcode, length = _PREFIX.unpack_from(data, position)
        start = position + HEADER_BYTES
        if start + length > size:
            raise ValueError('a record reaches beyond its chunk')
        if opcode == Opcode.MESSAGE:
            channel, _, log_ns = _MESSAGE.unpack_from(data, start)
            index = indexes.get(channel)
            if index is None:
                index = indexes[channel] = MessageIndex(channel_id=channel, records=[])
            index.records.append((log_ns, position))
        else:
            _add_summary_record(content, opcode, data[start : start + length])
        position = start + length
    for index in indexes.values():
        content.see(index.channel_id, [log_ns for log_ns, _ in index.records])
    return list(indexes.values())


def _write_indexes(out: RecordBuilder, content: Content) -> None:
    chunk = content.chunks[-1]
    for index in content.last_messages:
        chunk.message_index_offsets[index.channel_id] = content.end + out.count
        index.write(out)
    chunk.message_index_length = out.count


def _summary(content: Content, start: int) -> tuple[bytes, int]:
    """Return the summary section and the file offset of its offsets."""
    out, groups = RecordBuilder(), []
    statistics = Statistics(
        attachment_count=len(content.attachments),
        channel_count=len(content.channels),
        channel_message_counts=content.counts,
        chunk_count=len(content.chunks),
        message_count=content.count,
        metadata_count=len(content.metadata),
        message_start_time=content.start_ns,
        message_end_time=content.end_ns,
        schema_count=len(content.schemas),
    )
    for opcode, records in (
        (Opcode.SCHEMA, content.schemas.values()),
        (Opcode.CHANNEL, content.channels.values()),
        (Opcode.STATISTICS, [statistics]),
        (Opcode.CHUNK_INDEX, content.chunks),
        (Opcode.ATTACHMENT_INDEX, content.attachments),
        (Opcode.METADATA_INDEX, content.metadata),
    ):
        begin = out.count
        for record in records:
            record.write(out)
        if out.count > begin:
            groups.append(SummaryOffset(opcode, start + begin, out.count - begin))
    offsets_start = start + out.count
    for group in groups:
        group.write(out)
    return out.end(), offsets_start
