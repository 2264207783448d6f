"""Clock models on simulated remote clocks: offset, drift, jitter, steps of either clock."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core.clock_model import EstimatedClock, make_clock, TrustedClock
from vla_core.errors import ConfigError
from vla_core.timebase import NS

START_NS = 1_700_000_000 * NS
MS = 1_000_000


@dataclass
class Link:
    """A remote clock that is off and drifts, our clock, and a network that queues."""

    model: EstimatedClock
    offset_ns: int = 0  # local minus remote
    drift_ppm: float = 0.0  # of local against remote
    least_ns: int = 100_000
    queue_ns: int = 2 * MS  # mean of the exponential delay on top
    period_ns: int = 10 * MS
    seed: int = 0
    now_ns: int = START_NS  # of the remote clock
    random: np.random.Generator = field(init=False)

    def __post_init__(self):
        self.random = np.random.default_rng(self.seed)

    def local_ns(self, remote_ns):
        return remote_ns + self.offset_ns + round((remote_ns - START_NS) * self.drift_ppm / 1e6)

    def run(self, seconds, extra_ns=0):
        for _ in range(round(seconds * NS / self.period_ns)):
            self.now_ns += self.period_ns
            delay_ns = self.least_ns + round(self.random.exponential(self.queue_ns)) + extra_ns
            self.model.observe(self.now_ns, self.local_ns(self.now_ns) + delay_ns)
        return self

    def error_ns(self):
        """How far converted stamps are from the truth, the least delay put aside."""
        return self.model.to_local(self.now_ns) - self.local_ns(self.now_ns) - self.least_ns


def test_before_any_message_stamps_pass_unchanged():
    clock = EstimatedClock()
    assert clock.to_local(START_NS) == START_NS
    assert (clock.offset_ns, clock.jitter_ns, clock.drift_ppm, clock.steps) == (0, 0, 0.0, 0)


def test_first_message_alone_gives_an_offset():
    clock = EstimatedClock()
    clock.observe(START_NS, START_NS + 5 * MS)
    assert clock.to_local(START_NS) == START_NS + 5 * MS
    assert clock.to_local(START_NS + 10 * MS) == START_NS + 15 * MS
    assert (clock.offset_ns, clock.steps) == (5 * MS, 0)


@given(st.integers(-(10**6), 10**6), st.floats(-100, 100), st.integers(0, 1000))
def test_offset_and_drift_are_found_through_queueing(offset_ms, drift_ppm, seed):
    link = Link(EstimatedClock(), offset_ms * MS, drift_ppm, seed=seed).run(40)
    assert abs(link.error_ns()) < 0.3 * MS
    assert link.model.drift_ppm == pytest.approx(drift_ppm, abs=20)
    assert link.model.offset_ns == pytest.approx(
        link.local_ns(link.now_ns) - link.now_ns + link.least_ns, abs=0.5 * MS
    )
    assert link.model.steps == 0
    # 95th percentile of an exponential of mean 2 ms is 6 ms.
    assert 4 * MS < link.model.jitter_ns < 9 * MS


@given(st.floats(-100, 100), st.integers(0, 1000))
def test_slow_sources_are_tracked_too(drift_ppm, seed):
    model = EstimatedClock()
    link = Link(model, 7 * MS, drift_ppm, period_ns=200 * MS, seed=seed).run(60)
    assert abs(link.error_ns()) < 2 * MS
    assert model.steps == 0


def test_drift_is_followed_for_an_hour():
    link = Link(EstimatedClock(), 0, 80.0, period_ns=100 * MS)
    for _ in range(60):
        link.run(60)
        assert abs(link.error_ns()) < 1 * MS
    assert link.model.steps == 0


@given(
    st.sampled_from([-3_600_000, -2000, -200, -50, 50, 200, 2000, 3_600_000]),
    st.integers(0, 1000),
)
def test_step_of_either_clock_is_detected_counted_and_estimated_anew(step_ms, seed):
    link = Link(EstimatedClock(), 12 * MS, 20.0, seed=seed).run(30)
    link.offset_ns += step_ms * MS
    link.run(5)
    assert link.model.steps == 1
    assert abs(link.error_ns()) < 1 * MS
    link.run(30)
    assert link.model.steps == 1
    assert abs(link.error_ns()) < 0.5 * MS


@given(st.sampled_from([-3_600_000, -2000, 2000, 3_600_000]), st.integers(0, 1000))
def test_step_of_the_remote_clock_itself_is_detected(step_ms, seed):
    link = Link(EstimatedClock(), 12 * MS, seed=seed).run(30)
    link.now_ns += step_ms * MS
    link.offset_ns -= step_ms * MS
    link.run(5)
    assert link.model.steps == 1
    assert abs(link.error_ns()) < 1 * MS


def test_two_steps_are_two():
    link = Link(EstimatedClock()).run(10)
    for count, step_ms in enumerate((500, -500, -500), start=1):
        link.offset_ns += step_ms * MS
        link.run(5)
        assert link.model.steps == count
    assert abs(link.error_ns()) < 1 * MS


@given(st.sampled_from([-(10**15), -(10**9), 10**9, 10**15]), st.integers(1, 4))
def test_a_few_garbled_times_do_no_harm(error_ns, count):
    link = Link(EstimatedClock(), 12 * MS).run(30)
    before = link.model.offset_ns
    for index in range(count):
        sent_ns = link.now_ns + index
        link.model.observe(sent_ns + error_ns, link.local_ns(sent_ns) + link.least_ns)
    assert link.model.steps == 0
    assert abs(link.model.offset_ns - before) < MS
    link.run(1)
    assert abs(link.error_ns()) < 0.5 * MS
    assert link.model.steps == 0


def test_garbled_first_message_is_forgotten_and_is_no_step():
    model = EstimatedClock()
    model.observe(START_NS - 86_400 * NS, START_NS)
    link = Link(model, 12 * MS).run(5)
    assert model.steps == 0
    assert abs(link.error_ns()) < 1 * MS


def test_congestion_for_a_second_is_no_step():
    link = Link(EstimatedClock(), 12 * MS).run(30)
    link.run(1, extra_ns=80 * MS)
    assert abs(link.error_ns()) < 0.5 * MS
    link.run(5)
    assert link.model.steps == 0
    assert abs(link.error_ns()) < 0.5 * MS


def test_hour_of_silence_is_drift_and_no_step():
    link = Link(EstimatedClock(), 12 * MS, 90.0).run(30)
    link.now_ns += 3600 * NS
    link.run(5)
    assert link.model.steps == 0
    assert abs(link.error_ns()) < 1 * MS


@given(st.sampled_from([-2000, 2000]), st.integers(0, 100))
def test_nothing_sent_is_ever_dated_after_it_was_received(step_ms, seed):
    link = Link(EstimatedClock(), 12 * MS, 50.0, seed=seed)
    for step in (0, step_ms):
        link.now_ns += step * MS
        link.offset_ns -= step * MS
        for _ in range(300):
            link.run(0.01)
            received_ns = link.model._last.receive_ns
            assert link.model.to_local(link.now_ns) <= received_ns
            assert link.model.to_local(link.now_ns - 20 * MS) <= received_ns


def test_bursts_and_repeated_messages_are_harmless():
    model = EstimatedClock()
    for index in range(2000):
        send_ns = START_NS + (index // 13) * 20 * MS
        model.observe(send_ns, send_ns + 12 * MS)
    assert model.to_local(START_NS) == START_NS + 12 * MS
    assert (model.steps, model.jitter_ns) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 2**62)), max_size=60))
def test_any_pairs_of_times_are_survived(pairs):
    model = EstimatedClock()
    for send_ns, receive_ns in pairs:
        model.observe(send_ns, receive_ns)
        assert isinstance(model.to_local(send_ns), int)
        assert model.jitter_ns >= 0
        assert abs(model.drift_ppm) <= 500


def test_trusted_clock_passes_stamps_and_still_measures():
    clock = TrustedClock()
    link = Link(clock, 150 * MS).run(10)
    assert clock.to_local(START_NS) == START_NS
    assert clock.offset_ns == pytest.approx(150 * MS, abs=MS)
    assert clock.jitter_ns > 0
    link.offset_ns += NS
    link.run(5)
    assert clock.steps == 1
    assert clock.drift_ppm == 0.0


def test_clock_is_made_by_name():
    assert isinstance(make_clock('trusted'), TrustedClock)
    assert isinstance(make_clock('estimated'), EstimatedClock)
    with pytest.raises(ConfigError, match='did you mean estimated'):
        make_clock('estimate')


@pytest.mark.parametrize(
    'changes', [{'bin_s': 0}, {'bin_s': 40}, {'step_s': 0}, {'confirm_count': 0}]
)
def test_senseless_settings_are_refused(changes):
    with pytest.raises(ValueError, match='expected'):
        EstimatedClock(**changes)
