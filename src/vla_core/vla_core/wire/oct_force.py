"""OCT/force sensor on the wire: UDP datagrams of 4120-byte records.

Record: f64 capture time, f64 send time (Unix s), f32 force, 1025 x f32 A-scan (depth profile).
Variant A: u32 N, then N records, N 1..15 (what fits a datagram). Variant B: one bare record. They
are told apart by length. Units are the sensor's own: the driver scales them. There is no sequence
number, so loss, reordering and duplication show only in the capture times (`ring.SampleRing`).
Values are deliberately not required to be finite here: one bad sample must not cost the other 14
of its datagram; the ring refuses and counts it.
"""

from dataclasses import dataclass
import struct

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import WireFormatError
from vla_core.wire.times import decode_times, encode_times

PROFILE_BINS = 1025
RECORD_BYTES = 4120
MAX_RECORDS = 15
_COUNT = struct.Struct('<I')
_RECORD = np.dtype(
    [('capture', '<f8'), ('send', '<f8'), ('force', '<f4'), ('profile', '<f4', (PROFILE_BINS,))]
)
assert _RECORD.itemsize == RECORD_BYTES


@dataclass(frozen=True, eq=False)
class SensorRecords:
    """The N records of one datagram, in the order of the datagram."""

    capture_ns: NDArray[np.int64]  # (N,)
    send_ns: NDArray[np.int64]  # (N,)
    force: NDArray[np.float32]  # (N,) sensor units
    profile: NDArray[np.float32]  # (N, 1025) sensor units

    def __len__(self) -> int:
        return len(self.capture_ns)


def encode_a(records: SensorRecords) -> bytes:
    """Return a variant A datagram; 'bad_count' unless 1..15 records, 'bad_shape', 'bad_time'."""
    count = len(records)
    if not 1 <= count <= MAX_RECORDS:
        raise WireFormatError('bad_count', f'{count} records; a datagram holds 1 to {MAX_RECORDS}')
    return _COUNT.pack(count) + _pack(records)


def encode_b(record: SensorRecords) -> bytes:
    """Return a variant B datagram of exactly one record; errors as `encode_a`."""
    if len(record) != 1:
        raise WireFormatError('bad_count', f'{len(record)} records; variant B holds exactly 1')
    return _pack(record)


def decode(datagram: bytes) -> SensorRecords:
    """Read a datagram of either variant; 'bad_length', 'bad_count' or 'bad_time'."""
    length = len(datagram)
    offset = 0 if length == RECORD_BYTES else _COUNT.size
    count, rest = divmod(length - offset, RECORD_BYTES)
    if rest or not 1 <= count <= MAX_RECORDS:
        raise WireFormatError('bad_length', f'datagram of {length} bytes is of no known variant')
    if offset and _COUNT.unpack_from(datagram)[0] != count:
        said = _COUNT.unpack_from(datagram)[0]
        raise WireFormatError('bad_count', f'datagram says {said} records and holds {count}')
    raw = np.frombuffer(datagram, _RECORD, count, offset)
    return SensorRecords(
        capture_ns=decode_times(raw['capture']),
        send_ns=decode_times(raw['send']),
        force=raw['force'].astype(np.float32),
        profile=np.ascontiguousarray(raw['profile'], np.float32),
    )


def _pack(records: SensorRecords) -> bytes:
    count = len(records)
    shapes = (records.send_ns.shape, records.force.shape, records.profile.shape)
    if shapes != ((count,), (count,), (count, PROFILE_BINS)):
        raise WireFormatError(
            'bad_shape', f'send, force, profile of shapes {shapes} for {count} records'
        )
    raw = np.empty(count, _RECORD)
    raw['capture'] = encode_times(records.capture_ns)
    raw['send'] = encode_times(records.send_ns)
    raw['force'] = records.force
    raw['profile'] = records.profile
    return raw.tobytes()
