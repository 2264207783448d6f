"""Features on disk: whole or not at all, found again, limited in size."""

import multiprocessing
import os
import pickle
import signal

from conftest import identity
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from safetensors import SafetensorError

from vla_core.errors import VlaError
from vla_training.cache import store
from vla_training.cache.files import replace_file
from vla_training.cache.store import FeatureCache, ShardWriter, SizeLimit, WriteLock


def key(number):
    return number.to_bytes(32, 'little')


def tokens(number):
    return np.full((3, 4), number, np.float16)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 9))
def test_whatever_is_added_is_found_again(tmp_path_factory, numbers, shard_sets):
    root = tmp_path_factory.mktemp('cache')
    writer = ShardWriter(FeatureCache(root, identity()), shard_sets=shard_sets)
    for number in numbers:
        if key(number) not in writer:
            writer.add(key(number), tokens(number))
    writer.flush()
    again = FeatureCache(root, identity())
    assert len(again) == len(set(numbers))
    for number in numbers:
        np.testing.assert_array_equal(again.get(key(number)), tokens(number))
    assert key(99) not in again


def test_another_encoder_finds_nothing(cache):
    writer = ShardWriter(cache)
    writer.add(key(1), tokens(1))
    writer.flush()
    assert key(1) in cache
    assert key(1) not in FeatureCache(cache.root, identity(pooling='other'))


def _write_and_die(root):
    cache = FeatureCache(root, identity())
    writer = ShardWriter(cache, shard_sets=2)
    for number in range(2):
        writer.add(key(number), tokens(number))
    replace = os.replace

    def die(source, target):
        if str(target).endswith('.safetensors'):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    store.os.replace = die
    for number in range(2, 4):
        writer.add(key(number), tokens(number))


def test_a_killed_run_loses_its_unfinished_shard_and_nothing_else(tmp_path):
    process = multiprocessing.get_context('spawn').Process(target=_write_and_die, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    cache = FeatureCache(tmp_path, identity())
    assert [key(number) in cache for number in range(4)] == [True, True, False, False]
    assert len(list(tmp_path.rglob('.partial-*'))) == 1
    with WriteLock(tmp_path) as lock:
        assert lock.removed == 1
        assert not list(tmp_path.rglob('.partial-*'))
        writer = ShardWriter(cache)
        writer.add(key(2), tokens(2))
        writer.flush()
    assert len(FeatureCache(tmp_path, identity())) == 3


def test_two_runs_cannot_write_at_once(tmp_path):
    with WriteLock(tmp_path):
        with pytest.raises(VlaError, match='another vla cache'):
            WriteLock(tmp_path)
    WriteLock(tmp_path).__exit__()


def test_a_cut_off_shard_is_named(cache):
    writer = ShardWriter(cache)
    writer.add(key(1), tokens(1))
    writer.flush()
    shard = next(cache.folder.glob('*.safetensors'))
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(VlaError, match=f'{shard.name}: is damaged .*delete it'):
        FeatureCache(cache.root, identity())


def test_the_size_limit_says_what_to_do_and_keeps_what_is_done(cache):
    writer = ShardWriter(cache, SizeLimit(cache.root, 1000).check, shard_sets=1)
    writer.add(key(1), tokens(1))
    with pytest.raises(VlaError, match='exceed --max-gb .* What is done stays'):
        for number in range(2, 50):
            writer.add(key(number), tokens(number))
    assert key(1) in FeatureCache(cache.root, identity())


def test_a_full_disk_is_told_before_writing(cache, monkeypatch):
    cache.root.mkdir()
    usage = type('Usage', (), {'free': 10})
    monkeypatch.setattr(store.shutil, 'disk_usage', lambda path: usage)
    with pytest.raises(VlaError, match='the disk has 0.00 GB left'):
        SizeLimit(cache.root, 1e9).check(100)


def test_a_cache_may_be_handed_to_another_process(cache):
    writer = ShardWriter(cache)
    writer.add(key(1), tokens(1))
    writer.flush()
    cache.get(key(1))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cache)).get(key(1)), tokens(1))


def test_a_shard_of_another_size_or_of_other_numbers_is_named(cache):
    writer = ShardWriter(cache)
    writer.add(key(1), tokens(1))
    writer.flush()
    keys, values = np.zeros((1, 32), np.uint8), np.zeros((1, 3, 4), np.float16)
    for spoilt, problem in (
        ((keys, values.repeat(2, 2)), r'of 3 x 8, .* of 3 x 4|of 3 x 4, .* of 3 x 8'),
        ((keys.astype(np.float32), values), 'no shard of features; delete it'),
        ((keys, values.astype(np.float32)), 'no shard of features; delete it'),
        ((keys, values[0]), 'no shard of features; delete it'),
    ):
        shard = store.write_shard(cache.folder, identity(), *spoilt)
        with pytest.raises(VlaError, match=problem):
            FeatureCache(cache.root, identity())
        shard.unlink()
    assert key(1) in FeatureCache(cache.root, identity())


@pytest.mark.parametrize(
    'error', [OSError(28, 'full'), SafetensorError('I/O error: full (os error 28)')]
)
def test_a_disk_that_fills_up_while_writing_is_one_line_and_leaves_nothing(
    cache, monkeypatch, error
):  # fmt: skip
    def full(tensors, path):
        path.write_bytes(b'half')
        raise error

    monkeypatch.setattr('safetensors.numpy.save_file', full)
    writer = ShardWriter(cache)
    writer.add(key(1), tokens(1))
    with pytest.raises(VlaError, match=r'cannot be written \(No space left.*\); make room'):
        writer.flush()
    assert [path.name for path in cache.folder.iterdir()] == ['about.json']


def test_a_folder_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(VlaError, match='file/x.npz: cannot be written .*check the folder'):
        replace_file(tmp_path / 'file' / 'x.npz', lambda path: path.write_text(''))
