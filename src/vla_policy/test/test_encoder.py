"""The encoder as the VLM worker uses it."""

import numpy as np
import pytest
import torch

from vla_core.errors import VlaError
from vla_policy.checkpoint import load_vlm
from vla_policy.encoder import VisionLanguageEncoder
from vla_policy.errors import PolicyInputError
from vla_policy.runner import Runner

LAB = [(360, 640)] * 5


@pytest.fixture(scope='module')
def encoder(nano):
    return load_vlm(nano, dtype='float32')


def test_five_views_become_eight_tokens_each_and_a_text_token(encoder, pictures):
    result = encoder.encode(pictures(*LAB), 'insert the needle')
    assert result.tokens.shape == (5 * 8 + 1, encoder.width)
    assert result.tokens.dtype == np.float16
    assert list(result.stages) == ['preprocess', 'vision', 'language', 'pool']
    assert all(seconds > 0 for seconds in result.stages.values())


def test_same_images_and_task_give_the_same_features(encoder, pictures):
    first, second = (encoder.encode(pictures(*LAB), 'insert').tokens for _ in range(2))
    assert np.array_equal(first, second)


def test_task_and_each_image_change_the_features(encoder, pictures):
    images = pictures(*LAB)
    before = encoder.encode(images, 'insert').tokens
    assert not np.array_equal(before, encoder.encode(images, 'retract').tokens)
    for view in range(5):
        changed = [image if index != view else 255 - image for index, image in enumerate(images)]
        cells = slice(8 * view, 8 * (view + 1))
        assert not np.array_equal(before[cells], encoder.encode(changed, 'insert').tokens[cells])


def test_geometry_is_planned_once_for_images_of_the_same_size(nano, pictures, monkeypatch):
    encoder = load_vlm(nano, dtype='float32')
    plans = []
    make_plan = encoder.backbone.make_plan
    monkeypatch.setattr(
        encoder.backbone, 'make_plan', lambda *args: plans.append(args) or make_plan(*args)
    )
    for _ in range(3):
        encoder.encode(pictures((100, 120)), 'insert')
    encoder.encode(pictures((100, 120)), 'retract')
    encoder.encode(pictures((120, 120)), 'insert')
    encoder.encode(pictures((100, 120)), 'insert')
    assert len(plans) == 3


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        ([], 'at least one'),
        ([np.zeros((10, 10), np.uint8)], 'uint8 RGB'),
        ([np.zeros((56, 56, 3), np.float32)], 'float32'),
        ([None], 'NoneType'),
        ([np.zeros((1, 1000, 3), np.uint8)], 'cannot be used'),
    ],
)
def test_images_of_the_wrong_kind_are_refused_with_what_they_are(encoder, images, message):
    with pytest.raises(PolicyInputError, match=message):
        encoder.encode(images, 'insert')


def test_task_cannot_smuggle_in_special_tokens(encoder, pictures):
    with pytest.raises(PolicyInputError, match='special token'):
        encoder.encode(pictures((56, 56)), 'look at <|image_pad|>')


def test_features_that_are_not_finite_are_an_error(nano, pictures):
    encoder = load_vlm(nano, dtype='float32')
    encoder.backbone.text_weights.norm.fill_(float('nan'))
    with pytest.raises(PolicyInputError, match='not finite'):
        encoder.encode(pictures((56, 56)), 'insert')


def test_device_that_is_not_there_is_named(nano):
    if torch.cuda.is_available():
        pytest.skip('this machine has a CUDA device')
    with pytest.raises(VlaError, match='no usable CUDA device of that name; use cpu'):
        load_vlm(nano, device='cuda')


@pytest.mark.parametrize(
    ('mode', 'message'), [('cuda-graph', 'needs a CUDA device'), ('eagre', 'did you mean eager')]
)
def test_mode_that_cannot_be_run_is_refused_at_loading(nano, mode, message):
    with pytest.raises(VlaError, match=message):
        load_vlm(nano, mode=mode)


def test_graphs_are_refused_where_there_is_no_gpu():
    with pytest.raises(ValueError, match='needs a CUDA device'):
        Runner({}, 'cuda-graph', torch.device('cpu'))


def test_compiled_stages_give_the_same_features(encoder, pictures, monkeypatch):
    """Traced whole, without graph breaks; the code generator itself is not what is tested."""
    compile_stage = torch.compile
    monkeypatch.setattr(
        torch, 'compile', lambda stage, **options: compile_stage(stage, backend='eager', **options)
    )
    compiled = VisionLanguageEncoder(encoder.backbone, encoder.pooling, mode='compile')
    images = pictures((100, 120), (100, 120), (120, 60))
    expected = encoder.encode(images, 'insert').tokens
    assert np.allclose(compiled.encode(images, 'insert').tokens, expected, atol=2e-3)
