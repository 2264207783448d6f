"""The sensor window: full without loss, masked exactly with loss, at any phase."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core.ring import SampleRing
from vla_core.window import read_window, resample, WindowSpec

SPEC = WindowSpec()
END_NS = 1_700_000_000_000_000_000
PHASES = st.floats(0, 1)
SEEDS = st.integers(0, 2**32 - 1)


def stream(rate_hz, phase=0.0, jitter_ns=0, seed=0):
    """Stamps of a loss-free source from 150 ms before to 50 ms after the end, (N,) int64."""
    period_ns = 1e9 / rate_hz
    ideal = np.arange(-150e6, 50e6, period_ns) + phase * period_ns
    jitter = np.random.default_rng(seed).uniform(-jitter_ns, jitter_ns, len(ideal))
    return END_NS + np.rint(ideal + jitter).astype(np.int64)


def values_of(stamps):
    """Two channels that tell the stamp: whole milliseconds before the end, and the rest, ns."""
    offset = np.asarray(stamps) - END_NS
    return np.stack([offset // 1_000_000, offset % 1_000_000], axis=1).astype(np.float32)


def stamps_of(values):
    return END_NS + values[:, 0].astype(np.int64) * 1_000_000 + values[:, 1].astype(np.int64)


def window_of(stamps, rate_hz=650.0, spec=SPEC):
    return resample(stamps, values_of(stamps), END_NS, spec, round(1e9 / rate_hz))


@settings(max_examples=300)
@given(st.sampled_from([650.0, 700.0, 649.0, 655.0, 660.0, 800.0, 1300.0]), PHASES, SEEDS)
def test_window_is_full_without_loss_at_any_phase_and_jitter(rate_hz, phase, seed):
    window = window_of(stream(rate_hz, phase, 300_000, seed), rate_hz)
    assert window.fill == 1.0
    assert window.mask.all()
    assert window.max_gap_ns <= 1e9 / rate_hz + 600_000
    assert END_NS - SPEC.duration_ns - 1_160_000 - SPEC.slot_ns <= window.first_ns
    assert window.last_ns <= END_NS + 1_160_000


@settings(max_examples=300)
@given(PHASES, SEEDS, st.sets(st.integers(1, 63), max_size=40))
def test_each_lost_sample_is_exactly_one_masked_slot(phase, seed, lost):
    stamps = stream(650.0, phase, 300_000, seed)
    whole = window_of(stamps)
    shown = stamps_of(whole.values)
    assert len(set(shown.tolist())) == 65  # every slot has a sample of its own
    window = window_of(stamps[~np.isin(stamps, shown[sorted(lost)])])
    assert np.flatnonzero(~window.mask).tolist() == sorted(lost)
    assert window.fill == pytest.approx(1 - len(lost) / 65)
    assert window.count == 65 - len(lost)
    real = window.mask
    np.testing.assert_array_equal(window.values[real], whole.values[real])


@given(PHASES, SEEDS, st.integers(0, 60), st.integers(2, 60))
def test_gap_is_masked_held_and_measured(phase, seed, start, length):
    stamps = stream(650.0, phase, 300_000, seed)
    shown = stamps_of(window_of(stamps).values)
    lost = shown[start : start + length]
    window = window_of(stamps[~np.isin(stamps, lost)])
    masked = np.flatnonzero(~window.mask)
    assert masked.tolist() == list(range(start, min(65, start + length)))
    held = window.values[start - 1] if start else np.zeros(2)
    assert (window.values[masked] == held).all()
    assert window.max_gap_ns > len(lost) * SPEC.slot_ns - 600_000


@given(PHASES, SEEDS)
def test_mask_does_not_depend_on_order_or_duplicates(phase, seed):
    stamps = stream(650.0, phase, 300_000, seed)
    random = np.random.default_rng(seed)
    stamps = stamps[random.random(len(stamps)) > 0.3]
    mixed = random.permutation(np.concatenate([stamps, stamps[::3]]))
    left, right = window_of(stamps), window_of(mixed)
    np.testing.assert_array_equal(left.mask, right.mask)
    np.testing.assert_array_equal(left.values, right.values)
    assert (left.count, left.max_gap_ns) == (right.count, right.max_gap_ns)


@given(st.lists(st.integers(-200_000_000, 100_000_000), max_size=120), SEEDS)
def test_any_samples_give_a_consistent_window(offsets, seed):
    stamps = END_NS + np.array(offsets, np.int64)
    window = window_of(stamps)
    assert window.values.shape == (65, 2) and window.values.dtype == np.float32
    assert window.mask.shape == (65,) and window.mask.dtype == bool
    assert window.fill == window.mask.sum() / 65
    assert 0 <= window.count <= window.mask.sum()
    assert 0 <= window.max_gap_ns <= SPEC.duration_ns
    slots = END_NS + (np.arange(65) - 64) * SPEC.slot_ns
    shown = stamps_of(window.values)[window.mask]
    assert np.isin(shown, stamps).all()
    reach = SPEC.slot_ns + SPEC.tolerance_ns(round(1e9 / 650)) + 1
    assert (np.abs(shown - slots[window.mask]) <= reach).all()
    assert (np.diff(shown) >= 0).all()
    assert (window.count > 0) == (window.first_ns > 0) == (window.last_ns > 0)


def test_empty_buffer_gives_an_all_masked_window_of_zeros():
    window = window_of(np.zeros(0, np.int64))
    assert (window.fill, window.count, window.first_ns, window.last_ns) == (0.0, 0, 0, 0)
    assert window.max_gap_ns == SPEC.duration_ns
    assert not window.mask.any() and not window.values.any()


def test_single_sample_fills_a_single_slot():
    window = window_of(np.array([END_NS - 50_000_000]))
    assert (window.mask.sum(), window.count) == (1, 1)
    assert window.first_ns == window.last_ns == END_NS - 50_000_000
    assert window.max_gap_ns == 50_000_000


def test_samples_that_are_not_finite_are_as_good_as_lost():
    stamps = stream(650.0, 0.3)
    values = values_of(stamps)
    values[:, 1] += 0.5
    values[80, 0], values[90, 1] = np.nan, np.inf
    window = resample(stamps, values, END_NS, SPEC, 1_538_462)
    assert np.isfinite(window.values).all()
    assert window.mask.sum() == 63


def test_slow_source_fills_each_slot_with_its_nearest_sample():
    window = window_of(stream(325.0, 0.25), 325.0)
    assert window.fill == 1.0
    assert 32 <= window.count <= 34


def test_old_samples_do_not_reach_into_the_window():
    window = window_of(stream(650.0)[:20])
    assert window.count == 0


def test_window_ends_a_lag_before_the_tick():
    ring = SampleRing(2, 1000)
    stamps = stream(650.0, 0.4)
    ring.push(stamps, values_of(stamps))
    window = read_window(ring, END_NS + SPEC.lag_ns, SPEC, 1_538_462)
    assert window.fill == 1.0
    np.testing.assert_array_equal(window.values, window_of(stamps).values)


@given(PHASES, SEEDS, st.integers(1, 15))
def test_ring_and_window_together_survive_a_bad_network(phase, seed, datagram):
    random = np.random.default_rng(seed)
    stamps = stream(650.0, phase, 300_000, seed)
    kept = stamps[random.random(len(stamps)) > 0.1]
    datagrams = [kept[i : i + datagram] for i in range(0, len(kept), datagram)]
    doubled = [d for d in datagrams for _ in range(random.integers(1, 3))]
    order = np.argsort(np.arange(len(doubled)) + random.uniform(0, 4, len(doubled)))
    ring = SampleRing(2, 1000)
    reports = []
    for index in order:
        reports.append(ring.push(doubled[index], values_of(doubled[index])))
    assert sum(report.accepted for report in reports) == len(kept)
    assert sum(report.duplicates for report in reports) == sum(map(len, doubled)) - len(kept)
    window = read_window(ring, END_NS + SPEC.lag_ns, SPEC, 1_538_462)
    # Slot k shows sample k + const of the loss-free stream; const may differ by one where the
    # phase wraps.
    real = np.flatnonzero(window.mask)
    source = np.searchsorted(stamps, stamps_of(window.values)[real])
    assert len(set((source - real).tolist())) == 1
    expected = np.isin(stamps[np.arange(65) + source[0] - real[0]], kept)
    np.testing.assert_array_equal(window.mask, expected)


@given(PHASES, SEEDS, st.integers(0, 60))
def test_result_does_not_depend_on_how_much_more_than_needed_is_passed(phase, seed, extra):
    stamps = stream(650.0, phase, 300_000, seed)
    stamps = stamps[np.random.default_rng(seed).random(len(stamps)) > 0.2]
    after_ns, until_ns = SPEC.reach_ns(END_NS, 1_538_462)
    inside = (stamps > after_ns) & (stamps <= until_ns)
    first, last = np.flatnonzero(inside)[[0, -1]]
    left = window_of(stamps[max(0, first - extra) : last + 1 + extra])
    right = window_of(stamps[inside])
    np.testing.assert_array_equal(left.mask, right.mask)
    np.testing.assert_array_equal(left.values, right.values)


@pytest.mark.parametrize('changes', [{'samples': 0}, {'duration_ns': 0}, {'lag_ns': -1}])
def test_window_needs_a_size(changes):
    with pytest.raises(ValueError, match='not a window'):
        WindowSpec(**changes)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match='expected'):
        resample(np.zeros(2, np.int64), np.zeros((3, 1), np.float32), 0, SPEC, 1)
