"""The action loop with real-time chunking: what it asks the expert to continue, and when not."""

from fakes import buffers, FakeExpert, feed, ListedTicks, MS, START_NS, tick
import numpy as np
import pytest

from vla_core.freshness import Reaction
from vla_core.timebase import NS
from vla_inference.engine.action_loop import ActionLoop, LoopSettings

STEPS = np.arange(48.0).reshape(8, 6) / 1000


class Rig:
    """A loop whose chunks are published `late_ms` after their tick."""

    def __init__(self, late_ms=25, **settings):
        self.late_ms = late_ms
        self.buffers, self.expert = buffers(), FakeExpert(STEPS)
        self.steady_ns = 0
        self.loop = ActionLoop(
            self.buffers, self.expert, ListedTicks([]), self.publish,
            LoopSettings(**{'realtime_chunking': True, **settings}), steady=lambda: self.steady_ns,
        )  # fmt: skip
        self.published = []

    def publish(self, chunk):
        self.published.append(chunk)

    def step(self, index, feeding=True):
        if feeding:
            feed(self.buffers, START_NS + index * 100 * MS)
        self.steady_ns = (index * 100 + self.late_ms) * MS
        return self.loop.step(tick(index))


def test_the_chunk_before_shifted_by_the_ticks_gone_is_the_prefix():
    rig = Rig()
    first, second, after_a_gap = rig.step(10), rig.step(11), rig.step(13)
    prefixes = rig.expert.prefixes
    assert prefixes[0] == (None, 0) and first.committed_steps == 0
    assert np.array_equal(prefixes[1][0], first.delta[1:]) and prefixes[1][1] == 1
    assert np.array_equal(prefixes[2][0], second.delta[2:])
    assert (second.committed_steps, after_a_gap.committed_steps) == (1, 1)
    assert [chunk.reaction for chunk in rig.published] == [Reaction.USE] * 3
    assert rig.loop.continuation.counters.get('rtc_continued') == 2


def test_independent_chunks_have_no_prefix_and_nothing_committed():
    rig = Rig(realtime_chunking=False)
    rig.step(10)
    assert rig.step(11).committed_steps == 0
    assert rig.expert.prefixes == [(None, 0)] * 2


@pytest.mark.parametrize(('late_ms', 'actuation_delay_s'), [(130, 0.0), (60, 0.07)])
def test_a_measured_delay_of_two_steps_is_marked_and_the_chunk_is_independent(
    late_ms, actuation_delay_s
):
    rig = Rig(late_ms, actuation_delay_s=actuation_delay_s)
    rig.step(10)
    chunk = rig.step(11)
    assert rig.expert.prefixes[-1] == (None, 0) and chunk.committed_steps == 0
    assert (chunk.reaction, chunk.reasons) == (Reaction.MARK, ('rtc: delay 2 steps > 1',))
    assert np.array_equal(chunk.delta, STEPS), 'it is executed all the same'
    assert rig.loop.continuation.counters.get('rtc_delay') == 1


def test_after_a_hold_the_prefix_is_dropped():
    rig = Rig()
    rig.step(10)
    assert rig.step(90, feeding=False).reaction >= Reaction.HOLD
    chunk = rig.step(91)
    assert rig.expert.prefixes[-1] == (None, 0)
    assert (chunk.reaction, chunk.committed_steps) == (Reaction.USE, 0)


def test_an_expert_that_fails_on_a_prefix_holds_and_the_next_chunk_is_independent():
    rig = Rig()
    rig.step(10)
    rig.expert.result = RuntimeError('boom')
    held = rig.step(11)
    assert held.reaction is Reaction.HOLD and held.committed_steps == 0 and not held.delta.any()
    rig.expert.result = STEPS
    rig.step(12)
    assert rig.expert.prefixes[-1] == (None, 0)


def test_after_a_change_of_the_task_the_prefix_is_dropped():
    rig = Rig()
    rig.step(10)
    rig.buffers.set_task('retract', START_NS + NS + 50 * MS)
    chunk = rig.step(11)
    assert chunk.task == 'retract' and rig.expert.prefixes[-1] == (None, 0)
    rig.step(12)
    assert rig.expert.prefixes[-1][1] == 1, 'and the chunks for it are continued'
