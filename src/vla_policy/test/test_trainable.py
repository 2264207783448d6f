"""Training the encoder from end to end, and the checkpoint that comes of it."""

import numpy as np
import pytest
import torch

from vla_policy.checkpoint import (
    derive_checkpoint,
    load_expert,
    load_trainable,
    load_vlm,
    read_manifest,
)
from vla_policy.errors import CheckpointError, PolicyInputError
from vla_policy.pooling import build_pooling, PoolingConfig

TASK = 'insert the needle'
SIZES = [(112, 168)] * 3


def test_a_batch_gives_the_features_that_the_encoder_gives_for_each_set(nano, pictures):
    encoder, trainable = load_vlm(nano, dtype='float32'), load_trainable(nano)
    sets = [pictures(*SIZES), [255 - image for image in pictures(*SIZES)]]
    features, attention = trainable(torch.from_numpy(np.stack(sets)), TASK)
    assert features.shape[0] == 2 and attention.shape[:3] == (2, 3, 8)
    for images, row in zip(sets, features):
        wanted = torch.from_numpy(encoder.encode(images, TASK).tokens).float()
        assert torch.nn.functional.cosine_similarity(row, wanted, dim=-1).min() > 0.99999


@pytest.mark.parametrize('kind', ['grid', 'queries', 'mean'])
def test_each_pooling_takes_a_batch_as_it_takes_one(nano, kind):
    backbone = load_vlm(nano, dtype='float32').backbone
    layout = backbone.make_plan(tuple(SIZES), TASK).layout
    pooling = build_pooling(PoolingConfig(kind), 8)
    prepared = pooling.prepare(layout, torch.device('cpu'))
    hidden = torch.randn(3, layout.tokens, 8)
    together = pooling(hidden, prepared)
    for row, alone in zip(together, hidden):
        torch.testing.assert_close(row, pooling(alone, prepared))


def test_every_weight_but_the_prompts_embedding_is_reached_by_the_gradient(nano, pictures):
    trainable = load_trainable(nano)
    with torch.no_grad():  # zeros of the start hide what is before them
        for weight in trainable.parameters():
            if not weight.any():
                weight.add_(0.01)
    features, _ = trainable(torch.from_numpy(np.stack([pictures(*SIZES)])), TASK)
    features.square().sum().backward()
    silent = [
        name
        for name, weight in trainable.named_parameters()
        if weight.requires_grad and (weight.grad is None or not weight.grad.any())
    ]
    # A softmax does not see what is added to every key alike.
    assert not [name for name in silent if 'key.bias' not in name and 'k_proj.bias' not in name]
    assert not trainable.model.language_model.embed_tokens.weight.requires_grad


def test_images_of_different_sizes_are_refused(nano):
    backbone = load_vlm(nano, dtype='float32').backbone
    plan = backbone.make_plan(((112, 168), (168, 112)), TASK)
    with pytest.raises(PolicyInputError, match='several sizes'):
        backbone.make_batch_plan(plan, 2)


def test_a_derived_checkpoint_holds_what_was_learned_and_keeps_the_rest(nano, pictures, tmp_path):
    trainable, expert = load_trainable(nano), load_expert(nano)
    with torch.no_grad():
        for weight in (*trainable.parameters(), *expert.parameters()):
            weight.add_(0.01)
    derived = tmp_path / 'derived'
    digest = derive_checkpoint(
        nano, derived, expert, backbone=trainable.model,
        pooling=trainable.pooling.state_dict(),
    )  # fmt: skip
    info = read_manifest(derived, verify=True)
    assert info.checkpoint_hash == digest != read_manifest(nano).checkpoint_hash
    assert info.policy.trained and info.contract.hash == read_manifest(nano).contract.hash
    for name, weight in load_expert(derived).state_dict().items():
        torch.testing.assert_close(weight, expert.state_dict()[name])
    images = pictures(*SIZES)
    features, _ = trainable(torch.from_numpy(np.stack([images])), TASK)
    again = torch.from_numpy(load_vlm(derived, dtype='float32').encode(images, TASK).tokens)
    torch.testing.assert_close(features[0], again.float(), rtol=2e-3, atol=2e-3)


def test_a_derived_checkpoint_replaces_another_only_when_told_to(nano, tmp_path):
    expert = load_expert(nano)
    target = tmp_path / 'derived'
    derive_checkpoint(nano, target, expert)
    with pytest.raises(CheckpointError, match='already exists'):
        derive_checkpoint(nano, target, expert)
    assert derive_checkpoint(nano, target, expert, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ['derived']
