"""Checkpoints: made deterministically, loaded strictly."""

import json
import os
from pathlib import Path
import shutil
import subprocess
import sys

import pytest
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
import torch
import yaml

from vla_core.contract import load_contract
from vla_core.errors import VlaError
from vla_policy import manifest
from vla_policy.checkpoint import (
    CheckpointError,
    create_checkpoint,
    describe,
    load_expert,
    load_vlm,
    read_manifest,
)
from vla_policy.pooling import PoolingConfig


def load_both(folder):
    load_expert(folder)
    load_vlm(folder)


def resign(folder):
    """Make the manifest agree again, so that what lies behind it is tested."""
    manifest.write(folder)


def test_same_seed_gives_the_same_hash_and_another_seed_another(nano, tmp_path, contract_path):
    again = create_checkpoint('nano', tmp_path / 'a', 0, contract_path)
    other = create_checkpoint('nano', tmp_path / 'b', 1, contract_path)
    assert read_manifest(nano).checkpoint_hash == again != other


def test_checkpoint_says_what_it_is(nano, contract_path):
    info = read_manifest(nano, verify=True)
    contract = load_contract(contract_path)
    assert info.contract.hash == contract.hash == info.policy.contract_hash
    assert info.policy.expert.views == len(contract.views)
    text = describe(nano)
    assert text['preset'] == 'nano'
    assert text['checkpoint_hash'] == info.checkpoint_hash
    assert json.loads(json.dumps(text)) == text


def test_checkpoint_holds_no_pickle_and_no_foreign_formats(nano):
    assert {path.suffix for path in nano.rglob('*') if path.is_file()} == {
        '.json',
        '.yaml',
        '.safetensors',
    }


@pytest.mark.parametrize('head', ['diffusion', 'regression'])
def test_each_head_is_stored_and_loaded(tmp_path, contract_path, head):
    create_checkpoint('nano', tmp_path / head, 0, contract_path, head=head)
    assert load_expert(tmp_path / head).config.head == head


def test_learned_pooling_is_stored_and_loaded(tmp_path, contract_path, pictures):
    create_checkpoint(
        'nano', tmp_path / 'q', 0, contract_path, pooling=PoolingConfig(kind='queries', queries=3)
    )
    assert load_vlm(tmp_path / 'q').encode(pictures(*[(56, 56)] * 5), 'go').tokens.shape == (
        16,
        256,
    )


def test_loading_the_expert_never_imports_transformers(nano):
    code = (
        'import sys; from vla_policy.checkpoint import load_expert; '
        f'load_expert({str(nano)!r}); sys.exit("transformers" in sys.modules)'
    )
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


@pytest.mark.parametrize(
    'name',
    [
        'policy.json',
        'contract.yaml',
        'normalization.json',
        'expert.safetensors',
        'vlm/model.safetensors',
        'vlm/tokenizer.json',
        'manifest.json',
    ],
)
def test_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match='missing') as caught:
        load_both(copy)
    assert str(copy / name) in str(caught.value)


@pytest.mark.parametrize(
    'name',
    [
        'policy.json',
        'contract.yaml',
        'normalization.json',
        'expert.safetensors',
        'vlm/model.safetensors',
        'vlm/preprocessor_config.json',
    ],
)
def test_one_changed_byte_is_a_wrong_hash(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(CheckpointError, match='wrong hash') as caught:
        load_both(copy)
    assert str(copy / name) in str(caught.value)


def test_foreign_file_among_the_models_files_is_refused(copy):
    (copy / 'vlm' / 'adapter_config.json').write_text('{}')
    with pytest.raises(CheckpointError, match='does not belong'):
        load_vlm(copy)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda w: {k: v for k, v in w.items() if 'sensor.absent' not in k},
            '1 weights are missing',
        ),
        (lambda w: {**w, 'trunk.extra': torch.zeros(1)}, '1 weights are unexpected'),
        (lambda w: {**w, 'trunk.norm.bias': torch.zeros(3)}, 'trunk.norm.bias'),
        (lambda w: {**w, 'trunk.norm.bias': w['trunk.norm.bias'].half()}, 'float16'),
    ],
)
def test_weights_that_are_not_exactly_the_experts_are_refused(copy, change, message):
    path = copy / 'expert.safetensors'
    save_file(change(load_file(path)), path)
    resign(copy)
    with pytest.raises(CheckpointError, match=message):
        load_expert(copy)


def test_file_that_is_no_safetensors_is_refused(copy):
    (copy / 'expert.safetensors').write_bytes(b'\x80\x04not a pickle of ours')
    resign(copy)
    with pytest.raises(CheckpointError, match='cannot be read'):
        load_expert(copy)


def test_contract_that_is_not_the_policys_is_refused(copy):
    path = copy / 'contract.yaml'
    contract = yaml.safe_load(path.read_text())
    contract['sensor']['lag_s'] = 0.5
    path.write_text(yaml.safe_dump(contract))
    resign(copy)
    with pytest.raises(CheckpointError, match='was made for'):
        read_manifest(copy)


