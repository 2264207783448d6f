"""Episodes of the live graph are judged by the truth as headless ones are."""

import math

import pytest

from vla_sim.testing import truth_sample
from vla_training.evaluation.watch import TruthWatch
from vla_training.simulation.judge import STANDING_M

MS = 1_000_000


def truth(ms, **values):
    """The needle on its way to the opening, but for `values`."""
    return truth_sample(ms * MS, **{'depth_m': -0.02, 'commanded_speed_m_s': 0.01} | values)


def feed(watch, start_ms, end_ms, **values):
    for ms in range(start_ms, end_ms, 10):
        watch.take(truth(ms, **values))


def test_the_needle_at_its_depth_for_a_second_is_a_success():
    watch = TruthWatch(7, limit_s=25.0)
    feed(watch, 0, 2000, commanded_speed_m_s=0.0)
    assert not watch.began and watch.verdict == ''
    feed(watch, 2000, 3000)
    feed(watch, 3000, 3500, depth_m=0.005, radial_m=0.0003, inside=True)
    feed(watch, 3500, 4490, depth_m=0.0172, inside=True)
    assert watch.began and watch.verdict == ''
    feed(watch, 4490, 4520, depth_m=0.0172, inside=True)
    result = watch.result('task server: canceled')
    assert result.success and result.reason == 'success' and result.seed == 7
    assert result.duration_s == pytest.approx(2.49, abs=0.03)
    assert result.entry_error_m == 0.0003 and result.depth_error_m == pytest.approx(0.0002)


def test_a_needle_that_creeps_is_held_only_where_it_need_not_stand():
    for standing_m, verdict in ((1e-3, 'success'), (STANDING_M['moving'], '')):
        watch = TruthWatch(0, 25.0, standing_m)
        for ms in range(0, 1200, 10):
            watch.take(truth(ms, depth_m=0.0166 + 0.0007e-3 * ms, inside=True))
        assert watch.verdict == verdict


def test_seconds_without_truth_do_not_count_as_held():
    watch = TruthWatch(0, 25.0)
    for second in range(8):
        watch.take(truth(second * 1000, depth_m=0.017, inside=True))
    assert watch.verdict == ''


def test_a_verdict_stays_whatever_comes_after_it():
    watch = TruthWatch(0, 25.0)
    feed(watch, 0, 1200, depth_m=0.017, inside=True)
    feed(watch, 1200, 1400, depth_m=0.020, inside=True, tissue_punctured=True)
    assert watch.verdict == 'success'


def test_failures_are_named_by_the_truth_and_then_by_the_task_server():
    punctured = TruthWatch(0, 25.0)
    feed(punctured, 0, 100, tissue_punctured=True, inside=True)
    assert punctured.result('').reason == 'punctured the tissue'
    late = TruthWatch(0, 1.0)
    feed(late, 0, 1100)
    assert late.result('').reason == 'time-out'
    struck = TruthWatch(0, 25.0)
    feed(struck, 0, 100, force_n=0.9, radial_m=0.0018, depth_m=0.001)
    assert struck.verdict == 'struck the trocar'
    levered = TruthWatch(0, 25.0)
    feed(levered, 0, 100, side_n=0.2, inside=True, depth_m=0.01)
    result = levered.result('task server: success')
    assert result.reason == 'levered the trocar' and not result.success
    assert result.peak_side_n == 0.2 and result.holds is None  # nobody counted them
    still = TruthWatch(0, 25.0).result('the robot never moved')
    assert still.reason == 'the robot never moved' and math.isnan(still.peak_force_n)
