"""The sample ring, against a plain model that holds a dictionary."""

import threading

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core.ring import BACKWARD_STEP_NS, BACKWARD_STEP_RUN, PushReport, SampleRing

WIDTH = 3
EVERYTHING = (-(2**62), 2**62)


def rows_of(stamps):
    """Values that tell which stamp they belong to."""
    return np.array(stamps, np.float32).reshape(-1, 1) * np.ones((1, WIDTH), np.float32)


def push(ring, stamps):
    return ring.push(np.array(stamps, np.int64), rows_of(stamps))


def contents(ring):
    stamps, values = ring.slice(*EVERYTHING)
    np.testing.assert_array_equal(values, rows_of(stamps))
    return stamps.tolist()


def modelled_push(held, batch, capacity):
    """What a push must do, written for clarity: returns the new contents and the report."""
    newest = max(held, default=None)
    accepted, reordered, duplicates = set(), set(), 0
    for stamp in batch:
        if stamp in held or stamp in accepted:
            duplicates += 1
            continue
        if newest is not None and stamp < newest:
            reordered.add(stamp)
        newest = stamp if newest is None else max(newest, stamp)
        accepted.add(stamp)
    kept = set(sorted(held | accepted)[-capacity:])
    late = len(accepted - kept)
    return kept, PushReport(len(accepted & kept), duplicates, len(reordered & kept), late)


@given(st.lists(st.lists(st.integers(0, 60), max_size=20), max_size=30), st.integers(1, 25))
def test_any_bursts_duplicates_and_reordering_agree_with_the_model(batches, capacity):
    ring, held = SampleRing(WIDTH, capacity), set()
    for batch in batches:
        held, expected = modelled_push(held, batch, capacity)
        assert push(ring, batch) == expected
        assert contents(ring) == sorted(held)
        assert len(ring) == len(held)
        assert ring.newest_ns == max(held, default=None)
        assert ring.oldest_ns == min(held, default=None)


@given(
    st.lists(st.integers(1, 15), min_size=1, max_size=200),
    st.integers(1, 40),
    st.integers(-5, 3000),
    st.integers(0, 500),
)
def test_in_order_stream_keeps_the_newest_and_slices_between_the_borders(
    sizes, capacity, start, length
):
    ring, sent = SampleRing(WIDTH, capacity), []
    for size in sizes:
        batch = list(range(len(sent), len(sent) + size))
        assert push(ring, batch) == PushReport(min(size, capacity), 0, 0, max(0, size - capacity))
        sent += batch
    assert contents(ring) == sent[-capacity:]
    stamps, _ = ring.slice(start, start + length)
    assert stamps.tolist() == [s for s in sent[-capacity:] if start < s <= start + length]


def test_empty_ring_and_empty_push_are_no_special_case():
    ring = SampleRing(WIDTH, 4)
    assert (ring.newest_ns, ring.oldest_ns, len(ring)) == (None, None, 0)
    stamps, values = ring.slice(*EVERYTHING)
    assert (stamps.shape, values.shape, stamps.dtype) == ((0,), (0, WIDTH), np.int64)
    assert push(ring, []) == PushReport()
    push(ring, [5])
    assert ring.slice(9, 2)[0].shape == (0,)
    ring.clear()
    assert contents(ring) == []


def test_slice_is_a_copy():
    ring = SampleRing(WIDTH, 4)
    push(ring, [1, 2])
    stamps, values = ring.slice(0, 9)
    stamps[:], values[:] = 0, 0
    assert contents(ring) == [1, 2]


def test_pushed_arrays_may_be_changed_afterwards():
    ring = SampleRing(WIDTH, 4)
    stamps, values = np.array([1, 2]), rows_of([1, 2])
    ring.push(stamps, values)
    stamps[:], values[:] = 0, 0
    assert contents(ring) == [1, 2]


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused_one_by_one(bad):
    ring = SampleRing(WIDTH, 8)
    values = rows_of([1, 2, 3])
    values[1, 2] = bad
    assert ring.push(np.array([1, 2, 3]), values) == PushReport(2, not_finite=1)
    assert contents(ring) == [1, 3]
    assert ring.push(np.array([4]), np.full((1, WIDTH), bad)) == PushReport(not_finite=1)
    assert ring.newest_ns == 3


def test_source_clock_set_back_empties_the_ring_after_a_run_of_old_samples():
    ring = SampleRing(WIDTH, 100)
    push(ring, range(10 * BACKWARD_STEP_NS, 10 * BACKWARD_STEP_NS + 100))
    late = 0
    for stamp in range(1, BACKWARD_STEP_RUN):
        report = push(ring, [stamp])
        late += report.late
        assert report.restarts == 0
    assert late == BACKWARD_STEP_RUN - 1
    assert push(ring, [BACKWARD_STEP_RUN]) == PushReport(1, restarts=1)
    assert contents(ring) == [BACKWARD_STEP_RUN]
    assert ring.restarts == 1


def test_one_sample_dated_into_the_future_does_not_stay_for_ever():
    ring = SampleRing(WIDTH, 1000)
    push(ring, [100 * BACKWARD_STEP_NS])
    for stamp in range(200):
        push(ring, [stamp])
    assert ring.newest_ns == 199
    assert ring.restarts == 1


def test_late_stragglers_among_good_samples_never_empty_the_ring():
    ring = SampleRing(WIDTH, 10)
    for index in range(20 * BACKWARD_STEP_RUN):
        push(ring, [10 * BACKWARD_STEP_NS + index])
        push(ring, [index])
    assert ring.restarts == 0


@pytest.mark.parametrize(
    'stamps, values', [((2,), (3, 3)), ((2,), (2, 4)), ((2, 1), (2, 3)), ((2,), (6,))]
)
def test_wrong_shapes_are_refused(stamps, values):
    with pytest.raises(ValueError, match='expected stamps'):
        SampleRing(WIDTH, 4).push(np.zeros(stamps, np.int64), np.zeros(values, np.float32))


@pytest.mark.parametrize('width, capacity', [(0, 1), (1, 0)])
def test_ring_needs_a_size(width, capacity):
    with pytest.raises(ValueError, match='above 0'):
        SampleRing(width, capacity)


def test_slices_are_never_torn_while_another_thread_pushes():
    ring, done, torn = SampleRing(64, 50), threading.Event(), []

    def look():
        while not done.is_set():
            stamps, values = ring.slice(*EVERYTHING)
            if (
                not (values == stamps.astype(np.float32)[:, None]).all()
                or not (np.diff(stamps) > 0).all()
            ):
                torn.append(stamps)

    thread = threading.Thread(target=look)
    thread.start()
    for start in range(0, 20_000, 10):
        stamps = np.arange(start, start + 10)
        if start % 70 == 0:
            stamps = stamps[::-1]
        ring.push(stamps, stamps[:, None] * np.ones((1, 64), np.float32))
    done.set()
    thread.join(timeout=20)
    assert torn == []
