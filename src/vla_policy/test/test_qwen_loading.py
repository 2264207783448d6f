"""Loading Qwen2.5-VL from a folder: strict, base model only, old and new key names."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
import torch
from transformers import AutoTokenizer

from vla_policy.backbones import qwen2_5_vl_build as build
from vla_policy.backbones.qwen2_5_vl_load import load, load_model
from vla_policy.errors import CheckpointError

CPU = torch.device('cpu')


@pytest.fixture
def folder(nano, tmp_path):
    return shutil.copytree(nano / 'vlm', tmp_path / 'vlm')


@pytest.fixture
def published_folder(tmp_path):
    """Weights of the published classes: no stem."""
    vision = {key: value for key, value in build.NANO['vision_config'].items() if key != 'stem'}
    architecture = {**build.NANO, 'vision_config': vision}
    tokenizer = build.build_tokenizer()
    model = build.random_model(build.build_config(architecture, tokenizer), 0)
    processor = build.build_image_processor(build.NANO_PIXELS, architecture)
    build.save(tmp_path / 'vlm', model, tokenizer, processor)
    return tmp_path / 'vlm'


def rewrite(folder, change):
    weights = load_file(folder / 'model.safetensors')
    save_file(change(weights), folder / 'model.safetensors', metadata={'format': 'pt'})


def test_saved_model_comes_back_with_the_same_weights_and_tokenizer(folder):
    model = load_model(folder, CPU, torch.float32)
    tokenizer = build.build_tokenizer()
    config = build.build_config(build.NANO, tokenizer)
    expected = build.random_model(config, 0).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    text = 'Nadel einführen <|im_start|>'
    assert AutoTokenizer.from_pretrained(folder)(text) == tokenizer(text)


def test_published_file_layout_with_a_head_is_loaded_without_the_head(published_folder):
    """The hub's file: visual.*, model.*, lm_head; not this version's names of the base model."""

    def published(weights):
        renamed = {
            key.replace('language_model.', 'model.'): value for key, value in weights.items()
        }
        return {**renamed, 'lm_head.weight': weights['language_model.embed_tokens.weight'].clone()}

    before = load_model(published_folder, CPU, torch.float32).state_dict()
    rewrite(published_folder, published)
    config = json.loads((published_folder / 'config.json').read_text())
    config['architectures'] = ['Qwen2_5_VLForConditionalGeneration']
    (published_folder / 'config.json').write_text(json.dumps(config))
    model = load_model(published_folder, CPU, torch.float32)
    assert type(model).__name__ == 'Qwen2_5_VLModel'
    assert not any('lm_head' in key for key in model.state_dict())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_weights_arrive_in_the_wanted_dtype(folder):
    model = load_model(folder, CPU, torch.bfloat16)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda w: {k: v for k, v in w.items() if 'blocks.1.attn' not in k}, 'missing'),
        (lambda w: {**w, 'language_model.layers.7.extra': torch.zeros(3)}, 'unexpected'),
        (
            lambda w: {**w, 'visual.merger.ln_q.weight': torch.zeros(3)},
            'of another shape, such as visual.merger.ln_q.weight',
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(CheckpointError, match=message):
        load(folder, CPU, torch.float32)


@pytest.mark.parametrize(
    'name', ['config.json', 'model.safetensors', 'tokenizer.json', 'preprocessor_config.json']
)
def test_missing_file_of_the_model_is_one_clear_line(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError) as caught:
        load(folder, CPU, torch.float32)
    assert str(folder) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_hub_name_that_cannot_be_reached_is_one_clear_line():
    with pytest.raises(CheckpointError, match='Qwen/no-such-model') as caught:
        load('Qwen/no-such-model', CPU, torch.float32)
    assert '\n' not in str(caught.value)


def test_tokenizer_of_another_model_is_refused(folder):
    config = json.loads((folder / 'config.json').read_text())
    config['image_token_id'] = 5
    (folder / 'config.json').write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match='tokenizer'):
        load(folder, CPU, torch.float32)


def test_large_preset_is_the_published_architecture():
    """3.75 billion parameters, 3.09 of them the language model: as the hub's model card has it."""
    config = build.build_config(build.QWEN_3B, build.build_tokenizer())
    model = build.random_model(config, 0, 'meta', torch.bfloat16, head=True)
    parameters = sum(weight.numel() for weight in model.parameters())
    language = sum(weight.numel() for weight in model.model.language_model.parameters())
    assert parameters == 3_754_622_976
    assert language == 3_085_938_688
