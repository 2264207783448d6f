"""Feature ages: the latency model and what recordings measured."""

from conftest import stamp_of
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core.errors import VlaError
from vla_core.timebase import NS
from vla_data.bag_reader import open_bag
from vla_data.synthetic import START_NS
from vla_data.types import make_typestore
from vla_training.data.ages import ages_in, FixedAges, LatencyAges, measured, MeasuredAges

MS = NS // 1000


def test_the_legacy_latency_gives_features_of_381_to_766_ms():
    age_s, delay_s, period_s = LatencyAges().draw(10_000, np.random.default_rng(0))
    assert (period_s == 1 / 2.6).all()
    total = age_s + delay_s
    assert total.min() == pytest.approx(0.381, abs=0.001)
    assert total.max() == pytest.approx(0.381 + 1 / 2.6, abs=0.001)
    assert total.mean() == pytest.approx(0.381 + 0.5 / 2.6, abs=0.005)


@given(
    st.floats(0.0, 2.0), st.floats(0.0, 2.0), st.floats(0.05, 50.0), st.integers(0, 2**32 - 1)
)  # fmt: skip
def test_a_result_is_used_until_the_next_one(least, most, rate_hz, seed):
    model = LatencyAges((min(least, most), max(least, most)), rate_hz)
    age_s, delay_s, period_s = model.draw(50, np.random.default_rng(seed))
    np.testing.assert_array_equal(period_s, np.maximum(1 / rate_hz, delay_s))
    assert (age_s >= 0).all() and (delay_s >= 0).all()
    assert (age_s <= np.maximum(1 / rate_hz, delay_s)).all()


def test_impossible_models_are_refused():
    for make in (
        lambda: LatencyAges((0.5, 0.1)), lambda: LatencyAges(rate_hz=0.0),
        lambda: MeasuredAges(np.zeros((0, 3))),
    ):  # fmt: skip
        with pytest.raises(VlaError):
            make()
    assert FixedAges(0.1, 0.2).draw(2, np.random.default_rng(0))[1].tolist() == [0.2, 0.2]


def info(store, kind, started_ns, published_ns, contract):
    time = store.types['builtin_interfaces/msg/Time']
    values = {}
    for name, spec in store.fielddefs[kind][1]:
        values[name] = [] if name in ('views', 'view_stamps', 'stale_views') else 0
        if spec[1] in (('string', 0), 'string') and name not in values:
            values[name] = ''
    values.update(
        header=store.types['std_msgs/msg/Header'](time(*divmod(started_ns, NS)), ''),
        checkpoint_hash='', contract_hash='', task='',
        started_stamp=time(*divmod(started_ns, NS)),
        published_stamp=time(*divmod(published_ns, NS)),
    )  # fmt: skip
    return store.types[kind](**values)


def test_ages_are_measured_from_what_the_vlm_node_told(episode, tmp_path, contract):
    from rosbags.rosbag2 import StoragePlugin, Writer

    store, kind = make_typestore(), 'vla_msgs/msg/VLFeatureInfo'
    path = tmp_path / 'info'
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/vlm/info', kind, typestore=store)
        for number in range(5):
            started_ns = START_NS + number * 400 * MS
            ready_ns = started_ns + 381 * MS
            message = info(store, kind, started_ns, ready_ns, contract)
            assert stamp_of(message) == started_ns
            writer.write(connection, ready_ns + MS, store.serialize_cdr(message, kind))
    with open_bag(path) as bag:
        ticks = [START_NS + 381 * MS, START_NS + 400 * MS, START_NS + 900 * MS]
        rows = ages_in(bag, ticks)
    # At the first tick the message was still on its way, at the second there was none before it.
    np.testing.assert_allclose(rows, [[0.119, 0.381, 0.4]], atol=1e-9)
    model = measured([path], 100 * MS)
    age_s, delay_s, period_s = model.draw(500, np.random.default_rng(0))
    assert (delay_s == 0.381).all() and np.allclose(period_s, 0.4)
    assert 0.0 <= age_s.min() < age_s.max() <= 0.401
    with pytest.raises(VlaError, match='use the latency model'):
        measured([episode()], 100 * MS)
