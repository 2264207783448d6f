import math

import numpy as np
import pytest

from vla_core.contract import ActionSpec
from vla_core.freshness import Reaction
from vla_core.timebase import NS, Tick
from vla_inference.engine.scripted_ticks import check_action, ScriptedTicks, Seen
from vla_sim.scripted import ScriptedExpert
from vla_sim.testing import truth_sample

START_NS = 1_700_000_000 * NS
INSERT = 'insert the needle into the trocar'


class Ticker:
    def __init__(self):
        self.steady_ns = 5 * NS
        self.ticks = ScriptedTicks(
            ScriptedExpert(0), ActionSpec(), 0.2, lambda: self.stamp_ns, lambda: self.steady_ns
        )
        self.index = 0

    @property
    def stamp_ns(self):
        return START_NS + self.index * NS // 10

    def step(self, task=INSERT, age_s=0.01, skipped=0, late_s=0.0, **seen):
        self.index += 1 + skipped
        sample = None if age_s is None else truth_sample(self.stamp_ns - round(age_s * NS))
        deadline_ns = self.steady_ns - round(late_s * NS)
        tick = Tick(self.index, deadline_ns, self.stamp_ns, round(late_s * NS), skipped)
        return self.ticks.step(tick, Seen(sample, task, **seen))


def test_chunk_moves_the_needle_with_fresh_truth():
    ticker = Ticker()
    for _ in range(5):
        chunk = ticker.step()
    assert chunk.reaction is Reaction.USE and chunk.reasons == ()
    assert np.linalg.norm(chunk.delta[:, :3]) > 1e-3
    assert chunk.task == INSERT
    assert [s - chunk.tick_ns for s in chunk.step_stamps_ns] == [k * NS // 10 for k in range(8)]


def test_retract_instruction_makes_another_motion():
    forth, back = Ticker(), Ticker()
    for _ in range(3):
        a, b = forth.step().delta, back.step('retract the needle').delta
    assert np.abs(a - b).max() > 1e-4


@pytest.mark.parametrize('age_s', [0.21, 5.0, None, -1.0])
def test_stale_missing_or_future_truth_holds_with_a_reason(age_s):
    chunk = Ticker().step(age_s=age_s)
    assert chunk.reaction is Reaction.HOLD
    assert (chunk.delta == 0).all()
    assert chunk.reasons[0].startswith('truth')


@pytest.mark.parametrize('task', ['', 'dance'])
def test_without_a_task_to_do_it_holds_and_says_how_to_give_one(task):
    chunk = Ticker().step(task=task)
    assert chunk.reaction is Reaction.HOLD and (chunk.delta == 0).all()
    assert 'vla task' in chunk.reasons[0]


def test_it_goes_on_by_itself_when_the_truth_is_back():
    ticker = Ticker()
    ticker.step(age_s=None)
    assert ticker.step().reaction is Reaction.USE


def test_lineage_tells_the_ages_of_robot_and_sensor_at_the_tick():
    ticker = Ticker()
    next_ns = ticker.stamp_ns + NS // 10
    line = ticker.step(robot_ns=next_ns - NS // 50, sensor_ns=next_ns - NS // 100).lineage
    assert line.robot_age_s == pytest.approx(0.02)
    assert line.sensor_age_s == pytest.approx(0.01)
    assert math.isnan(line.image_age_s) and math.isnan(line.feature_age_s)
    assert math.isnan(ticker.step().lineage.robot_age_s)


def test_skipped_and_late_ticks_are_counted():
    ticker = Ticker()
    ticker.step()
    assert ticker.step(skipped=2).deadline_misses == 2
    assert ticker.step(late_s=0.15).deadline_misses == 3
    assert ticker.ticks.counters.get('ticks') == 3


@pytest.mark.parametrize('change', [{'steps': 4}, {'period_s': 0.05}])
def test_contract_of_another_shape_is_refused(change):
    assert check_action(ActionSpec()) == ''
    assert 'expected 8 steps' in check_action(ActionSpec(**change))
