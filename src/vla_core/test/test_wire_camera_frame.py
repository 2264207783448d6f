"""Camera frames on the wire: golden bytes, both directions, everything malformed."""

import json

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_core.errors import WireFormatError
from vla_core.wire import camera_frame
from vla_core.wire.camera_frame import CameraFrame

JPEG = bytes.fromhex('ffd8ffe000104a464946 0001 ffd9')
GOLDEN = [
    b'{"camera": "ZED_41182735_left", "timestamp": 1700000000.25, "size": 14}',
    JPEG,
]
GOLDEN_OLD_SENDER = [
    b'{"camera": "oak_CAM_A", "timestamp": 1700000000.25, "size": 14, "send_time": 1700000000.5}',
    JPEG,
]


def header(**changes):
    fields = {'camera': 'OAK', 'timestamp': 1700000000.25, 'size': len(JPEG), **changes}
    return json.dumps({key: value for key, value in fields.items() if value != 'absent'}).encode()


def kind_of(parts):
    with pytest.raises(WireFormatError) as caught:
        camera_frame.decode(parts)
    return caught.value.kind


def test_golden_bytes_of_new_and_old_senders_decode():
    assert camera_frame.decode(GOLDEN) == CameraFrame(
        'ZED_41182735_left', 1_700_000_000_250_000_000, None, JPEG
    )
    old = camera_frame.decode(GOLDEN_OLD_SENDER)
    assert (old.camera, old.send_ns) == ('oak_CAM_A', 1_700_000_000_500_000_000)


def test_encoding_gives_the_golden_bytes():
    stamp_ns, send_ns = 1_700_000_000_250_000_000, 1_700_000_000_500_000_000
    assert camera_frame.encode(CameraFrame('ZED_41182735_left', stamp_ns, None, JPEG)) == GOLDEN
    assert (
        camera_frame.encode(CameraFrame('oak_CAM_A', stamp_ns, send_ns, JPEG)) == GOLDEN_OLD_SENDER
    )


def test_jpeg_passes_through_untouched_padding_included():
    padded = JPEG + b'\0\0\0'
    frame = camera_frame.decode([header(size=len(padded)), padded])
    assert frame.jpeg == padded


MICROS = st.integers(946_684_800_000_000, 4_102_444_799_000_000)
NAMES = st.text(min_size=1, max_size=60).filter(str.isprintable)


@given(NAMES, MICROS, st.none() | MICROS, st.binary(max_size=300))
def test_what_is_encoded_is_decoded_again(name, stamp_us, send_us, body):
    frame = CameraFrame(
        name,
        stamp_us * 1000,
        None if send_us is None else send_us * 1000,
        b'\xff\xd8\xff' + body + b'\xff\xd9',
    )
    try:
        parts = camera_frame.encode(frame)
    except UnicodeEncodeError:  # a lone surrogate is not text that JSON on the wire could carry
        raise AssertionError('encode must raise WireFormatError only') from None
    assert camera_frame.decode(parts) == frame


@pytest.mark.parametrize(
    'parts, kind',
    [
        ([], 'bad_parts'),
        ([header()], 'bad_parts'),
        ([header(), JPEG, b''], 'bad_parts'),
        ([b'', JPEG], 'bad_header'),
        ([b'\xff\xfe', JPEG], 'bad_header'),
        ([b'[1, 2]', JPEG], 'bad_header'),
        ([b'{"camera": ', JPEG], 'bad_header'),
        ([b'[' * 4000, JPEG], 'bad_header'),
        ([b' ' * 5000, JPEG], 'too_large'),
        ([header(camera='absent'), JPEG], 'bad_header'),
        ([header(camera=5), JPEG], 'bad_header'),
        ([header(camera=''), JPEG], 'bad_header'),
        ([header(camera='a\nb'), JPEG], 'bad_header'),
        ([header(camera='x' * 129), JPEG], 'bad_header'),
        ([header(size='absent'), JPEG], 'bad_header'),
        ([header(size=14.0), JPEG], 'bad_header'),
        ([header(size=True), JPEG], 'bad_header'),
        ([header(size=13), JPEG], 'bad_size'),
        ([header(size=-1), JPEG], 'bad_size'),
        ([header(timestamp='absent'), JPEG], 'bad_header'),
        ([header(timestamp='1700000000'), JPEG], 'bad_header'),
        ([header(timestamp=True), JPEG], 'bad_header'),
        ([header(timestamp=float('nan')), JPEG], 'bad_time'),
        ([header(timestamp=float('-inf')), JPEG], 'bad_time'),
        ([header(timestamp=-5), JPEG], 'bad_time'),
        ([header(timestamp=10**400), JPEG], 'bad_time'),
        ([header(timestamp=1700000000250), JPEG], 'bad_time'),  # milliseconds
        ([header(send_time='now'), JPEG], 'bad_header'),
        ([header(send_time=1e300), JPEG], 'bad_time'),
        ([header(size=0), b''], 'bad_jpeg'),
        ([header(size=12), JPEG[:12]], 'bad_jpeg'),  # truncated
        ([header(size=12), JPEG[2:]], 'bad_jpeg'),
        ([header(size=14), b'\x89PNG\r\n\x1a\n' + b'\0' * 6], 'bad_jpeg'),
    ],
)
def test_malformed_message_is_refused_by_kind(parts, kind):
    assert kind_of(parts) == kind


@given(st.lists(st.binary(max_size=100), max_size=3))
def test_foreign_messages_give_a_countable_error(parts):
    assert kind_of(parts)


def test_integer_timestamp_is_a_time_too():
    assert (
        camera_frame.decode([header(timestamp=1700000000), JPEG]).stamp_ns == 1_700_000_000 * 10**9
    )


@pytest.mark.parametrize(
    'frame, kind',
    [
        (CameraFrame('', 1_700_000_000 * 10**9, None, JPEG), 'bad_header'),
        (CameraFrame('a', 0, None, JPEG), 'bad_time'),
        (CameraFrame('a', 1_700_000_000 * 10**9, None, b'GIF'), 'bad_jpeg'),
    ],
)
def test_frame_that_nobody_would_accept_is_not_encoded(frame, kind):
    with pytest.raises(WireFormatError) as caught:
        camera_frame.encode(frame)
    assert caught.value.kind == kind
