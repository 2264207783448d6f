"""Several processes on the loopback address learn what one does from the same global batches."""

import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from distributed_run import main
import pytest
from safetensors.torch import load_file
import torch
from training import make_config, make_trainer

from vla_core.errors import VlaError
from vla_training.train import launch
from vla_training.train.log import read_log

SCRIPT = Path(__file__).with_name('distributed_run.py')


def test_two_processes_learn_what_one_does(tmp_path):
    main(tmp_path / 'one', tmp_path / 'one.safetensors')
    port = launch._free_port()
    command = [
        sys.executable,
        str(SCRIPT),
        str(tmp_path / 'two'),
        str(tmp_path / 'two.safetensors'),
    ]
    processes = [
        subprocess.Popen(
            command, env=launch._environment(rank, 2, port) | {'OMP_NUM_THREADS': '1'}
        )
        for rank in range(2)
    ]
    try:
        assert [process.wait(120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    one, two = (load_file(tmp_path / f'{name}.safetensors') for name in ('one', 'two'))
    assert set(one) == set(two)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6, msg=name)
    first, second = read_log(tmp_path / 'one'), read_log(tmp_path / 'two')
    assert [entry['kind'] for entry in first] == [entry['kind'] for entry in second]
    assert [entry['loss'] for entry in second] == pytest.approx(
        [entry['loss'] for entry in first], rel=1e-4
    )


def test_batches_that_cannot_be_dealt_out_are_refused(tmp_path):
    class Three:
        num_processes, process_index = 3, 0

    trainer = make_trainer(make_config(tmp_path, accumulation=4))
    with pytest.raises(VlaError, match='accumulation 4 must be a multiple of the 3 processes'):
        type(trainer)(trainer._run, Three())


def test_a_launch_ends_when_one_process_fails(monkeypatch):
    script = 'import os, sys, time; sys.exit(3) if os.environ["RANK"] == "1" else time.sleep(60)'
    monkeypatch.setattr(sys, 'orig_argv', [sys.executable, '-c', script])
    assert launch.launch(2) == 3


def test_an_interrupt_reaches_each_process_once(monkeypatch, tmp_path):
    script = (
        'import os, pathlib, signal, sys, time\n'
        'told = []\n'
        'signal.signal(signal.SIGINT, lambda *_: told.append(1))\n'
        f'mine = pathlib.Path({str(tmp_path)!r}) / os.environ["RANK"]\n'
        'mine.touch()\n'
        'end = time.monotonic() + 30\n'
        'while not told and time.monotonic() < end: time.sleep(0.02)\n'
        'time.sleep(0.2)\n'
        'sys.exit(130 if len(told) == 1 else 1)\n'
    )
    monkeypatch.setattr(sys, 'orig_argv', [sys.executable, '-c', script])
    wait = launch._wait

    def interrupted(started):
        deadline = time.monotonic() + 30
        while len(list(tmp_path.iterdir())) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        return wait(started)

    monkeypatch.setattr(launch, '_wait', interrupted)
    assert launch.launch(2) == 130


def test_a_process_of_another_launcher_starts_no_others(monkeypatch):
    assert launch.needs_launch(2) and not launch.needs_launch(1)
    monkeypatch.setitem(os.environ, 'RANK', '0')
    assert not launch.needs_launch(2)
