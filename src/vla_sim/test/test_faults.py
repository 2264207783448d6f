"""Fault options and what the channel does with messages."""

import numpy as np
import pytest

from vla_core.errors import ConfigError
from vla_sim.faults import Channel, Fault, FaultPlan, parse_fault
from vla_sim.shared import COLUMNS, SharedState, WIDTH

MS = 1_000_000


class Wire:
    """A channel of stream 'sensor' whose messages are one-byte counts."""

    def __init__(self, *faults, seed=0, accepts=True):
        self.counters = SharedState().counters('sensor')
        self.received = []
        self.accepts = accepts
        plan = FaultPlan('sensor', faults)
        self.channel = Channel(plan, self.counters, self._send, self._corrupt, (seed, 3))

    def _send(self, message):
        self.received.append(message[0])
        return self.accepts

    @staticmethod
    def _corrupt(message, rng):
        return (b'broken',)

    def run(self, count=1000, period_ns=MS):
        for i in range(count):
            self.channel.push((i.to_bytes(2, 'big'),), 1, i * period_ns, i * period_ns / 1e9)
        self.channel.drain()
        return [int.from_bytes(m, 'big') if m != b'broken' else None for m in self.received]

    def count(self, name):
        return self.counters.snapshot()[name]


def test_without_faults_everything_passes_in_order():
    wire = Wire()
    assert wire.run(100) == list(range(100))


def test_loss_is_counted_and_near_its_probability():
    wire = Wire(Fault('loss', None, 0.1))
    received = wire.run()
    assert len(received) == 1000 - wire.count('lost')
    assert 60 < wire.count('lost') < 140


def test_duplicates_follow_their_originals_and_are_counted():
    wire = Wire(Fault('duplicate', 'sensor', 0.2))
    received = wire.run()
    assert len(received) == 1000 + wire.count('duplicated')
    assert wire.count('duplicated') > 100
    assert sorted(set(received)) == list(range(1000))


def test_reordered_messages_come_after_their_successor_and_none_is_lost():
    wire = Wire(Fault('reorder', None, 0.2))
    received = wire.run()
    assert sorted(received) == list(range(1000))
    late = [second for first, second in zip(received, received[1:]) if second < first]
    assert len(late) == pytest.approx(wire.count('reordered'), abs=1)
    assert all(received[received.index(i) - 1] == i + 1 for i in late)


def test_corrupted_messages_are_counted():
    wire = Wire(Fault('corrupt', None, 0.1))
    received = wire.run()
    assert received.count(None) == wire.count('corrupted') > 50


def test_delayed_messages_leave_when_they_are_due():
    wire = Wire(Fault('delay_ms', None, 5.0))
    for i in range(10):
        wire.channel.push((bytes([0, i]),), 1, i * MS, i / 1000)
    assert len(wire.received) == 5  # the newest was pushed at 9 ms; those from 0 to 4 ms are due
    assert wire.channel.poll(10 * MS) == 11 * MS
    wire.channel.drain()
    assert len(wire.received) == wire.count('delayed') == 10


def test_faults_act_only_in_their_time():
    wire = Wire(Fault('loss', None, 1.0, start_s=0.3, length_s=0.2))
    assert wire.run() == [*range(300), *range(500, 1000)]


def test_same_seed_gives_the_same_faults():
    faults = (Fault('loss', None, 0.1), Fault('reorder', None, 0.1), Fault('duplicate', None, 0.1))
    assert Wire(*faults).run() == Wire(*faults).run()
    assert Wire(*faults).run() != Wire(*faults, seed=1).run()


def test_refused_messages_are_counted_as_dropped():
    wire = Wire(accepts=False)
    wire.run(10)
    assert wire.count('dropped') == 10


def test_faults_of_other_streams_do_not_strike():
    faults = [Fault('loss', 'cameras', 1.0)]
    assert not FaultPlan('sensor', faults).any
    assert FaultPlan('view3', faults).any
    assert not FaultPlan('view3', [Fault('loss', 'view2', 1.0)]).any


@pytest.mark.parametrize(
    ('kind', 'text', 'expected'),
    [
        ('loss', '0.01', Fault('loss', None, 0.01)),
        ('loss', 'sensor=0.05', Fault('loss', 'sensor', 0.05)),
        ('freeze', 'view3', Fault('freeze', 'view3', 1.0)),
        ('freeze', 'view3@10', Fault('freeze', 'view3', 1.0, 10.0)),
        ('freeze', '@10:5', Fault('freeze', None, 1.0, 10.0, 5.0)),
        ('loss', 'cameras=1@2.5:3', Fault('loss', 'cameras', 1.0, 2.5, 3.0)),
        ('delay_ms', 'robot=250', Fault('delay_ms', 'robot', 250.0)),
    ],
)
def test_fault_options_are_read(kind, text, expected):
    assert parse_fault(kind, text) == expected


@pytest.mark.parametrize(
    ('kind', 'text', 'message'),
    [
        ('loss', 'sensr=0.1', 'did you mean sensor'),
        ('loss', '1.5', 'from 0 to 1'),
        ('loss', 'sensor', 'expected'),
        ('loss', 'a b c', 'expected'),
        ('delay_ms', '-1', 'from 0'),
        ('loss', '1e', 'expected numbers'),
    ],
)
def test_wrong_fault_options_say_what_is_expected(kind, text, message):
    with pytest.raises(ConfigError, match=message):
        parse_fault(kind, text)


def test_ring_interpolates_joints_but_not_phases():
    shared = SharedState()
    shared.go(1_000_000_000)
    for i in range(10):
        state = np.zeros(WIDTH)
        state[0], state[COLUMNS.phase] = i, i
        shared.append(state)
    states, outside = shared.states_at(np.array([1_003_000_000, 999_000_000, 1_100_000_000]))
    np.testing.assert_allclose(states[:, 0], [1.5, 0, 9])
    np.testing.assert_allclose(states[:, COLUMNS.phase], [1, 0, 9])
    assert outside == 2
    assert shared.has_state(1_018_000_000) and not shared.has_state(1_018_000_001)