def edit_policy(folder, change):
    path = folder / 'policy.json'
    policy = json.loads(path.read_text())
    change(policy)
    path.write_text(json.dumps(policy))
    resign(folder)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda p: p.update(format=99), 'format 99'),
        (lambda p: p['expert'].update(views=4), 'expert.views is 4'),
        (lambda p: p['expert'].update(head='flwo'), 'did you mean flow'),
        (lambda p: p.update(hedd=1), 'hedd'),
        (lambda p: p['backbone'].update(kind='qwen9'), 'qwen9'),
        (lambda p: p['expert'].update(feature_width=128), 'weights|width'),
    ],
)
def test_policy_that_does_not_fit_is_refused(copy, change, message):
    edit_policy(copy, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_vlm(copy)
        load_expert(copy)
    assert '\n' not in str(caught.value)


def test_manifest_that_contradicts_itself_is_refused(copy):
    path = copy / 'manifest.json'
    data = json.loads(path.read_text())
    data['checkpoint_hash'] = '0' * 16
    path.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match='says hash'):
        read_manifest(copy)


def test_folder_that_is_no_checkpoint_says_how_to_make_one(tmp_path):
    with pytest.raises(CheckpointError, match='vla checkpoint create'):
        read_manifest(tmp_path / 'nowhere')
    with pytest.raises(CheckpointError, match='missing'):
        read_manifest(tmp_path)


def test_existing_folder_is_never_overwritten(copy, contract_path):
    before = sorted(copy.rglob('*'))
    with pytest.raises(CheckpointError, match='already exists'):
        create_checkpoint('nano', copy, 0, contract_path)
    assert sorted(copy.rglob('*')) == before


@pytest.mark.parametrize(
    ('preset', 'head', 'message'),
    [('nanoo', 'flow', 'did you mean nano'), ('nano', 'flwo', 'did you mean flow')],
)
def test_unknown_preset_or_head_names_the_nearest(tmp_path, contract_path, preset, head, message):
    with pytest.raises(VlaError, match=message):
        create_checkpoint(preset, tmp_path / 'x', 0, contract_path, head=head)
    assert not (tmp_path / 'x').exists()


@pytest.mark.parametrize('seed', [-1, 10**23])
def test_a_seed_that_is_none_is_told_with_what_is_allowed(tmp_path, contract_path, seed):
    with pytest.raises(VlaError, match=f'seed {seed}: expected a whole number from 0'):
        create_checkpoint('nano', tmp_path / 'x', seed, contract_path)
    assert not (tmp_path / 'x').exists()


def test_failure_leaves_nothing_behind(tmp_path, contract_path):
    with pytest.raises(CheckpointError):
        create_checkpoint(
            'qwen2.5-vl-3b', tmp_path / 'x', 0, contract_path, backbone=str(tmp_path / 'no-model')
        )
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def backbone_folder(nano, tmp_path):
    return shutil.copytree(nano / 'vlm', tmp_path / 'weights')


def test_backbone_by_reference_is_loaded_and_its_change_noticed(
    backbone_folder, tmp_path, contract_path, pictures
):
    create_checkpoint(
        'qwen2.5-vl-3b', tmp_path / 'c', 0, contract_path, backbone=str(backbone_folder)
    )
    assert not (tmp_path / 'c' / 'vlm').exists()
    tokens = load_vlm(tmp_path / 'c').encode(pictures(*[(56, 56)] * 5), 'go').tokens
    assert tokens.shape == (81, 256)
    with (backbone_folder / 'config.json').open('a') as file:
        file.write('\n')
    with pytest.raises(CheckpointError, match=r'config\.json: is not the file'):
        load_vlm(tmp_path / 'c')


def test_backbone_can_be_copied_in(backbone_folder, tmp_path, contract_path):
    create_checkpoint(
        'qwen2.5-vl-3b',
        tmp_path / 'c',
        0,
        contract_path,
        backbone=str(backbone_folder),
        copy_backbone=True,
    )
    shutil.rmtree(backbone_folder)
    assert load_vlm(tmp_path / 'c').width == 256


def test_creating_does_not_touch_the_global_random_state(tmp_path, contract_path):
    before = torch.random.get_rng_state()
    create_checkpoint('nano', tmp_path / 'x', 0, contract_path)
    assert torch.equal(before, torch.random.get_rng_state())


def test_checkpoint_can_be_read_from_another_folder_and_process(nano, tmp_path):
    moved = shutil.copytree(nano, tmp_path / 'moved')
    environment = {**os.environ, 'PYTHONHASHSEED': '7'}
    code = (
        'from vla_policy.checkpoint import read_manifest; '
        f'print(read_manifest({str(Path(moved))!r}, verify=True).checkpoint_hash)'
    )
    found = subprocess.run(
        [sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == read_manifest(nano).checkpoint_hash


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, contract_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(CheckpointError, match='file/x: cannot be written .File exists.; check'):
        create_checkpoint('nano', tmp_path / 'file' / 'x', 0, contract_path)


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, contract_path, monkeypatch):
    def full(*given):
        raise SafetensorError('Error while serializing: I/O error: full (os error 28)')

    monkeypatch.setattr('vla_policy.checkpoint_create.write_checkpoint', full)
    with pytest.raises(CheckpointError, match='x: cannot be written .No space left.*; make room'):
        create_checkpoint('nano', tmp_path / 'x', 0, contract_path)
    assert not list(tmp_path.iterdir())
