"""From episodes to checkpoints that nodes can load, by the command line's way."""

from dataclasses import replace
import json
import os
from pathlib import Path
import shutil

import numpy as np
import pytest
import torch

from vla_core.config import from_dict
from vla_core.errors import VlaError
from vla_data.tagging import read_info
from vla_policy.checkpoint import load_expert, load_vlm, read_manifest
from vla_policy.expert.batch import ExpertBatch
from vla_training.data import corrections
from vla_training.data.corrections import Correction
from vla_training.data.split import split_episodes, split_names
from vla_training.train.config import to_dict, TrainConfig
from vla_training.train.log import read_log
from vla_training.train.pipeline import train
from vla_training.train.sources import base_checkpoint, open_data


def run(config, **options):
    lines = []
    outcome = train(config, lines.append, **options)
    return outcome, lines


def test_a_run_leaves_checkpoints_that_load_strictly_and_tell_what_was_learned(train_config, init):
    given = train_config(data={'priorities': {'episodes': 2.0}})
    outcome, lines = run(given)
    out = Path(given.out)
    assert outcome.finished and outcome.step == 4 and outcome.best is not None
    for name in ('best', 'last'):
        info = read_manifest(out / name, verify=True)
        assert info.policy.trained and info.policy.expert.head == 'regression'
        expert, fresh = load_expert(out / name), load_expert(init)
        assert not torch.equal(expert.normalize_state.offset, fresh.normalize_state.offset)
        assert load_vlm(out / name, dtype='float32').width == info.policy.expert.feature_width
    kinds = [entry['kind'] for entry in read_log(out)]
    assert kinds == ['train', 'validation', 'train', 'validation']
    assert from_dict(TrainConfig, json.loads((out / 'config.json').read_text()), '') == given
    assert any('samples to learn from' in line for line in lines)


def test_the_normalisation_is_that_of_the_training_episodes_alone(train_config):
    given = train_config()
    run(given)
    data = open_data(given, Path(given.init), lambda text: None, fill=False)
    learned, held = split_episodes(sorted(Path(given.data.episodes[0]).iterdir()), 0.3, 0)
    assert set(data.train.paths) == set(learned) and set(data.validation.paths) == set(held)
    wanted = data.train.statistics()['state']
    expert = load_expert(Path(given.out) / 'last')
    np.testing.assert_allclose(expert.normalize_state.offset, wanted.offset, rtol=1e-5)


@pytest.mark.parametrize(
    'name, changes',
    [
        ('blind', {'data': {'images': 'black'}}),
        ('numb', {'data': {'sensor': 'absent'}}),
        ('ageless', {'expert': {'use_age': False}}),
        ('newest', {'data': {'ages': 'zero'}}),
        ('mean age', {'data': {'ages': 'mean'}}),
        ('two passes', {'expert': {'passes': 2}}),
        ('still', {'expert': {'use_view_motion': False}}),
        ('flow', {'expert': {'head': 'flow'}}),
        ('one mean', {'pooling': 'mean'}),
    ],
)
def test_each_ablation_is_one_override_and_gives_a_checkpoint_that_acts(
    train_config, name, changes
):
    given = train_config(name, steps=1, **changes)
    run(given)
    info = read_manifest(Path(given.out) / 'last', verify=True)
    if 'expert' in changes:
        assert vars(info.policy.expert).items() >= changes['expert'].items()
    if name == 'one mean':
        assert info.policy.pooling.kind == 'mean' and info.policy.expert.tokens_per_view == 0
    load_expert(Path(given.out) / 'last')


def test_a_run_goes_on_only_when_told_to(train_config):
    run(train_config(steps=2))
    with pytest.raises(VlaError, match='--resume'):
        run(train_config(steps=2))
    outcome, lines = run(train_config(steps=2), resume=True)
    assert outcome.finished and any('goes on at step 2' in line for line in lines)
    with pytest.raises(VlaError, match='config.steps was 2, is 3'):
        run(train_config(steps=3), resume=True)
    with pytest.raises(VlaError, match='no run to resume'):
        run(train_config('other'), resume=True)


