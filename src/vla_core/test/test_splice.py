"""The splice meter: its definition, on chunks whose changes are known."""

import math
import threading

import numpy as np
import pytest

from vla_core.execution.executor import ChunkExecutor, ExecutorSettings
from vla_core.execution.splice import LEAST_CHANGE_M, SpliceMeter
from vla_core.execution.values import TimedChunk
from vla_core.freshness import Reaction
from vla_core.timebase import NS

PERIOD_NS = NS // 10
RAMP = 0.001  # m by which neighbouring steps of a chunk differ


def ramp(tick, first_m, **changes):
    """Return a chunk of 8 steps along x that starts at first_m and grows by RAMP a step."""
    delta = np.zeros((8, 6))
    delta[:, 0] = first_m + RAMP * np.arange(8)
    stamps_ns = (tick + np.arange(8)) * PERIOD_NS
    return TimedChunk(tick + 1, tick * PERIOD_NS, stamps_ns, delta, **changes)


def run(chunks, late_ns=NS // 40):
    """Execute chunks published `late_ns` after their tick, asking 100 times a second."""
    made = ChunkExecutor(ExecutorSettings())
    for chunk in chunks:
        for ms in range(0, 100, 10):
            if ms * NS // 1000 <= late_ns < (ms + 10) * NS // 1000:
                made.add(chunk, chunk.made_ns + late_ns)
            made.at(chunk.made_ns + ms * NS // 1000)
    return made.splice


def test_nothing_measured_is_not_a_number():
    assert math.isnan(SpliceMeter().ratio)
    assert math.isnan(SpliceMeter().figures().ratio_p50)


@pytest.mark.parametrize('late_ns', [0, NS // 40])
def test_chunks_that_continue_each_other_have_the_ratio_one(late_ns):
    meter = run([ramp(tick, tick * RAMP) for tick in range(5)], late_ns)
    assert meter.splices == 4
    assert meter.ratio == pytest.approx(1.0)
    assert meter.figures().ratio_p50 == pytest.approx(1.0)


def test_a_jump_between_chunks_is_measured_in_changes_inside_chunks():
    meter = run([ramp(0, 0.0), ramp(1, 0.005)])
    assert meter.ratio == pytest.approx(5.0)  # from step 0 of the one to step 0 of the other
    assert meter.figures().jump_ratio_p50 == pytest.approx(4.0)  # from step 1 to step 0


def test_length_ratio_is_against_the_median_length_of_a_step():
    figures = run([ramp(0, 0.0), ramp(1, 0.0035)]).figures()
    assert figures.length_ratio_p50 == pytest.approx(0.0035 / figures.step_length_m)
    lengths = [*np.arange(8), *(3.5 + np.arange(8))]
    assert figures.step_length_m == pytest.approx(np.median(lengths) * RAMP)


def test_a_start_after_a_pause_or_a_hold_is_no_splice():
    assert run([ramp(0, 0.0), ramp(20, 0.5)]).splices == 0
    held = [ramp(0, 0.0), ramp(1, 0.0, reaction=Reaction.HOLD), ramp(2, 0.5)]
    assert run(held).splices == 0


def test_constant_steps_do_not_divide_by_zero():
    meter = SpliceMeter()
    for key in (1, 2):
        meter.inside(np.full((8, 6), 0.01))
        meter.executed(key, key * PERIOD_NS, np.full(6, 0.01))
    assert meter.ratio == 0.0
    meter.executed(3, 3 * PERIOD_NS, np.full(6, 0.02))
    assert meter.ratio > 0.01 / LEAST_CHANGE_M


def test_rotation_counts_by_the_lever():
    meter = SpliceMeter(lever_m=0.1)
    meter.inside(np.array([[0, 0, 0, 0, 0, 0], [0, 0, 0, 0.01, 0, 0]]))
    assert meter.figures().inside_change_m == pytest.approx(0.001)


def test_figures_can_be_read_while_another_thread_measures():
    meter, stop, failures = SpliceMeter(), threading.Event(), []

    def read():
        try:
            while not stop.is_set():
                meter.figures()
        except RuntimeError as error:
            failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    for key in range(2000):
        meter.executed(key, key * PERIOD_NS, np.full(6, key / 1000))
        meter.inside(np.full((2, 6), key / 1000))
    stop.set()
    thread.join(10)
    assert not failures and not thread.is_alive() and meter.splices == 1999
