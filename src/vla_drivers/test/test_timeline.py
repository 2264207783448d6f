"""New, repeated, reordered and impossible stamps."""

from hypothesis import given
from hypothesis import strategies as st
from wire_helpers import NS, T0_NS

from vla_drivers.timeline import Novelty, Timeline

MS = NS // 1000


def feed(timeline, stamps_ms, delay_ms=5):
    return [timeline.judge(T0_NS + ms * MS, T0_NS + (ms + delay_ms) * MS) for ms in stamps_ms]


def test_rising_stamps_are_new():
    assert set(feed(Timeline(), range(0, 1000, 10))) == {Novelty.NEW}


def test_a_repeated_stamp_is_a_duplicate_wherever_it_comes():
    timeline = Timeline()
    feed(timeline, [0, 10, 20, 30])
    assert feed(timeline, [30, 10]) == [Novelty.DUPLICATE] * 2


def test_an_older_unseen_stamp_is_reordered_and_then_known():
    timeline = Timeline()
    feed(timeline, [0, 20])
    assert feed(timeline, [10, 10, 30]) == [Novelty.REORDERED, Novelty.DUPLICATE, Novelty.NEW]


def test_one_garbled_stamp_does_not_stop_the_good_ones():
    timeline = Timeline()
    feed(timeline, range(0, 100, 10))
    now_ns = T0_NS + 105 * MS
    assert timeline.judge(T0_NS + 50 * NS, now_ns) is Novelty.IMPOSSIBLE
    assert timeline.judge(T0_NS - 50 * NS, now_ns) is Novelty.IMPOSSIBLE
    assert feed(timeline, [110]) == [Novelty.NEW]
    assert timeline.steps == 0


def test_a_garbled_first_stamp_is_forgotten_once_others_agree():
    timeline = Timeline()
    timeline.judge(T0_NS + 50 * NS, T0_NS)
    results = feed(timeline, range(0, 100, 10))
    assert results[:2] == [Novelty.IMPOSSIBLE] * 2
    assert set(results[2:]) == {Novelty.NEW}


def test_a_clock_set_back_or_ahead_is_followed_after_three_stamps():
    for shift_ns in (-20 * NS, 20 * NS):
        timeline = Timeline()
        feed(timeline, range(0, 1000, 10))
        shifted = [
            timeline.judge(T0_NS + ms * MS + shift_ns, T0_NS + (ms + 5) * MS)
            for ms in range(1000, 1100, 10)
        ]
        assert shifted[2:] == [Novelty.NEW] * 8
        assert timeline.steps == 1


def test_a_burst_after_a_stall_of_the_network_is_new():
    timeline = Timeline()
    feed(timeline, range(0, 1000, 10))
    burst = [timeline.judge(T0_NS + ms * MS, T0_NS + 4000 * MS) for ms in range(1000, 4000, 10)]
    assert set(burst) == {Novelty.NEW}
    assert set(feed(timeline, range(4000, 5000, 10))) == {Novelty.NEW}


def test_a_pause_of_the_source_is_no_step():
    timeline = Timeline()
    feed(timeline, range(0, 1000, 10))
    assert set(feed(timeline, range(60_000, 61_000, 10))) == {Novelty.NEW}
    assert timeline.steps == 0


@given(st.permutations(range(0, 400, 10)))
def test_in_any_order_within_a_second_each_stamp_is_accepted_exactly_once(order):
    timeline = Timeline()
    results = [timeline.judge(T0_NS + ms * MS, T0_NS + 500 * MS) for ms in order]
    assert set(results) <= {Novelty.NEW, Novelty.REORDERED}
    again = [timeline.judge(T0_NS + ms * MS, T0_NS + 500 * MS) for ms in order]
    assert set(again) == {Novelty.DUPLICATE}


@given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 2**62)), max_size=60))
def test_no_stamps_whatever_raise(pairs):
    timeline = Timeline(history=8)
    for stamp_ns, receive_ns in pairs:
        assert timeline.judge(stamp_ns, receive_ns) in Novelty
