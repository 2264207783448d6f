"""Several processes on the loopback address learn what one does from the same global batches."""

from contextlib import nullcontext
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from distributed_run import main
import numpy as np
import pytest
from safetensors.torch import load_file
import torch
from training import make_config, make_model, make_trainer

from vla_core.errors import VlaError
from vla_policy.checkpoint import load_vlm, read_manifest
from vla_training.train import launch
from vla_training.train.config import to_dict
from vla_training.train.interrupt import Interrupt
from vla_training.train.log import read_log

HERE = Path(__file__).parent
PICTURES = list(np.random.default_rng(3).integers(0, 255, (5, 192, 256, 3), np.uint8))


def run_two(script, *arguments):
    port = launch._free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, str(HERE / script), *map(str, arguments)],
            env=launch._environment(rank, 2, port) | {'OMP_NUM_THREADS': '1'},
        )
        for rank in range(2)
    ]
    try:
        assert [process.wait(120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()


def assert_alike(one, two):
    one, two = load_file(one), load_file(two)
    assert set(one) == set(two)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize('distributed', ['ddp', 'fsdp'])
def test_two_processes_learn_what_one_does(tmp_path, distributed):
    main(tmp_path / 'one', tmp_path / 'one.safetensors')
    run_two('distributed_run.py', tmp_path / 'two', tmp_path / 'two.safetensors', distributed, '')
    assert_alike(tmp_path / 'one.safetensors', tmp_path / 'two.safetensors')
    first, second = read_log(tmp_path / 'one'), read_log(tmp_path / 'two')
    assert [entry['kind'] for entry in first] == [entry['kind'] for entry in second]
    assert [entry['loss'] for entry in second] == pytest.approx(
        [entry['loss'] for entry in first], rel=1e-4
    )


def test_a_state_of_one_process_is_gone_on_with_by_two_that_hold_parts(tmp_path, monkeypatch):
    main(tmp_path / 'one', tmp_path / 'one.safetensors')
    config = make_config(tmp_path / 'two', accumulation=4, steps=6)
    half = make_trainer(config, make_model(head='flow'))
    asked = property(lambda interrupt: half.progress.step == 3, lambda interrupt, value: None)
    monkeypatch.setattr(Interrupt, 'asked', asked, raising=False)
    assert not half.train()
    run_two('distributed_run.py', tmp_path / 'two', tmp_path / 'two.safetensors', 'fsdp', 'resume')
    assert_alike(tmp_path / 'one.safetensors', tmp_path / 'two.safetensors')


@pytest.mark.slow
@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
@pytest.mark.parametrize('stage', ['lora', 'full'])
def test_a_backbone_in_parts_learns_what_a_whole_one_does(
    train_config, init, tmp_path, stage, precision
):  # fmt: skip
    found = {}
    for name, distributed in (('copies', 'ddp'), ('parts', 'fsdp')):
        config = train_config(
            name, stage=stage, batch=1, accumulation=4, steps=3, averaging=0.5, log_every=1,
            optimizer={'vl_learning_rate': 1e-3}, lora={'rank': 4, 'dropout': 0.1},
            precision=precision, validation_samples=2, distributed=distributed,
        )  # fmt: skip
        given = tmp_path / f'{name}.json'
        given.write_text(json.dumps(to_dict(config)))
        run_two('distributed_train.py', given)
        best = Path(config.out) / 'best'
        read_manifest(best, verify=True)
        tokens = load_vlm(best, dtype='float32').encode(PICTURES, 'insert the needle').tokens
        found[name] = [entry['loss'] for entry in read_log(Path(config.out))], tokens
    rounding, share = {'float32': (1e-4, 0.02), 'bfloat16': (1e-2, 0.3)}[precision]
    np.testing.assert_allclose(found['parts'][0], found['copies'][0], rtol=rounding)
    before = load_vlm(init, dtype='float32').encode(PICTURES, 'insert the needle').tokens
    parts, copies = (np.float32(found[name][1]) for name in ('parts', 'copies'))
    learned = np.abs(parts - np.float32(before)).max()
    assert learned > 0.05
    assert np.abs(parts - copies).max() < share * learned  # tokens are told in float16


def test_one_process_holds_no_parts(tmp_path):
    with pytest.raises(VlaError, match='there is one: start several'):
        make_trainer(make_config(tmp_path, distributed='fsdp'))


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


def test_a_process_that_was_killed_is_named_with_the_signal(monkeypatch):
    script = (
        'import os, sys, time\n'
        'if os.environ["RANK"] == "1": os.kill(os.getpid(), 9)\n'
        'time.sleep(60)\n'
    )
    monkeypatch.setattr(sys, 'orig_argv', [sys.executable, '-c', script])
    with pytest.raises(VlaError, match='process 1 of 2 was ended by SIGKILL: too little memory'):
        launch.launch(2)


def test_who_loses_another_process_says_so_without_a_traceback(monkeypatch, tmp_path, capfd):
    arguments = [sys.executable, str(HERE / 'distributed_death.py'), str(tmp_path)]
    monkeypatch.setattr(sys, 'orig_argv', arguments)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    with pytest.raises(VlaError, match='process 1 of 2 was ended by SIGKILL'):
        launch.launch(2)
    assert 'Traceback' not in capfd.readouterr().err


def test_other_errors_are_not_taken_for_a_lost_process():
    with pytest.raises(RuntimeError, match='shapes'):
        with launch.beside_others():
            raise RuntimeError('shapes do not fit')
    with pytest.raises(VlaError, match='lost another process'):
        with launch.beside_others():
            raise RuntimeError('[/x/gloo/transport/tcp/pair.cc:537] Connection reset by peer')


def test_the_group_of_the_processes_is_left_at_the_end(tmp_path):
    for error in (None, VlaError('the disk is full')):
        with pytest.raises(VlaError) if error else nullcontext(), launch.beside_others():
            store = f'file://{tmp_path}/{error is None}'
            torch.distributed.init_process_group('gloo', store, rank=0, world_size=1)
            if error:
                raise error
        assert not torch.distributed.is_initialized()


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
