"""Sent against received over the same interval of capture time."""

import pytest

from vla_cli.bench.counts import missing_in_windows, parse_stats, Sent, tally
from vla_core.errors import VlaError

PERIOD = 1_538_462  # 650 Hz
START = 1_700_000_000_000_000_000


def stamps(first, last):
    """Capture times of the samples first..last, rounded to the microsecond as on the wire."""
    return [(START + k * PERIOD) // 1000 * 1000 for k in range(first, last + 1)]


def sent(count, pid=1):
    """The statistics after `count` samples, numbered from 0, with the exact time of the newest."""
    return Sent(pid, 0, {'sensor': count}, {'sensor': START + (count - 1) * PERIOD})


def test_nothing_is_lost_when_every_sample_between_the_borders_came():
    result = tally(sent(100), sent(750), {'sensor': stamps(0, 1000)})['sensor']
    assert (result.sent, result.received, result.lost) == (650, 650, 0)


def test_samples_in_flight_at_a_border_belong_to_one_side_only():
    first = tally(sent(100), sent(200), {'sensor': stamps(0, 400)})['sensor']
    second = tally(sent(200), sent(300), {'sensor': stamps(0, 400)})['sensor']
    assert first.received == second.received == 100


def test_lost_samples_are_counted_wherever_they_lie_in_the_interval():
    every = stamps(0, 1000)
    for missing in (100, 101, 500, 749):
        received = [stamp for stamp in every if stamp != every[missing]]
        assert tally(sent(100), sent(750), {'sensor': received})['sensor'].lost == 1
    for outside in (99, 750):
        received = [stamp for stamp in every if stamp != every[outside]]
        assert tally(sent(100), sent(750), {'sensor': received})['sensor'].lost == 0


def test_duplicates_and_disorder_do_not_hide_a_loss():
    received = stamps(0, 400) + stamps(402, 1000) + stamps(500, 600)
    assert tally(sent(100), sent(750), {'sensor': received[::-1]})['sensor'].lost == 1


def test_stream_of_which_nothing_came_is_lost_altogether():
    assert tally(sent(100), sent(750), {})['sensor'].lost == 650


def test_restarted_simulator_is_refused():
    with pytest.raises(VlaError, match='restarted'):
        tally(sent(100, pid=1), sent(750, pid=2), {})


def test_statistics_are_read_per_stream():
    data = {
        'pid': 5, 'sensor_samples_sent': 10, 'images_sent': {'view1': 3},
        'last_capture_ns': {'sensor': 7, 'view1': 8, 'robot': 9}}  # fmt: skip
    assert parse_stats(data, 1) == Sent(
        5, 1, {'sensor': 10, 'view1': 3}, {'sensor': 7, 'view1': 8}
    )
    del data['images_sent']
    with pytest.raises(VlaError, match='images_sent'):
        parse_stats(data, 1)


def test_windows_lack_nothing_when_they_hold_all_that_was_received():
    tick, lag, duration = START + 500_000_000, 30_000_000, 100_000_000
    received = stamps(0, 400)
    inside = sum(tick - lag - duration < stamp <= tick - lag for stamp in received)
    windows = [(tick, inside), (tick, inside - 1), (tick, inside - 3)]
    assert missing_in_windows(windows[:2], received, duration, lag) == 0
    assert missing_in_windows(windows, received, duration, lag) == 3
