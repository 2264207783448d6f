"""Stages that learn through the pictures: adapters, the whole backbone, and their data."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vla_core.errors import VlaError
from vla_policy.backbones import qwen2_5_vl_load as qwen
from vla_policy.checkpoint import load_trainable, load_vlm, read_manifest
from vla_policy.checkpoint_load import load_pooling
from vla_training.cache.identity import identity_of
from vla_training.cache.store import FeatureCache
from vla_training.data.ages import FixedAges
from vla_training.data.dataset import DataOptions
from vla_training.data.pictures import PictureDataset, PictureFile
from vla_training.train.adapters import AdapterEncoder
from vla_training.train.config import LoraConfig
from vla_training.train.log import read_log
from vla_training.train.pipeline import train

TASK = 'insert the needle'


def pictures(count=2):
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 255, (count, 5, 12, 16, 3), np.uint8)
    return torch.from_numpy(coarse.repeat(16, axis=2).repeat(16, axis=3))


def adapters(folder, **options):
    info = read_manifest(folder)
    model = qwen.load_model(folder / 'vlm', torch.device('cpu'), torch.float32)
    tokenizer, processor = qwen.load_processing(folder / 'vlm', model.config)
    pooling = load_pooling(info, model.config.text_config.hidden_size)
    settings = qwen.image_settings(processor)
    torch.manual_seed(0)
    return AdapterEncoder(
        model, tokenizer, processor, settings, pooling, LoraConfig(**{'dropout': 0.0, **options})
    )


def stir(encoder):
    """Give the adapters something to say: they start at nothing."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if 'lora_B' in name:
                weight.normal_(0, 0.05)


def test_fresh_adapters_change_nothing(init):
    encoder, plain = adapters(init), load_trainable(init)
    images = pictures()
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(images, TASK)[0], plain(images, TASK)[0], rtol=1e-4, atol=1e-4
        )


def test_only_adapters_and_pooling_learn(init):
    encoder = adapters(init)
    names = [name for name, weight in encoder.named_parameters() if weight.requires_grad]
    assert names and all('lora_' in name or name.startswith('pooling.') for name in names)
    assert sum('lora_' in name for name in names) == 2 * 4 * 2  # A and B, 4 layers, 2 blocks


def test_recomputing_activations_changes_no_gradient(init):
    gradients = []
    for checkpointing in (False, True):
        encoder = adapters(init, checkpointing=checkpointing).train()
        stir(encoder)
        encoder(pictures(1), TASK)[0].square().mean().backward()
        gradients.append(
            {name: weight.grad for name, weight in encoder.named_parameters() if 'lora_' in name}
        )
    for name, value in gradients[0].items():
        assert value.any()
        torch.testing.assert_close(gradients[1][name], value, rtol=1e-4, atol=1e-7)


def test_merged_weights_give_the_adapters_features_and_leave_the_run_as_it_was(init, tmp_path):
    encoder = adapters(init)
    images = pictures(1)
    with torch.no_grad():
        fresh = encoder(images, TASK)[0]
        stir(encoder)
        learned = encoder(images, TASK)[0]
        merged = encoder.merged()
        again = encoder(images, TASK)[0]
    assert (learned - fresh).abs().max() > 0.05 and torch.equal(learned, again)
    merged.save_pretrained(tmp_path / 'vlm')
    info = read_manifest(init)
    model = qwen.load_model(tmp_path / 'vlm', torch.device('cpu'), torch.float32)
    tokenizer, processor = qwen.load_processing(tmp_path / 'vlm', model.config)
    from vla_policy.trainable import TrainableEncoder

    pooling = load_pooling(info, model.config.text_config.hidden_size)
    plain = TrainableEncoder(model, tokenizer, qwen.image_settings(processor), pooling)
    with torch.no_grad():
        found = plain(images, TASK)[0]
    torch.testing.assert_close(found, learned, rtol=1e-3, atol=1e-3)


def test_a_layer_that_does_not_exist_is_told_with_the_nearest(init):
    with pytest.raises(VlaError, match="no layer 'q_prj'.*did you mean q_proj"):
        adapters(init, targets=('q_prj',))


def die_at(start):
    """Make a report that ends the run at a line."""

    def report(line):
        if line.startswith(start):
            raise InterruptedError

    return report


@pytest.mark.slow
@pytest.mark.parametrize('stage', ['lora', 'full'])
def test_a_stage_through_the_pictures_trains_resumes_and_saves_its_backbone(
    train_config, init, stage
):  # fmt: skip
    options = {
        'stage': stage, 'batch': 1, 'accumulation': 2, 'averaging': 0.0, 'save_every': 1,
        'optimizer': {'vl_learning_rate': 1e-3}, 'lora': {'rank': 4, 'dropout': 0.1},
        'steps': 2, 'validation_samples': 2,
    }  # fmt: skip
    given = train_config('whole', **options)
    assert train(given, [].append).finished
    folder = Path(given.out) / 'last'
    read_manifest(folder, verify=True)
    before, after = load_vlm(init, dtype='float32'), load_vlm(folder, dtype='float32')
    images = list(pictures(1)[0].numpy())
    assert not np.allclose(
        before.encode(images, TASK).tokens, after.encode(images, TASK).tokens, atol=1e-3
    )
    losses = [entry['loss'] for entry in read_log(Path(given.out))]
    assert np.isfinite(losses).all()
    parts = train_config('parts', **(options | {'log_every': 1}))
    with pytest.raises(InterruptedError):
        train(parts, die_at('step 2/2'))
    assert train(parts, [].append, resume=True).finished
    hashes = [read_manifest(Path(run.out) / 'last').checkpoint_hash for run in (given, parts)]
    assert hashes[0] == hashes[1]


def test_batches_hold_the_pictures_of_the_set_that_the_age_asks_for(
    episode, contract, tmp_path, init
):  # fmt: skip
    path = episode(seconds=4.0)
    cache = FeatureCache(tmp_path / 'features', identity_of(init, 'float32'))
    options = DataOptions(labels='robot', ages=FixedAges(0.2, 0.3))
    data = PictureDataset([path], cache, contract, options)
    batch = data.batch(np.arange(len(data)), np.random.default_rng(0))
    assert batch.images.shape == (len(data), 1, 5, 16, 32, 3) and set(batch.tasks) == {TASK}
    from vla_core.timebase import NS
    from vla_data.synthetic import START_NS

    for row in range(10, len(data)):
        captured = data.tick_ns[row] - round(float(batch.inputs.image_age_s[row, 0]) * NS)
        number = round((captured - START_NS) / (NS / 5))
        shown = batch.images[row, 0].float().mean((1, 2, 3)).numpy()
        np.testing.assert_allclose(
            shown, [10 + 7 * ((number + view) % 15) for view in range(5)], atol=2
        )
    kept = next((tmp_path / 'features' / 'pictures').iterdir())
    kept.write_bytes(kept.read_bytes()[:-100])  # it is copied again
    again = PictureDataset([path], cache, contract, options)
    assert torch.equal(again.batch(np.arange(3), np.random.default_rng(0)).images,
                       data.batch(np.arange(3), np.random.default_rng(0)).images)  # fmt: skip


def test_a_full_disk_is_told_and_leaves_no_half_of_the_pictures(
    episode, contract, tmp_path, init, monkeypatch
):  # fmt: skip
    def full(path, **arrays):
        path.write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(np, 'savez', full)
    with pytest.raises(VlaError, match=r'pictures/.*cannot be written.*make room'):
        PictureFile(episode(seconds=1.0), tmp_path / 'features', contract)
    assert not list((tmp_path / 'features' / 'pictures').iterdir())
