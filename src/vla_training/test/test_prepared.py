"""Prepared episodes: what is damaged is prepared again, and a full disk is told."""

import numpy as np
import pytest

from vla_core.errors import VlaError
from vla_training.data import prepared as preparing
from vla_training.data.prepared import note_undecodable, prepare, prepared


def cut(path, length):
    path.write_bytes(path.read_bytes()[:length])


def without(path, name):
    with np.load(path) as file:
        rest = {key: file[key] for key in file.files if key != name}
    np.savez(path, **rest)


@pytest.mark.parametrize(
    'spoil',
    [
        lambda folder: cut(folder / 'arrays.npz', 500),
        lambda folder: cut(folder / 'arrays.npz', 0),
        lambda folder: cut(folder / 'window.npy', 2000),
        lambda folder: (folder / 'window.npy').unlink(),
        lambda folder: without(folder / 'arrays.npz', 'tick_ns'),
        lambda folder: without(folder / 'arrays.npz', 'count_names'),
        lambda folder: np.save(folder / 'window.npy', np.zeros((1, 65, 17), np.float16)),
    ],
)
def test_a_damaged_episode_is_prepared_again(episode, contract, tmp_path, spoil):
    path, root = episode(seconds=2.0), tmp_path / 'cache'
    first = prepare(path, root, contract)
    window, ticks = np.array(first.window), first.tick_ns
    spoil(next((root / 'samples').iterdir()))
    assert prepared(path, root, contract) is None
    again = prepare(path, root, contract)
    np.testing.assert_array_equal(again.window, window)
    np.testing.assert_array_equal(again.tick_ns, ticks)
    assert len(list((root / 'samples').iterdir())) == 1


def test_what_is_prepared_is_on_the_disk_before_it_gets_its_name(
    episode, contract, tmp_path, monkeypatch
):  # fmt: skip
    path, done, replace = episode(seconds=1.0), [], preparing.os.replace
    monkeypatch.setattr(preparing, 'sync', lambda path: done.append(path.name))
    monkeypatch.setattr(
        preparing.os, 'replace', lambda old, new: done.append('named') or replace(old, new)
    )
    prepare(path, tmp_path / 'cache', contract)
    assert done == ['window.npy', 'arrays.npz', 'named']


def test_a_full_disk_is_told_and_leaves_nothing(episode, contract, tmp_path, monkeypatch):
    def full(*given):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(preparing.os, 'posix_fallocate', full)
    with pytest.raises(VlaError, match=r'cannot be prepared .*No space left.*make room'):
        prepare(episode(seconds=1.0), tmp_path / 'cache', contract)
    assert not list((tmp_path / 'cache' / 'samples').iterdir())


def test_the_count_of_undecodable_pictures_stays_with_the_episode(episode, contract, tmp_path):
    path, root = episode(seconds=1.0), tmp_path / 'cache'
    assert prepare(path, root, contract).undecodable == 0
    note_undecodable(path, root, contract, 3)
    assert prepared(path, root, contract).undecodable == 3
