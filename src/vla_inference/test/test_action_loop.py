from dataclasses import replace
import threading

from fakes import buffers, FakeExpert, feed, ListedTicks, MS, START_NS, TASK, tick
import numpy as np
import pytest

from vla_core.freshness import Reaction
from vla_core.timebase import ManualClock, NS, SteadyGrid
from vla_inference.engine.action_loop import ActionLoop, LoopSettings


class Rig:
    """A loop at tick 10 (START_NS + 1 s) with a steady clock that moves when told."""

    def __init__(self, result=None, ticks=()):
        self.buffers = buffers()
        self.expert = FakeExpert(result)
        self.steady_ns = 1000 * MS
        self.published, self.idles = [], []
        self.clock = ManualClock(START_NS + NS + 7 * MS)
        self.loop = ActionLoop(
            self.buffers,
            self.expert,
            ListedTicks(ticks),
            self.publish,
            LoopSettings(seed=40),
            self.clock,
            steady=lambda: self.steady_ns,
            idle=self.idles.append,
        )
        self.publish_takes_ns = 0

    def publish(self, chunk):
        self.steady_ns += self.publish_takes_ns
        self.published.append(chunk)

    def fresh(self):
        feed(self.buffers, START_NS + NS)
        return self


def test_every_field_of_a_chunk_is_filled():
    rig = Rig().fresh()
    rig.steady_ns += 3 * MS
    chunk = rig.loop.step(tick(10, late_ns=2 * MS))
    assert rig.published == [chunk] and rig.loop.last is chunk
    assert (chunk.chunk_id, chunk.tick_ns, chunk.task) == (11, START_NS + NS, TASK)
    assert chunk.step_stamps_ns == tuple(START_NS + NS + n * 100 * MS for n in range(8))
    assert chunk.delta.shape == (8, 6) and (chunk.delta == 1e-3).all()
    assert (chunk.reaction, chunk.reasons) == (Reaction.USE, ())
    assert chunk.lineage.sensor_fill == 1.0 and chunk.lineage.feature_id == 1000
    assert chunk.published_ns == START_NS + NS + 7 * MS
    assert (chunk.tick_late_s, chunk.total_s) == (0.002, 0.003)
    assert (chunk.snapshot_s, chunk.inference_s, chunk.deadline_misses) == (0, 0, 0)


def test_the_expert_gets_a_seed_of_its_own_each_tick_so_that_runs_repeat():
    rig = Rig().fresh()
    for index in (10, 11):
        rig.loop.step(replace(tick(10), index=index))
    assert rig.expert.seeds == [50, 51]


def test_a_fixed_phase_evens_out_the_time_of_publishing():
    rig = Rig().fresh()
    slept = []
    settings = LoopSettings(publish_phase_ns=20 * MS)
    rig.loop = ActionLoop(
        rig.buffers, rig.expert, ListedTicks([]), rig.publish, settings, rig.clock,
        steady=lambda: rig.steady_ns, sleep=slept.append,
    )  # fmt: skip
    rig.steady_ns += 8 * MS
    rig.loop.step(tick(10))
    rig.steady_ns += 30 * MS
    rig.loop.step(tick(10))
    assert slept == [0.012], 'a chunk that is late already does not wait'


def test_queues_are_emptied_before_the_inputs_are_looked_at():
    rig = Rig()
    rig.loop = ActionLoop(
        rig.buffers, rig.expert, ListedTicks([]), rig.publish, refill=rig.fresh,
        steady=lambda: rig.steady_ns,
    )  # fmt: skip
    assert rig.loop.step(tick(10)).reaction is Reaction.USE


def test_without_inputs_a_zero_chunk_with_reasons_is_published_on_time():
    rig = Rig()
    chunk = rig.loop.step(tick(0))
    assert chunk.reaction is Reaction.HOLD and not chunk.delta.any()
    assert [reason.split(':')[0] for reason in chunk.reasons] == ['features', 'sensor', 'robot']
    assert rig.expert.inputs == [] and rig.loop.counters.get('reaction_hold') == 1


@pytest.mark.parametrize(
    ('result', 'kind', 'text'),
    [
        (
            RuntimeError('device\nlost'),
            'expert_failed',
            'expert: failed: RuntimeError: device lost (hold)',
        ),
        (
            np.full((8, 6), np.nan),
            'invalid_action',
            'expert: gave numbers that are not finite (hold)',
        ),
        (
            np.full((8, 6), np.inf),
            'invalid_action',
            'expert: gave numbers that are not finite (hold)',
        ),
        (np.zeros((8, 7)), 'invalid_action', 'expert: gave shape (8, 7), not (8, 6) (hold)'),
        (np.full((8, 6), 5.0), 'invalid_action', 'expert: gave a step of 5, more than 1 (hold)'),
    ],
)
def test_a_broken_expert_holds_is_counted_and_recovers(result, kind, text):
    rig = Rig(result).fresh()
    chunk = rig.loop.step(tick(10))
    assert chunk.reaction is Reaction.HOLD and not chunk.delta.any()
    assert rig.loop.counters.get(kind) == 1
    assert chunk.reasons == (text,)
    rig.expert.result = None
    assert rig.loop.step(tick(10)).reaction is Reaction.USE, 'nothing latches'


def test_a_tick_that_publishes_after_its_successor_was_due_is_a_miss():
    rig = Rig().fresh()
    rig.publish_takes_ns = 101 * MS
    rig.loop.step(tick(10))
    assert rig.loop.counters.get('deadline_misses') == 1
    assert rig.loop.step(tick(11)).deadline_misses == 1


def test_grid_points_that_never_published_are_misses():
    rig = Rig().fresh()
    chunk = rig.loop.step(tick(10, skipped=3))
    assert chunk.deadline_misses == 3 and rig.loop.counters.get('skipped_ticks') == 3
    assert chunk.chunk_id == 11, 'the gap shows in the ids'


def test_the_idle_phase_learns_how_much_time_is_left():
    rig = Rig(ticks=[tick(10)]).fresh()
    rig.publish_takes_ns = 30 * MS
    rig.loop.run(threading.Event())
    assert rig.idles == [70 * MS]


def test_the_loop_runs_on_a_real_grid_and_stops():
    buffer, published, stop = buffers(), [], threading.Event()

    def publish(chunk):
        published.append(chunk)
        if len(published) == 5:
            stop.set()

    loop = ActionLoop(buffer, FakeExpert(), SteadyGrid(2 * MS), publish)
    thread = threading.Thread(target=loop.run, args=(stop,))
    thread.start()
    thread.join(10)
    assert not thread.is_alive() and len(published) == 5
    ids = [chunk.chunk_id for chunk in published]
    steps = {
        (b.tick_ns - a.tick_ns) / (b.chunk_id - a.chunk_id)
        for a, b in zip(published, published[1:])
    }
    assert ids == sorted(set(ids))
    assert all(abs(step - 2 * MS) < MS for step in steps)
