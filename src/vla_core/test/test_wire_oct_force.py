"""OCT/force datagrams, variants A and B: golden bytes, both directions, everything malformed."""

import struct

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core.errors import WireFormatError
from vla_core.wire import oct_force
from vla_core.wire.oct_force import SensorRecords

# Written by hand from the format. Record 1: force 1.0, profile all 50.0 with 0.5 in the last bin;
# record 2: force -45.0, profile all 0 with 30.0 in the first bin.
RECORD_1 = bytes.fromhex('00001040fc54d94100002040fc54d9410000803f') + (
    bytes.fromhex('00004842') * 1024 + bytes.fromhex('0000003f')
)
RECORD_2 = bytes.fromhex('00002040fc54d94100007040fc54d941000034c2') + (
    bytes.fromhex('0000f041') + bytes(4 * 1024)
)
GOLDEN_A = b'\x02\x00\x00\x00' + RECORD_1 + RECORD_2
SECOND_NS = 10**9


def golden_records():
    profile = np.zeros((2, 1025), np.float32)
    profile[0] = 50.0
    profile[0, -1] = 0.5
    profile[1, 0] = 30.0
    start_ns = 1_700_000_000 * SECOND_NS
    return SensorRecords(
        capture_ns=np.array([start_ns + 250_000_000, start_ns + 500_000_000]),
        send_ns=np.array([start_ns + 500_000_000, start_ns + 1_750_000_000]),
        force=np.array([1.0, -45.0], np.float32),
        profile=profile,
    )


def part(records, rows):
    return SensorRecords(*(getattr(records, name)[rows] for name in vars(records)))


def assert_same(left, right):
    for name in vars(right):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


def kind_of(data):
    with pytest.raises(WireFormatError) as caught:
        oct_force.decode(data)
    return caught.value.kind


def test_sizes_are_those_of_the_legacy_format():
    assert len(RECORD_1) == len(RECORD_2) == oct_force.RECORD_BYTES == 4120
    assert oct_force.PROFILE_BINS == 1025
    assert 4 + 15 * 4120 <= 65_507 < 4 + 16 * 4120


def test_golden_bytes_of_both_variants_decode():
    assert_same(oct_force.decode(GOLDEN_A), golden_records())
    assert_same(oct_force.decode(RECORD_2), part(golden_records(), slice(1, 2)))


def test_encoding_gives_the_golden_bytes_of_both_variants():
    assert oct_force.encode_a(golden_records()) == GOLDEN_A
    assert oct_force.encode_b(part(golden_records(), slice(0, 1))) == RECORD_1


def test_decoded_arrays_are_contiguous_and_own_their_memory():
    records = oct_force.decode(GOLDEN_A)
    assert records.profile.flags.c_contiguous and records.profile.flags.writeable
    assert records.capture_ns.dtype == np.int64
    assert (records.force.dtype, records.profile.dtype) == (np.float32, np.float32)


def test_buffer_types_of_sockets_are_accepted():
    assert len(oct_force.decode(memoryview(bytearray(GOLDEN_A)))) == 2


MICROS = st.integers(946_684_800_000_000, 4_102_444_799_000_000)


@given(st.lists(MICROS, min_size=1, max_size=15), st.integers(0, 2**32 - 1))
def test_what_is_encoded_is_decoded_again(times_us, seed):
    count = len(times_us)
    random = np.random.default_rng(seed)
    records = SensorRecords(
        capture_ns=np.array(times_us) * 1000,
        send_ns=np.array(times_us[::-1]) * 1000,
        force=random.normal(size=count).astype(np.float32),
        profile=random.normal(50, 10, (count, 1025)).astype(np.float32),
    )
    data = oct_force.encode_a(records)
    assert len(data) == 4 + 4120 * count
    assert_same(oct_force.decode(data), records)
    first = part(records, slice(0, 1))
    assert_same(oct_force.decode(oct_force.encode_b(first)), first)


@pytest.mark.parametrize(
    'data, kind',
    [
        (b'', 'bad_length'),
        (b'\x00\x00\x00\x00', 'bad_length'),  # N = 0
        (RECORD_1[:-1], 'bad_length'),
        (RECORD_1 + b'\0', 'bad_length'),
        (GOLDEN_A[:-1], 'bad_length'),
        (GOLDEN_A + RECORD_1[:100], 'bad_length'),
        (RECORD_1 + RECORD_2, 'bad_length'),  # two bare records are neither variant
        (b'\x10\0\0\0' + RECORD_1 * 16, 'bad_length'),  # cannot come in one datagram
        (b'\x03\0\0\0' + RECORD_1 + RECORD_2, 'bad_count'),
        (b'\x01\0\0\0' + RECORD_1 + RECORD_2, 'bad_count'),
        (b'\xff\xff\xff\xff' + RECORD_1, 'bad_count'),
    ],
)
def test_malformed_datagram_is_refused_by_kind(data, kind):
    assert kind_of(data) == kind


@pytest.mark.parametrize('time_s', [float('nan'), float('inf'), -1.0, 0.0, 1.7e12])
@pytest.mark.parametrize('offset', [4, 12, 4 + 4120, 12 + 4120])
def test_absurd_time_in_any_record_is_refused(time_s, offset):
    data = bytearray(GOLDEN_A)
    struct.pack_into('<d', data, offset, time_s)
    assert kind_of(bytes(data)) == 'bad_time'


def test_samples_that_are_not_finite_pass_so_that_the_ring_can_count_them_one_by_one():
    data = bytearray(GOLDEN_A)
    struct.pack_into('<f', data, 4 + 16, float('nan'))
    assert np.isnan(oct_force.decode(bytes(data)).force).tolist() == [True, False]


@given(st.binary(max_size=5000))
def test_foreign_datagrams_give_a_countable_error(data):
    assert kind_of(data) in ('bad_length', 'bad_count', 'bad_time')


@pytest.mark.parametrize(
    'call, kind',
    [
        (lambda r: oct_force.encode_b(r), 'bad_count'),
        (lambda r: oct_force.encode_a(part(r, slice(0, 0))), 'bad_count'),
        (lambda r: oct_force.encode_a(part(r, np.zeros(16, int))), 'bad_count'),
        (
            lambda r: oct_force.encode_a(
                SensorRecords(r.capture_ns, r.send_ns, r.force, r.profile[:, :1000])
            ),
            'bad_shape',
        ),
        (
            lambda r: oct_force.encode_a(
                SensorRecords(r.capture_ns * 0, r.send_ns, r.force, r.profile)
            ),
            'bad_time',
        ),
    ],
)
def test_records_that_cannot_be_sent_are_refused(call, kind):
    with pytest.raises(WireFormatError) as caught:
        call(golden_records())
    assert caught.value.kind == kind