def test_expert_weights_are_taken_only_where_they_fit(train_config, init):
    slow = {'learning_rate': 1e-9, 'sensor_learning_rate': 1e-9}
    given = train_config(expert_weights=True, steps=1, optimizer=slow)
    run(given)
    expert, before = load_expert(Path(given.out) / 'last'), load_expert(init)
    for name, value in before.trunk.state_dict().items():
        torch.testing.assert_close(expert.trunk.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    # The checkpoint never saw a sensor or an action: their scale is the demonstrations'.
    assert torch.equal(expert.normalize_state.scale, before.normalize_state.scale)
    assert not torch.equal(expert.normalize_action.scale, before.normalize_action.scale)
    other = train_config(
        'other', expert_weights=True, steps=1, optimizer=slow,
        expert={'passes': 2, 'head': 'regression'},
    )  # fmt: skip
    run(other)
    second = load_expert(Path(other.out) / 'last')
    assert second.config.passes == 2 and len(second.trunk.turn) == 2
    for name in set(before.trunk.state_dict()) - {'turn'}:
        value = before.trunk.state_dict()[name]
        torch.testing.assert_close(second.trunk.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    with pytest.raises(VlaError, match='differs in width'):
        run(train_config('wide', expert_weights=True, expert={'width': 64}))


def test_a_cache_that_lacks_nothing_is_not_written_to(train_config, tmp_path):
    from vla_training.cache.store import WriteLock

    run(train_config(steps=1))
    with WriteLock(tmp_path / 'features'):  # as if another run were filling it
        run(train_config('second', steps=1))
        with pytest.raises(VlaError, match='another vla cache'):
            run(train_config('mean', steps=1, pooling='mean'))


def test_a_damaged_checkpoint_is_refused_before_anything_is_made_of_it(train_config, init):
    with (init / 'vlm/model.safetensors').open('r+b') as file:
        file.seek(-1, os.SEEK_END)
        file.write(b'x')
    given = train_config()
    with pytest.raises(VlaError, match='wrong hash'):
        run(given)
    assert not Path(given.out).exists() and not Path(given.data.cache).exists()


def test_an_expert_that_is_none_is_refused_before_the_cache_is_filled(train_config):
    given = train_config(expert={'passes': 0})
    with pytest.raises(VlaError, match='expert: passes must be at least 1'):
        run(given)
    assert not Path(given.data.cache).exists()


def test_another_pooling_is_made_anew_unless_the_run_goes_on(train_config, tmp_path):
    def base(resume=False, **changes):
        config = train_config(**changes)
        return read_manifest(base_checkpoint(config, tmp_path, write=True, resume=resume))

    mean = base(pooling='mean')
    assert base(pooling='grid').policy.pooling.kind == 'grid'
    with pytest.raises(VlaError, match='base: was not made of .*train anew'):
        base(pooling='mean', resume=True)
    again = base(pooling='mean')
    assert again.checkpoint_hash == mean.checkpoint_hash
    assert base(pooling='mean', resume=True).checkpoint_hash == mean.checkpoint_hash
    assert base(pooling='mean', seed=1).checkpoint_hash != mean.checkpoint_hash


def test_a_recording_that_was_replaced_is_noticed_and_named(train_config, episode):
    given = train_config(steps=2)
    run(given)
    path = Path(given.data.episodes[0]) / 'a'
    started_ns = read_info(path).started_ns
    shutil.rmtree(path)
    episode('a', seconds=3.5, started_ns=started_ns)
    with pytest.raises(VlaError, match='episodes/a was content'):
        run(given, resume=True)


def test_a_run_without_a_state_is_neither_gone_on_with_nor_overwritten(train_config):
    given = train_config(steps=1)
    run(given)
    for state in Path(given.out).glob('state-*'):
        shutil.rmtree(state)
    for resume in (False, True):
        with pytest.raises(VlaError, match='remove the folder, or choose another `out`'):
            run(given, resume=resume)


def test_a_checkpoint_that_a_kill_took_away_is_there_again(train_config):
    given = train_config(steps=1)
    run(given)
    best = Path(given.out) / 'best'
    wanted = read_manifest(best).checkpoint_hash
    (best.parent / '.best.exchange').mkdir()
    best.rename(best.parent / '.best.exchange' / 'old')
    run(given, resume=True)
    assert read_manifest(best, verify=True).checkpoint_hash == wanted
    assert not (best.parent / '.best.exchange').exists()


def test_what_is_left_out_is_told_when_training_begins(train_config, episode):
    def spoil(topic, message, store):
        if topic.endswith('compressed'):
            message.data = np.frombuffer(b'no picture', np.uint8)

    def hold(topic, message, store):
        if topic.endswith('action/chunk'):
            message.reaction = 3

    episode('spoilt', seconds=2.0, change=spoil)
    empty = episode('held', seconds=2.0, change=hold)
    config = train_config(data={'labels': 'recorded', 'validation_share': 0.0})
    lines = []
    data = open_data(config, Path(config.init), lines.append, fill=True)
    assert empty not in data.train.paths and len(data.train.paths) == 4
    text = '\n'.join(lines)
    assert f'without a sample: {empty}' in text
    assert 'chunks held' in text and 'ticks unusable' in text
    assert 'pictures could not be decoded: the last good one was used' in text


def test_what_is_missing_is_told_before_anything_is_made(train_config, tmp_path):
    with pytest.raises(VlaError, match='init: which checkpoint'):
        run(replace(train_config(), init=''))
    with pytest.raises(VlaError, match='holds no episodes'):
        run(train_config(data={'episodes': (str(tmp_path / 'init'),)}))
    assert to_dict(train_config())['init']


@pytest.fixture
def corrected(tmp_path, init, contract):
    """A folder of corrections that fit `init`."""
    expert = read_manifest(init).policy.expert
    rng, folder = np.random.default_rng(0), tmp_path / 'corrections'
    corrections.claim(folder, init, {})

    def numbers(*shape):
        return torch.from_numpy(rng.normal(0.0, 1.0, (1, *shape)).astype(np.float32))

    for name in range(8):
        rows = []
        for _ in range(3):
            inputs = ExpertBatch(
                numbers(expert.feature_tokens, expert.feature_width),
                numbers(expert.samples, expert.channels),
                torch.ones(1, expert.samples, dtype=torch.bool), numbers(12), numbers().abs(),
                numbers(expert.sources).abs(), numbers(expert.sources, 6), numbers().abs(),
            )  # fmt: skip
            rows.append(Correction(inputs, rng.normal(0, 1e-3, (8, 6)), rng.normal(0, 0.01, 12)))
        corrections.write(folder, f'e{name}', rows)
    return folder


def test_corrections_are_learned_from_beside_the_episodes(train_config, corrected):
    plain, lines = run(train_config('plain'))
    data = {'corrections': (str(corrected),), 'validation_share': 0.5}
    given = train_config(truth_weight=0.1, data=data)
    outcome, more = run(given)
    assert outcome.finished and outcome.best is not None
    assert any('trocar seen' in line for line in more)
    assert not any('trocar seen' in line for line in lines)

    def samples(lines):
        found = next(line for line in lines if 'samples to learn from' in line)
        numbers = [int(word) for word in found.replace(',', '').split() if word.isdigit()]
        return numbers[1] + numbers[3]

    assert samples(more) - samples(lines) == 24
    load_expert(Path(given.out) / 'last')  # without the head that told


@pytest.mark.parametrize('empty', ['validates', 'learns'])
def test_a_side_of_the_corrections_without_a_tick_is_named(train_config, corrected, empty):
    files = sorted(corrected.glob('*.npz'))
    learned, others = split_names(files, 0.5)
    for path in others if empty == 'validates' else learned:
        corrections.write(corrected, path.stem, [])
    lines = []
    data = {'corrections': (str(corrected),), 'validation_share': 0.5}
    config = train_config(data=data)

    def opened():
        return open_data(config, Path(config.init), lines.append, fill=True)

    if empty == 'learns':
        with pytest.raises(VlaError, match=f'none to learn from; {len(others)} would validate'):
            opened()
        return
    assert opened().validation is not None
    assert any('none validates' in line for line in lines)
    (line,) = [line for line in lines if line.startswith('without a sample')]
    assert line.count('.npz') == len(others)
