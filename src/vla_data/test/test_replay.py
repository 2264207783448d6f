"""The pace of a replay, on a clock of the test's own."""

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_data.replay import Event, NS, Player, timeline

START_NS = 1_700_000_000 * NS


class Clock:
    """Time that passes only by sleeping; some publishing may take time, too."""

    def __init__(self):
        self.now_s = 50.0
        self.busy_s = 0.0

    def steady(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds


def play(events, rate=1.0, busy_s=0.0):
    clock, seen = Clock(), []

    def publish(event):
        seen.append((clock.now_s - 50.0, event))
        clock.now_s += busy_s

    return Player(rate, publish, clock.steady, clock.sleep).play(events, START_NS), seen


def messages(*times_s):
    return [('/a', START_NS + round(t * NS), b'x') for t in times_s]


@pytest.mark.parametrize('rate', [0.5, 1.0, 4.0])
def test_messages_keep_their_distances_at_any_rate(rate):
    events = timeline(messages(0.0, 0.1, 0.25, 3.0), START_NS, START_NS + 4 * NS)
    played, seen = play(events, rate)
    assert [at for at, _ in seen] == pytest.approx([0.0, 0.1 / rate, 0.25 / rate, 3.0 / rate])
    assert played.messages == 4


def test_a_late_message_does_not_move_the_next():
    events = timeline(messages(0.0, 0.01, 0.02, 1.0), START_NS, START_NS + 2 * NS)
    played, seen = play(events, busy_s=0.1)
    assert seen[-1][0] == pytest.approx(1.0)
    assert played.late_ms(0.99) > 100


@given(st.lists(st.integers(0, 3 * NS), max_size=30), st.integers(NS // 200, NS))
def test_clock_ticks_lie_on_their_grid_and_before_the_messages_of_their_time(times, period_ns):
    start_ns = START_NS + 12345
    sent = [('/a', start_ns + t, b'') for t in sorted(times)]
    events = list(timeline(sent, start_ns, start_ns + 3 * NS, period_ns))
    assert [event.time_ns for event in events] == sorted(event.time_ns for event in events)
    ticks = [event.time_ns for event in events if not event.topic]
    assert ticks[0] == start_ns
    assert all(tick % period_ns == 0 for tick in ticks[1:])
    first, last = start_ns // period_ns + 1, (start_ns + 3 * NS) // period_ns
    assert len(ticks) == 1 + last - first + 1
    assert sum(bool(event.topic) for event in events) == len(times)


def test_without_a_clock_there_are_only_messages():
    events = list(timeline(messages(0.0, 1.0), START_NS, START_NS + NS))
    assert events == [Event(START_NS, '/a', b'x'), Event(START_NS + NS, '/a', b'x')]


def test_stop_ends_a_replay_in_a_silence():
    player = Player(1.0, lambda event: player.stop())
    played = player.play(timeline(messages(0.0, 3600.0), START_NS, START_NS), START_NS)
    assert played.stopped and played.messages == 1
