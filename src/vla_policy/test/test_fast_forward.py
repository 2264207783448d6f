"""The fast forward pass against the plain one of transformers, on the same weights."""

import copy

import numpy as np
import pytest
import torch

from vla_policy.backbones import qwen2_5_vl_build as build
from vla_policy.backbones.qwen2_5_vl import Qwen25VLBackbone
from vla_policy.backbones.qwen2_5_vl_load import image_settings
from vla_policy.plain_forward import cosine, PlainForward
from vla_policy.preprocess import preprocess

TASK = 'insert the needle'
# What the lab sends; views of two sizes in mixed order; one token; a tall one; odd sides.
GEOMETRIES = {
    'lab': [(360, 640)] * 5,
    'mixed': [(300, 300), (360, 640), (300, 300), (97, 211)],
    'smallest': [(56, 56)],
    'tall': [(1000, 90)],
}
# The 3B's proportions, two layers of each tower: heads of 80 and 128, eight heads for a key head.
FEW_LAYERS = {
    'tie_word_embeddings': True,
    'text_config': {
        **build.QWEN_3B['text_config'],
        'vocab_size': 512,
        'hidden_size': 1024,
        'intermediate_size': 512,
        'num_attention_heads': 8,
        'num_key_value_heads': 1,
        'num_hidden_layers': 2,
    },
    'vision_config': {
        **build.QWEN_3B['vision_config'],
        'hidden_size': 160,
        'num_heads': 2,
        'intermediate_size': 100,
        'depth': 2,
        'out_hidden_size': 1024,
        'fullatt_block_indexes': [1],
    },
}


def pair(architecture=build.NANO, pixels=build.NANO_PIXELS, dtype=torch.float32):
    """Backbone and plain forward on the same random weights."""
    tokenizer = build.build_tokenizer()
    processor = build.build_image_processor(pixels, architecture)
    model = build.random_model(build.build_config(architecture, tokenizer), 3, dtype=dtype)
    with torch.no_grad():  # initial biases and norms hide mistakes: 0 and 1
        generator = torch.Generator().manual_seed(4)
        for name, weight in model.named_parameters():
            if name.endswith('bias') or 'norm' in name or 'ln_q' in name:
                weight.add_(torch.randn(weight.shape, generator=generator).to(dtype) * 0.1)
    backbone = Qwen25VLBackbone(model, tokenizer, image_settings(processor), keep_model=True)
    return backbone, PlainForward(model, tokenizer, processor)


@pytest.fixture(scope='module')
def nano_pair():
    return pair()


def batches(plan, images):
    return [
        torch.from_numpy(np.stack([images[index] for index in group])) for group in plan.groups
    ]


@torch.inference_mode()
def hidden_states(backbone, images, task=TASK):
    plan = backbone.make_plan(tuple(image.shape[:2] for image in images), task)
    patches = backbone.preprocess(batches(plan, images), plan)
    return backbone.language(backbone.vision(patches, plan), plan)


@pytest.mark.parametrize('sizes', GEOMETRIES.values(), ids=GEOMETRIES)
def test_fast_forward_agrees_with_processor_and_model(nano_pair, pictures, sizes):
    backbone, plain = nano_pair
    images = pictures(*sizes)
    fast, expected = hidden_states(backbone, images), plain.hidden_states(images, TASK)
    assert fast.shape == expected.shape
    assert cosine(fast, expected).min() > 0.9995


@pytest.mark.parametrize('sizes', GEOMETRIES.values(), ids=GEOMETRIES)
def test_fast_forward_is_exact_on_the_same_pixels(nano_pair, pictures, sizes):
    """Resizing is the only difference that remains: PIL and torch round differently."""
    backbone, plain = nano_pair
    images = pictures(*sizes)
    inputs = plain.inputs(images, TASK)
    plan = backbone.make_plan(tuple(sizes), TASK)
    tokens = [view.grid.tokens * 4 for view in plan.layout.views]
    views = (
        inputs['pixel_values'].reshape(-1, 3, 2, backbone.rules.patch**2)[:, :, 0].split(tokens)
    )
    patches = [
        torch.cat([views[index] for index in indices]).flatten(1)[group.vision.to_window]
        for indices, group in zip(plan.groups, plan.extra.groups)
    ]
    with torch.inference_mode():
        fast = backbone.language(backbone.vision(patches, plan), plan)
    expected = plain.hidden_states(images, TASK)
    assert (fast - expected).abs().max() < 1e-4
    assert cosine(fast, expected).min() > 1 - 1e-8


