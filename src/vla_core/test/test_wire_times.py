"""Times on the wire keep whole microseconds, one by one and as arrays."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core.errors import WireFormatError
from vla_core.wire.times import decode_time, decode_times, encode_time, encode_times

MICROS = st.integers(946_684_800_000_000, 4_102_444_799_999_999)


@given(st.lists(MICROS, min_size=1, max_size=20))
def test_whole_microseconds_survive_and_arrays_agree_with_single_times(micros):
    stamps = [us * 1000 for us in micros]
    assert [decode_time(encode_time(stamp)) for stamp in stamps] == stamps
    assert decode_times(encode_times(np.array(stamps))).tolist() == stamps
    assert encode_times(np.array(stamps)).tolist() == pytest.approx(
        [encode_time(s) for s in stamps], abs=3e-7
    )


@given(st.floats())
def test_any_number_is_a_sane_time_or_refused_alike_by_both(unix_s):
    try:
        stamp_ns = decode_time(unix_s)
    except WireFormatError as error:
        assert error.kind == 'bad_time'
        with pytest.raises(WireFormatError):
            decode_times(np.array([unix_s]))
    else:
        assert decode_times(np.array([unix_s])).tolist() == [stamp_ns]


def test_no_times_are_fine():
    assert decode_times(np.array([])).shape == (0,)
