"""The steps of a replay, and the wait for answers, on nodes of the test's own."""

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_data.lockstep import first_tick_ns, LockstepError, STEP_NS, steps, walk

MS = 1_000_000
PERIOD_NS = 100 * MS
START_NS = 1_700_000_000_000 * MS + 12_345_678


def messages(offsets_ns):
    return [(f'/{n}', START_NS + at, b'%d' % n) for n, at in enumerate(sorted(offsets_ns))]


class Nodes:
    """Answers each step after it was told the time as often as `deaf` says; hears in `log`."""

    def __init__(self, deaf=0, refuses=''):
        self.deaf, self.refuses, self.log, self.now_s = deaf, refuses, [], 0.0

    def send(self, topic, data):
        self.log.append(topic)

    def undelivered(self, is_tick):
        self.now_s += 1.0
        return [self.refuses] if self.refuses else []

    def advance(self, time_ns):
        self.log.append(time_ns)

    def unanswered(self, step, timeout_s):
        self.now_s += 1.0
        return ['vlm_node'] if self.log.count(step.time_ns) <= self.deaf else []


@given(st.lists(st.integers(0, 1500 * MS), max_size=30))
def test_every_message_is_sent_once_before_the_first_step_at_or_after_its_time(offsets):
    sent = messages(offsets)
    every = list(steps(sent, START_NS, START_NS + 1500 * MS, PERIOD_NS))
    times = [step.time_ns for step in every]
    assert times[0] == first_tick_ns(START_NS, PERIOD_NS) < START_NS
    assert times[-1] >= START_NS + 1500 * MS - STEP_NS
    assert {b - a for a, b in zip(times, times[1:])} == {STEP_NS}
    assert [item for step in every for item in step.messages] == [(t, d) for t, _, d in sent]
    at = {topic: log_ns for topic, log_ns, _ in sent}
    for step in every:
        for topic, _ in step.messages:
            assert step.time_ns - STEP_NS < at[topic] <= step.time_ns


def test_ticks_lie_on_multiples_of_the_period_and_the_first_sees_nothing():
    every = list(steps(messages([0, 5 * MS]), START_NS, START_NS + 400 * MS, PERIOD_NS))
    assert all(step.is_tick == (step.time_ns % PERIOD_NS == 0) for step in every)
    assert every[0].is_tick and not every[0].messages
    on_grid = START_NS // PERIOD_NS * PERIOD_NS
    assert first_tick_ns(on_grid, PERIOD_NS) == on_grid - PERIOD_NS


def test_a_step_that_does_not_divide_the_period_is_refused():
    with pytest.raises(ValueError, match='no part of the period'):
        next(steps([], START_NS, START_NS, PERIOD_NS, 30 * MS))


def test_time_does_not_go_on_before_the_answer_and_is_told_again_until_then():
    nodes = Nodes(deaf=2)
    every = list(steps(messages([0, 15 * MS]), START_NS, START_NS + 20 * MS, PERIOD_NS))
    walked = walk(every, nodes, 10.0, 10.0, steady=lambda: nodes.now_s)
    expected = []
    for step in every:
        expected += [topic for topic, _ in step.messages] + [step.time_ns] * 3
    assert nodes.log == expected
    assert (walked.steps, walked.messages, walked.stopped) == (len(every), 2, False)


def test_a_node_that_does_not_answer_ends_the_replay_with_its_name():
    nodes = Nodes(deaf=1000)
    every = steps([], START_NS, START_NS + PERIOD_NS, PERIOD_NS)
    with pytest.raises(LockstepError, match='step 0 of vlm_node'):
        walk(every, nodes, 1.0, 20.0, steady=lambda: nodes.now_s)
    assert nodes.now_s > 20.0, 'the first step, when models are loaded, may take longer'


def test_a_message_that_nobody_takes_in_ends_the_replay_with_its_topic():
    nodes = Nodes(refuses='task')
    every = steps(messages([0]), START_NS, START_NS + PERIOD_NS, PERIOD_NS)
    with pytest.raises(LockstepError, match='nobody takes in task'):
        walk(every, nodes, 5.0, 5.0, steady=lambda: nodes.now_s)


def test_stop_ends_a_replay_that_waits():
    nodes = Nodes(deaf=1000)
    every = steps([], START_NS, START_NS + PERIOD_NS, PERIOD_NS)
    stopped = lambda: nodes.now_s > 5.0  # noqa: E731
    assert walk(every, nodes, 50.0, 50.0, stopped, lambda: nodes.now_s).stopped
