"""The key of a cached feature: every part of it matters, and nothing else does."""

from dataclasses import replace
import json

from conftest import CONTRACT, identity
from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_core.errors import VlaError
from vla_policy.checkpoint import create_checkpoint
from vla_policy.pooling import PoolingConfig
from vla_training.cache.identity import feature_key, identity_of, picture_digest

PICTURES = [picture_digest(bytes([view])) for view in range(5)]


@pytest.mark.parametrize(
    'change',
    [
        {'backbone': 'other'}, {'adapter': 'a'}, {'pooling': 'other'}, {'width': 33},
        {'height': 17}, {'dtype': 'bfloat16'}, {'format': 99},
    ],
)  # fmt: skip
def test_any_change_of_the_encoder_changes_every_key(change):
    assert feature_key(identity(**change), 'task', PICTURES) != feature_key(
        identity(), 'task', PICTURES
    )


def test_task_pictures_and_their_order_change_the_key():
    keys = {
        feature_key(identity(), 'task', PICTURES),
        feature_key(identity(), 'task ', PICTURES),
        feature_key(identity(), 'task', PICTURES[::-1]),
        feature_key(identity(), 'task', PICTURES[:4]),
        feature_key(identity(), 'task', [*PICTURES[:4], picture_digest(b'new')]),
    }
    assert len(keys) == 5


@given(st.text(max_size=20), st.text(max_size=20), st.lists(st.binary(max_size=8), max_size=4))
def test_equal_keys_come_from_equal_content_only(one, other, pictures):
    digests = [picture_digest(picture) for picture in pictures]
    same = feature_key(identity(), one, digests) == feature_key(identity(), other, digests)
    assert same == (one == other)


def test_a_checkpoint_with_other_seed_pooling_or_processor_is_another_encoder(nano, tmp_path):
    own = identity_of(nano, 'float32')
    create_checkpoint('nano', tmp_path / 'seed', 1, CONTRACT)
    create_checkpoint('nano', tmp_path / 'mean', 0, CONTRACT, pooling=PoolingConfig('mean'))
    seed = identity_of(tmp_path / 'seed', 'float32')
    mean = identity_of(tmp_path / 'mean', 'float32')
    assert (seed.backbone, mean.backbone) != (own.backbone, own.backbone)
    assert mean.backbone == own.backbone and mean.pooling != own.pooling
    assert identity_of(nano, 'bfloat16') == replace(own, dtype='bfloat16')
    assert identity_of(nano, 'float32', {'lora.safetensors': 'ff'}) != own


def test_the_expert_is_no_part_of_the_identity(nano, tmp_path):
    create_checkpoint('nano', tmp_path / 'head', 0, CONTRACT, head='regression')
    assert identity_of(tmp_path / 'head', 'float32') == identity_of(nano, 'float32')


def test_a_backbone_that_is_only_on_the_hub_is_told_in_one_line(nano, tmp_path):
    from vla_training.cache import identity as module

    info = module.read_manifest(nano)
    policy = replace(info.policy, backbone=replace(info.policy.backbone, source='no/such-model'))
    with pytest.raises(VlaError, match='download it first'):
        module._backbone_files(replace(info, policy=policy))
    assert json.dumps(module._backbone_files(info))
