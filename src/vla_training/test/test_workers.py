"""Work in several processes ends with the first that goes wrong, in one line."""

import multiprocessing
import os
import signal
import time

import pytest

from vla_core.errors import VlaError
from vla_policy.errors import CheckpointError
from vla_training.evaluation.workers import work_through

LONG_S = 60.0  # nobody waits for it


def nothing():
    return None


def damaged():
    raise CheckpointError('manifest.json', 'wrong hash', 'copy it again')


def work(tool, item):
    if item == 'long':
        time.sleep(LONG_S)
    if item == 'killed':
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 'mask':
        return signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return item


def test_a_tool_that_cannot_be_made_is_one_error_not_workers_without_end():
    with pytest.raises(CheckpointError, match=r'^manifest.json: wrong hash; copy it again$'):
        list(work_through(damaged, work, range(4), 2))
    assert not multiprocessing.active_children()


def test_results_come_as_they_finish_and_who_goes_away_ends_the_rest():
    began_s = time.monotonic()
    results = work_through(nothing, work, ('long', 'short'), 2)
    assert next(results) == 'short'
    results.close()
    assert not multiprocessing.active_children() and time.monotonic() - began_s < LONG_S


def test_a_killed_worker_ends_the_others_and_is_told():
    began_s = time.monotonic()
    with pytest.raises(VlaError, match='worker process was killed.*fewer jobs'):
        list(work_through(nothing, work, ('long', 'killed'), 2))
    assert not multiprocessing.active_children() and time.monotonic() - began_s < LONG_S


def test_workers_never_see_ctrl_c_and_the_caller_does():
    assert all(signal.SIGINT in mask for mask in work_through(nothing, work, ['mask'] * 2, 2))
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