def test_proportions_of_the_large_model_agree_too(pictures):
    backbone, plain = pair(FEW_LAYERS, (3136, 100000))
    images = pictures((360, 640), (360, 640), (200, 250))
    fast = hidden_states(backbone, images)
    assert cosine(fast, plain.hidden_states(images, TASK)).min() > 0.9995


def test_bfloat16_stays_within_the_gate(pictures):
    backbone, _ = pair(dtype=torch.bfloat16)
    exact, _ = pair()
    images = pictures((360, 640), (360, 640))
    fast, expected = hidden_states(backbone, images), hidden_states(exact, images)
    assert fast.dtype == torch.bfloat16
    assert cosine(fast.float(), expected).mean() > 0.999


def test_processor_pixels_are_met_within_one_grey_value(nano_pair, pictures):
    backbone, plain = nano_pair
    images = pictures((360, 640), (360, 640))
    plan = backbone.make_plan(((360, 640),) * 2, TASK)
    group = plan.extra.groups[0]
    ours = preprocess(
        batches(plan, images)[0], group.grid, 2, group.order, backbone._normalise, torch.float32
    )
    theirs = plain.inputs(images, TASK)['pixel_values'].reshape(-1, 3, 2, backbone.rules.patch**2)
    assert torch.equal(theirs[:, :, 0], theirs[:, :, 1])
    difference = (ours - theirs[:, :, 0].flatten(1)[group.vision.to_window]).abs() * 0.27 * 255
    assert difference.max() < 1.1
    assert (difference > 0.5).float().mean() < 0.02


def test_weights_exist_once_when_the_model_is_not_kept(pictures):
    backbone, plain = pair()
    model = copy.deepcopy(plain.model)
    lean = Qwen25VLBackbone(model, backbone._tokenizer, image_settings(plain._image_processor))
    images = pictures((100, 100))
    assert torch.equal(hidden_states(lean, images), hidden_states(backbone, images))
    assert model.visual.blocks[0].mlp.gate_proj.weight.device.type == 'meta'
    assert model.language_model.layers[0].self_attn.q_proj.weight.device.type == 'meta'


def test_image_tokens_have_read_the_task(nano_pair, pictures):
    backbone, _ = nano_pair
    images = pictures((100, 100))
    plan = backbone.make_plan(((100, 100),), 'go up')
    view = plan.layout.views[0]
    up, down = (hidden_states(backbone, images, task) for task in ('go up', 'go on'))
    assert not torch.allclose(up[view.start : view.stop], down[view.start : view.stop])


def test_large_model_runs_without_ever_waiting_for_the_host():
    """On the meta device any look at a value fails, so what passes can be captured as a graph."""
    tokenizer = build.build_tokenizer()
    config = build.build_config(build.QWEN_3B, tokenizer)
    model = build.random_model(config, 0, 'meta', torch.bfloat16)
    processor = build.build_image_processor(build.QWEN_3B_PIXELS, build.QWEN_3B)
    backbone = Qwen25VLBackbone(model, tokenizer, image_settings(processor), keep_model=True)
    plan = backbone.make_plan(((360, 640),) * 5, TASK)
    images = torch.empty(5, 360, 640, 3, dtype=torch.uint8, device='meta')
    with torch.inference_mode():
        patches = backbone.preprocess([images], plan)
        tokens = backbone.vision(patches, plan)
        hidden = backbone.language(tokens, plan)
    assert [tuple(batch.shape) for batch in patches] == [(5980, 588)]
    assert tuple(tokens.shape) == (1495, 2048)
    assert tuple(hidden.shape) == (plan.layout.tokens, 2048)
    assert hidden.dtype == torch.bfloat16
