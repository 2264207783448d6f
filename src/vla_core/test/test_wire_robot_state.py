"""Robot state on the wire: golden bytes, both directions, everything malformed."""

import struct

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core.errors import WireFormatError
from vla_core.wire import robot_state
from vla_core.wire.robot_state import RobotState

# Written by hand from the format: two f64 times, force 0, six joints (deg), x y z (mm), a b r
# (deg).
GOLDEN = bytes.fromhex(
    '00001040fc54d941'  # origin 1700000000.25
    '00002040fc54d941'  # send 1700000000.5
    '00000000'
    '0000b442 000034c2 0000f041 00003443 0000b4c1 00000000'  # 90 -45 30 180 -22.5 0
    '00007a43 0000fac2 00007a42'  # 250 -125 62.5
    '00003443 00000000 0000b4c2'  # 180 0 -90
)
STATE = RobotState(
    origin_ns=1_700_000_000_250_000_000,
    send_ns=1_700_000_000_500_000_000,
    force_n=0.0,
    joint_rad=np.array([np.pi / 2, -np.pi / 4, np.pi / 6, np.pi, -np.pi / 8, 0.0]),
    position_m=np.array([0.25, -0.125, 0.0625]),
    euler_rad=np.array([np.pi, 0.0, -np.pi / 2]),
)


def test_golden_bytes_decode_to_si_units():
    assert len(GOLDEN) == 68
    state = robot_state.decode(GOLDEN)
    assert (state.origin_ns, state.send_ns) == (STATE.origin_ns, STATE.send_ns)
    assert state.force_n == 0.0
    np.testing.assert_allclose(state.joint_rad, STATE.joint_rad, atol=1e-12)
    np.testing.assert_allclose(state.position_m, STATE.position_m, atol=1e-15)
    np.testing.assert_allclose(state.euler_rad, STATE.euler_rad, atol=1e-12)


def test_encoding_gives_the_golden_bytes():
    assert robot_state.encode(STATE) == GOLDEN


def test_topic_is_the_legacy_one():
    assert robot_state.TOPIC == b'robot_state'


MICROS = st.integers(946_684_800_000_000, 4_102_444_799_000_000)
NUMBERS = st.lists(st.floats(-7, 7), min_size=12, max_size=12)


@given(MICROS, MICROS, NUMBERS, st.floats(-100, 100))
def test_what_is_encoded_is_decoded_again(origin_us, send_us, numbers, force):
    sent = RobotState(
        origin_us * 1000,
        send_us * 1000,
        force,
        np.array(numbers[:6]),
        np.array(numbers[6:9]),
        np.array(numbers[9:]),
    )
    got = robot_state.decode(robot_state.encode(sent))
    assert (got.origin_ns, got.send_ns) == (sent.origin_ns, sent.send_ns)
    assert got.force_n == pytest.approx(force, rel=1e-6, abs=1e-30)
    for name in ('joint_rad', 'position_m', 'euler_rad'):
        np.testing.assert_allclose(getattr(got, name), getattr(sent, name), rtol=1e-6, atol=1e-30)


@given(st.binary(max_size=200))
def test_foreign_bytes_give_a_countable_error(data):
    with pytest.raises(WireFormatError) as caught:
        robot_state.decode(data)
    assert caught.value.kind == ('bad_length' if len(data) != 68 else caught.value.kind)


@given(st.binary(min_size=68, max_size=68))
def test_any_68_bytes_give_a_finite_state_or_a_countable_error(data):
    try:
        state = robot_state.decode(data)
    except WireFormatError as error:
        assert error.kind in ('bad_time', 'not_finite')
    else:
        assert np.isfinite(state.joint_rad).all()


@pytest.mark.parametrize(
    'time_s', [float('nan'), float('inf'), -1.0, 0.0, 946_684_799.0, 4.2e9, 1e300]
)
@pytest.mark.parametrize('offset', [0, 8])
def test_absurd_time_is_refused(time_s, offset):
    data = bytearray(GOLDEN)
    struct.pack_into('<d', data, offset, time_s)
    with pytest.raises(WireFormatError) as caught:
        robot_state.decode(bytes(data))
    assert caught.value.kind == 'bad_time'


@pytest.mark.parametrize('number', range(13))
@pytest.mark.parametrize('value', [float('nan'), float('-inf')])
def test_number_that_is_not_finite_is_refused(number, value):
    data = bytearray(GOLDEN)
    struct.pack_into('<f', data, 16 + 4 * number, value)
    with pytest.raises(WireFormatError) as caught:
        robot_state.decode(bytes(data))
    assert caught.value.kind == 'not_finite'


@pytest.mark.parametrize(
    'changes, kind',
    [
        ({'force_n': float('nan')}, 'not_finite'),
        ({'force_n': 1e39}, 'not_finite'),  # beyond f32
        ({'joint_rad': np.full(6, np.inf)}, 'not_finite'),
        ({'joint_rad': np.zeros(7)}, 'bad_shape'),
        ({'position_m': np.zeros((3, 1))}, 'bad_shape'),
        ({'send_ns': 0}, 'bad_time'),
    ],
)
def test_state_that_cannot_be_sent_is_refused(changes, kind):
    with pytest.raises(WireFormatError) as caught:
        robot_state.encode(RobotState(**{**vars(STATE), **changes}))
    assert caught.value.kind == kind
