"""Counters, rates, levels and percentiles."""

import math
import threading

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_core.counters import Counters
from vla_core.freshness import Limits
from vla_core.health import (
    age_item,
    HealthItem,
    Level,
    rate_item,
    RateMeter,
    worst_level,
)
from vla_core.stats import percentile_name, percentiles
from vla_core.timebase import NS


def test_counters_count_by_kind_and_snapshots_are_sorted_copies():
    counters = Counters()
    counters.add('late', 2)
    counters.add('bad_length')
    counters.add('foreign', 0)
    snapshot = counters.snapshot()
    assert list(snapshot.items()) == [('bad_length', 1), ('foreign', 0), ('late', 2)]
    counters.add('late')
    assert (snapshot['late'], counters.get('late'), counters.get('never')) == (2, 3, 0)
    assert 'never' not in counters.snapshot()


def test_counters_lose_nothing_between_threads():
    counters = Counters()
    threads = [
        threading.Thread(target=lambda: [counters.add('x') for _ in range(2000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert counters.get('x') == 8000


@given(st.sampled_from([0.5, 1.0, 5.0, 10.0, 100.0]), st.floats(0, 1))
def test_rate_of_a_steady_stream_is_exact_at_any_phase(hz, phase):
    meter = RateMeter(window_s=10.0)
    period_ns = round(NS / hz)
    for index in range(round(30 * hz)):
        last_ns = index * period_ns
        meter.tick(last_ns)
    assert meter.hz(last_ns + round(phase * period_ns)) == pytest.approx(hz, rel=1e-6)


def test_rate_counts_bursts_and_falls_to_zero_in_silence():
    meter = RateMeter(window_s=2.0)
    for index in range(100):
        meter.tick(index * 20_000_000, n=13)
    last_ns = 99 * 20_000_000
    assert meter.hz(last_ns) == pytest.approx(650)
    assert meter.hz(last_ns + NS) < 400
    assert meter.hz(last_ns + 3 * NS) == 0.0
    assert meter.total == 1300


def test_rate_is_zero_before_two_events():
    meter = RateMeter()
    assert meter.hz(0) == 0.0
    meter.tick(0)
    assert meter.hz(10) == 0.0
    meter.tick(0)
    assert meter.hz(10) == 0.0 or math.isfinite(meter.hz(10))


def test_items_are_judged_by_their_thresholds():
    assert rate_item('r', 5.0, 4.5, 2.0).level is Level.OK
    assert rate_item('r', 4.0, 4.5, 2.0).level is Level.WARN
    assert rate_item('r', 1.0, 4.5, 2.0) == HealthItem(
        'r', Level.ERROR, '1.00 Hz < 2.00 Hz', {'rate_hz': '1.00'}
    )
    assert rate_item('r', 0.0, 4.5, 2.0).level is Level.STALE


@pytest.mark.parametrize(
    'age_s, level',
    [
        (0.1, Level.OK),
        (0.7, Level.WARN),
        (1.5, Level.ERROR),
        (4, Level.STALE),
        (None, Level.STALE),
    ],
)
def test_age_item_follows_the_limits_of_the_contract(age_s, level):
    assert age_item('images', age_s, Limits(0.6, 1.2, 3.0)).level is level


def test_worst_level_ranks_error_above_stale():
    items = [HealthItem('a', level, '') for level in (Level.OK, Level.STALE, Level.ERROR)]
    assert worst_level(items) is Level.ERROR
    assert worst_level(items[:2]) is Level.STALE
    assert worst_level([]) is Level.OK


def test_percentiles_have_the_names_of_the_benchmarks():
    result = percentiles(range(101), (0, 50, 99, 99.9, 100))
    assert result == {'min': 0, 'p50': 50, 'p99': 99, 'p99_9': pytest.approx(99.9), 'max': 100}
    assert percentile_name(99.9) == 'p99_9'


def test_percentiles_leave_out_what_is_not_finite_and_are_none_without_values():
    assert percentiles([1.0, math.nan, 3.0, math.inf], (50,)) == {'p50': 2.0}
    assert percentiles([], (50, 100)) == {'p50': None, 'max': None}
