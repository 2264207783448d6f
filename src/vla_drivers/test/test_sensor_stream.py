"""Sensor samples: batches, losses, duplicates, order, calibration."""

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from wire_helpers import NS, PERIOD_NS, records, T0_NS

from vla_core.clock_model import make_clock
from vla_core.counters import Counters
from vla_drivers.devices.base import SensorReading
from vla_drivers.sensor_stream import buffer_item, SensorSettings, SensorStream

SETTINGS = SensorSettings(
    rate_hz=650.0,
    force_scale=1.0,
    force_offset=0.0,
    profile_scale=1.0,
    profile_offset=0.0,
    late_s=0.1,
    warn_share=0.95,
    error_share=0.5,
    batch_records=8,
)


def make(clock='trusted', **changes):
    return SensorStream(dataclasses.replace(SETTINGS, **changes), make_clock(clock), Counters())


def reading(index, count=13, **kwargs):
    part = records(count, start_ns=T0_NS + index * count * PERIOD_NS, **kwargs)
    return SensorReading(part, int(part.capture_ns[-1]) + 2_000_000)


def counts(stream):
    return stream._counters.snapshot()


def test_each_datagram_of_several_records_becomes_one_batch():
    stream = make()
    batches = stream.accept([reading(k) for k in range(5)])
    assert [len(batch.stamps_ns) for batch in batches] == [13] * 5
    assert stream.received_total == 65
    assert stream.lost_total == 0
    assert counts(stream) == {}
    assert batches[0].receive_delay_s == pytest.approx(0.002)


def test_single_records_are_gathered_up_to_the_limit():
    stream = make()
    batches = stream.accept([reading(k, count=1) for k in range(20)])
    assert [len(batch.stamps_ns) for batch in batches] == [8, 8, 4]
    joined = np.concatenate([batch.stamps_ns for batch in batches])
    assert (np.diff(joined) > 0).all()


def test_a_lost_datagram_is_told_from_the_capture_times():
    stream = make()
    stream.accept([reading(0), reading(1), reading(4)])
    assert stream.lost_total == 26


def test_jitter_of_the_capture_times_is_no_loss():
    stream = make()
    rng = np.random.default_rng(0)
    for k in range(50):
        part = reading(k)
        jitter_ns = rng.integers(-300_000, 300_000, 13)
        jittered = dataclasses.replace(
            part.records, capture_ns=part.records.capture_ns + jitter_ns
        )
        stream.accept([SensorReading(jittered, part.receive_ns)])
    assert stream.lost_total == 0


def test_a_faster_sensor_than_nominal_is_no_loss():
    stream = make()
    count = 10
    for k in range(70):
        part = records(count, start_ns=T0_NS + k * count * NS // 700, period_ns=NS // 700)
        stream.accept([SensorReading(part, int(part.capture_ns[-1]))])
    assert stream.received_total == 700
    assert stream.lost_total == 0


def test_a_reordered_datagram_is_passed_on_and_no_longer_lost():
    stream = make()
    batches = stream.accept([reading(0), reading(2), reading(1)])
    assert len(batches) == 3
    assert stream.lost_total == 0
    assert counts(stream) == {'gaps': 1, 'reordered': 13}
    assert stream.received_total == 39


def test_a_duplicated_datagram_is_dropped_and_counted():
    stream = make()
    assert len(stream.accept([reading(0), reading(0)])) == 1
    assert counts(stream) == {'duplicate': 13}


def test_records_with_nan_are_dropped_and_the_rest_of_the_datagram_kept():
    stream = make()
    part = reading(0)
    part.records.force[3] = np.nan
    part.records.profile[5, 700] = np.inf
    (batch,) = stream.accept([part])
    assert len(batch.stamps_ns) == 11
    assert np.isfinite(batch.profile).all()
    assert counts(stream) == {'gaps': 2, 'not_finite': 2}


def test_records_in_disorder_within_a_datagram_leave_oldest_first():
    stream = make()
    part = reading(0)
    order = np.random.default_rng(1).permutation(13)
    fields = dataclasses.fields(part.records)
    mixed = type(part.records)(*(getattr(part.records, f.name)[order] for f in fields))
    (batch,) = stream.accept([SensorReading(mixed, part.receive_ns)])
    assert (np.diff(batch.stamps_ns) > 0).all()
    assert len(batch.stamps_ns) == 13


def test_calibration_is_scale_then_offset():
    stream = make(force_scale=2.0, force_offset=0.5, profile_scale=0.1, profile_offset=-1.0)
    (batch,) = stream.accept([reading(0)])
    assert batch.force_n.dtype == batch.profile.dtype == np.float32
    assert batch.force_n[0] == 2.5
    assert batch.profile[0, 100] == pytest.approx(9.0)


def test_an_estimated_clock_turns_a_far_clock_into_ours():
    stream, offset_ns = make('estimated'), 7 * NS
    for k in range(20):
        part = reading(k)
        send_ns = int(part.records.send_ns[-1])
        (batch,) = stream.accept([SensorReading(part.records, send_ns + offset_ns)])
    expected = reading(19).records.capture_ns + offset_ns
    assert np.abs(batch.stamps_ns - expected).max() < 2_000_000


def test_late_samples_pass_with_their_true_stamps_and_are_counted():
    stream = make()
    part = reading(0)
    (batch,) = stream.accept([SensorReading(part.records, part.receive_ns + NS)])
    assert (batch.stamps_ns == part.records.capture_ns).all()
    assert counts(stream) == {'late': 13}


def test_a_small_kernel_buffer_warns_with_the_command_that_helps():
    assert buffer_item(8, 8).level == 0
    item = buffer_item(212_992, 8_388_608)
    assert item.level == 1
    assert 'sysctl -w net.core.rmem_max=8388608' in item.message


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from([1, 13])), max_size=40))
def test_whatever_order_and_repetition_each_sample_is_published_at_most_once(arrivals):
    stream = make()
    batches = stream.accept([reading(index, count) for index, count in arrivals])
    stamps = [stamp for batch in batches for stamp in batch.stamps_ns.tolist()]
    assert len(stamps) == len(set(stamps)) == stream.received_total
    distinct = {
        stamp
        for index, count in arrivals
        for stamp in reading(index, count).records.capture_ns.tolist()
    }
    assert set(stamps) == distinct
    assert stream.lost_total >= 0
