"""Counters and stamps out of serialized messages, against rosbags' serialisation."""

from episode_tools import header, joints, STORE
from hypothesis import given
from hypothesis import strategies as st
import numpy as np

from vla_data.recording import cdr

FRAMES = st.text(st.characters(codec='ascii', exclude_characters='\0'), max_size=20)
STAMPS = st.integers(0, 2**31 * 10**9 - 1)
COUNTERS = st.integers(0, 2**63)


def serialized(name: str, **fields) -> bytes:
    """A message of vla_msgs with these fields; the others are zero or empty."""
    return bytes(STORE.serialize_cdr(filled(name, fields), name))


def filled(name: str, fields=None):
    """Return a message with zero and empty values where none is given."""
    given_fields = fields or {}
    values = {}
    for field, (kind, detail) in STORE.fielddefs[name][1]:
        if field in given_fields:
            values[field] = given_fields[field]
        elif kind.name == 'NAME':
            values[field] = filled(detail)
        elif kind.name == 'BASE':
            values[field] = '' if detail[0] == 'string' else (False if detail[0] == 'bool' else 0)
        else:
            base = detail[0][1]
            plain = isinstance(base, tuple) and base[0] not in ('string', 'bool')
            values[field] = np.zeros(0, base[0]) if plain else []
    return STORE.types[name](**values)


@given(STAMPS, FRAMES)
def test_header_stamp_is_read_whatever_the_frame(stamp_ns, frame):
    assert cdr.header_stamp_ns(joints(stamp_ns, frame)) == stamp_ns


@given(FRAMES, st.integers(0, 15), st.integers(0, 5), COUNTERS, COUNTERS, COUNTERS)
def test_sensor_counters_are_read_whatever_the_sizes(frame, count, width, sequence, got, lost):
    data = serialized(
        'vla_msgs/msg/SensorBatch',
        header=header(7, frame),
        stamp_ns=np.arange(count, dtype=np.int64),
        force_n=np.ones(count, np.float32),
        profile_length=width,
        profile=np.ones(count * width, np.float32),
        sequence=sequence,
        received_total=got,
        lost_total=lost,
    )
    assert cdr.sensor_counters(data) == (sequence, got, lost)


@given(FRAMES, COUNTERS)
def test_chunk_and_feature_ids_are_read_whatever_the_frame(frame, number):
    chunk = serialized('vla_msgs/msg/ActionChunk', header=header(7, frame), chunk_id=number)
    assert cdr.uint64_after_header(chunk) == number
    fields = {'header': header(7, frame), 'feature_id': number}
    info = serialized('vla_msgs/msg/VLFeatureInfo', **fields)
    assert cdr.uint64_after_header(info) == number
    features = serialized(
        'vla_msgs/msg/VLFeatures',
        header=header(7, frame),
        info=filled('vla_msgs/msg/VLFeatureInfo', fields),
    )
    assert cdr.uint64_after_two_headers(features) == number
