from hypothesis import given
from hypothesis import strategies as st

from vla_inference.engine.settle import Forecast, settle_wait_ns

MS = 1_000_000


def views(*expected_ms, stamp_ms=(0,) * 9, interval_ms=200):
    return [
        Forecast(stamp * MS, interval_ms * MS, expected * MS)
        for stamp, expected in zip(stamp_ms, expected_ms)
    ]


def test_a_set_that_is_coming_in_within_milliseconds_is_waited_for():
    wait = settle_wait_ns(views(5, 8, 12), 100 * MS)
    assert 12 * MS <= wait <= 40 * MS


def test_the_rest_of_a_set_of_which_some_views_are_here_is_waited_for():
    # View 1 has the new set's frame already and comes again in 195 ms.
    wait = settle_wait_ns(views(195, 3, 6, stamp_ms=(200, 0, 0)), 100 * MS)
    assert 6 * MS <= wait <= 30 * MS


def test_a_set_half_a_period_away_is_not_waited_for():
    assert settle_wait_ns(views(100, 102, 104), 300 * MS) == 0


def test_a_view_that_is_overdue_has_lost_its_frame_and_is_not_waited_for():
    assert settle_wait_ns(views(-30, 190, 190, stamp_ms=(0, 200, 200)), 100 * MS) == 0


def test_a_view_of_unknown_rate_is_not_waited_for():
    assert settle_wait_ns([Forecast(0, 0, 0), Forecast(0, 200 * MS, 5 * MS)], 100 * MS) == 0


@given(
    st.lists(st.tuples(st.integers(-400, 0), st.integers(-300, 300)), min_size=1, max_size=5),
    st.integers(0, 150),
)
def test_the_wait_never_goes_beyond_the_limit_and_the_margin(items, limit_ms):
    forecasts = [Forecast(stamp * MS, 200 * MS, expected * MS) for stamp, expected in items]
    assert 0 <= settle_wait_ns(forecasts, limit_ms * MS) <= (limit_ms + 20) * MS
