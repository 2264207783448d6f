"""Camera frame on the wire: a ZMQ message of two parts, a JSON header and a baseline JPEG.

Header `{"camera": str, "timestamp": float Unix s, "size": int}`; older senders add `send_time`.
The JPEG is passed through untouched: deliberately not decoded here, only its first and last marker
are looked at, which finds the truncated ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import json

from vla_core.errors import WireFormatError
from vla_core.wire.times import decode_time, encode_time

MAX_HEADER_BYTES = 4096
MAX_JPEG_BYTES = (
    32 * 1024 * 1024
)  # far above a 4K frame; bounds what a foreign sender can make us hold
_SOI = b'\xff\xd8\xff'
_EOI = b'\xff\xd9'


@dataclass(frozen=True)
class CameraFrame:
    """One JPEG image of one camera."""

    camera: str  # the sender's name for it, such as 'ZED_41182735_left'
    stamp_ns: int  # acquisition time
    send_ns: int | None  # only older senders give it
    jpeg: bytes


def encode(frame: CameraFrame) -> list[bytes]:
    """Return header and JPEG; WireFormatError for what `decode` would refuse."""
    header = {
        'camera': _camera(frame.camera),
        'timestamp': encode_time(frame.stamp_ns),
        'size': len(frame.jpeg),
    }
    if frame.send_ns is not None:
        header['send_time'] = encode_time(frame.send_ns)
    _check_jpeg(frame.jpeg)
    return [json.dumps(header).encode(), bytes(frame.jpeg)]


def decode(parts: Sequence[bytes]) -> CameraFrame:
    """Read the two parts.

    WireFormatError kinds: 'bad_parts', 'bad_header', 'bad_time', 'bad_size', 'bad_jpeg',
    'too_large'.
    """
    if len(parts) != 2:
        raise WireFormatError('bad_parts', f'camera message of {len(parts)} parts, not 2')
    header, jpeg = _header(parts[0]), bytes(parts[1])
    size = header.get('size')
    if type(size) is not int:
        raise WireFormatError('bad_header', f'"size" must be a whole number, not {size!r:.40}')
    if size != len(jpeg):
        raise WireFormatError('bad_size', f'header says {size} bytes, the JPEG has {len(jpeg)}')
    _check_jpeg(jpeg)
    send_ns = _time(header, 'send_time') if header.get('send_time') is not None else None
    return CameraFrame(_camera(header.get('camera')), _time(header, 'timestamp'), send_ns, jpeg)


def _header(data: bytes) -> dict[str, object]:
    if len(data) > MAX_HEADER_BYTES:
        raise WireFormatError('too_large', f'camera header of {len(data)} bytes')
    try:
        header = json.loads(bytes(data).decode('utf-8'))
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or nested to exhaust the stack
        raise WireFormatError('bad_header', 'camera header is not UTF-8 JSON') from None
    if not isinstance(header, dict):
        raise WireFormatError('bad_header', 'camera header is not a JSON object')
    return header


def _camera(name: object) -> str:
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 128:
        raise WireFormatError('bad_header', f'"camera" must be a printable name, not {name!r:.40}')
    return name


def _time(header: dict[str, object], key: str) -> int:
    value = header.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WireFormatError('bad_header', f'"{key}" must be a number, not {value!r:.40}')
    return decode_time(value)


def _check_jpeg(jpeg: bytes) -> None:
    if len(jpeg) > MAX_JPEG_BYTES:
        raise WireFormatError('too_large', f'JPEG of {len(jpeg)} bytes')
    # Hardware encoders pad to their word size, so zeros may follow the end marker.
    if not jpeg.startswith(_SOI) or not jpeg[-16:].rstrip(b'\0').endswith(_EOI):
        raise WireFormatError('bad_jpeg', 'image does not begin and end as a JPEG does')
