"""Checkpoints derived from others: of whole ones only, and never gone while they are replaced."""

import os
import shutil

import pytest

from vla_policy import checkpoint_derive
from vla_policy.checkpoint import (
    CheckpointError,
    derive_checkpoint,
    load_expert,
    read_manifest,
    recover_checkpoint,
)


@pytest.fixture
def expert(nano):
    return load_expert(nano)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize('name', ['vlm/model.safetensors', 'pooling.safetensors'])
def test_what_is_damaged_is_not_taken_over_under_a_new_manifest(copy, expert, tmp_path, name):
    with (copy / name).open('r+b') as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    with pytest.raises(CheckpointError, match=f'{name}: wrong hash'):
        derive_checkpoint(copy, tmp_path / 'derived', expert)
    assert names(tmp_path) == ['copy']


def test_a_file_that_was_cut_off_is_noticed_by_who_does_not_hash_again(copy, expert, tmp_path):
    with (copy / 'vlm/model.safetensors').open('r+b') as file:
        file.truncate(1000)
    with pytest.raises(CheckpointError, match='has 1000 bytes'):
        derive_checkpoint(copy, tmp_path / 'derived', expert, verify=False)


def test_what_is_replaced_need_not_be_whole(copy, expert, tmp_path):
    (copy / 'expert.safetensors').write_bytes(b'')
    derive_checkpoint(copy, tmp_path / 'derived', expert)
    read_manifest(tmp_path / 'derived', verify=True)


def test_a_checkpoint_that_a_killed_exchange_took_away_is_put_back(copy, tmp_path):
    exchange = tmp_path / '.copy.exchange'
    exchange.mkdir()
    copy.rename(exchange / 'old')
    shutil.copytree(exchange / 'old', exchange / 'new')
    recover_checkpoint(copy)
    assert names(tmp_path) == ['copy']
    read_manifest(copy, verify=True)


def test_rests_of_killed_runs_do_not_stay(copy, expert, nano, tmp_path):
    (tmp_path / '.copy.exchange' / 'new' / 'vlm').mkdir(parents=True)
    digest = derive_checkpoint(nano, copy, expert, overwrite=True)
    assert names(tmp_path) == ['copy'] and read_manifest(copy).checkpoint_hash == digest


def test_an_exchange_that_fails_leaves_the_checkpoint_before(
    copy, expert, nano, tmp_path, monkeypatch
):
    replace, before = os.replace, read_manifest(copy).checkpoint_hash

    def failing(source, target):
        if source.name == 'new':
            raise OSError('no')
        replace(source, target)

    monkeypatch.setattr(checkpoint_derive.os, 'replace', failing)
    with pytest.raises(OSError, match='no'):
        derive_checkpoint(nano, copy, expert, overwrite=True)
    assert names(tmp_path) == ['copy'] and read_manifest(copy).checkpoint_hash == before
