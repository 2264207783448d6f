"""What a run will take, before it is started: parameters and memory.

Called by `vla train --plan`. Models are made on torch's meta device, so a backbone of billions of
weights is counted without loading one. Weights, gradients and optimiser are counted exactly;
activations are an estimate, which says what it counts. Deliberately measures nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
import math
from typing import Any

import torch
from torch import nn

from vla_core.contract import Contract
from vla_core.errors import did_you_mean, VlaError
from vla_policy.backbones import qwen2_5_vl_build as qwen
from vla_policy.checkpoint import read_manifest
from vla_policy.checkpoint_create import untrained_statistics
from vla_policy.checkpoint_load import backbone_source
from vla_policy.expert.config import ExpertConfig
from vla_policy.expert.expert import ActionExpert
from vla_policy.geometry import image_grid, ImageRules
from vla_policy.pooling import build_pooling, PoolingConfig
from vla_policy.presets import PRESETS
from vla_training.train.config import TrainConfig

_PROMPT_TEXT = 40  # tokens of the prompt besides the pictures, about
_BYTES = {'float32': 4, 'bfloat16': 2}
# Numbers a transformer block keeps for its backward pass, per token and unit of width: norms,
# projections, attention (fused, so no matrix of all pairs); the feed-forward part is apart.
_KEPT_WIDTHS, _KEPT_MLP = 10, 3
_LEGACY_VIEWS, _LEGACY_SIZE = 5, (360, 640)
_LEGACY_INPUTS = {'samples': 65, 'channels': 1026, 'state_width': 12, 'steps': 8, 'dims': 6}


@dataclass(frozen=True)
class Subject:
    """What is planned for: the parts of a policy without weights."""

    architecture: Any  # configuration of the backbone, as transformers has it
    rules: ImageRules
    expert: ExpertConfig
    pooling: PoolingConfig
    views: int
    size: tuple[int, int]  # height, width of the pictures


@dataclass(frozen=True)
class Memory:
    """Bytes on one device."""

    weights: float
    gradients: float
    optimizer: float  # two moments of AdamW
    average: float
    activations: float

    @property
    def total(self) -> float:
        """Everything at the worst moment."""
        return sum(vars(self).values())


@dataclass(frozen=True)
class Counts:
    """Parameters of each part, and how many of them learn."""

    expert: int
    pooling: int
    vision: int
    language: int
    adapters: int
    trained: int

    @property
    def backbone(self) -> int:
        """Vision and language together."""
        return self.vision + self.language


def plan(config: TrainConfig) -> Iterator[str]:
    """Yield the lines that are printed. VlaError where neither init nor preset is given."""
    subject = read_subject(config)
    counts, tokens = count(config, subject), prompt_tokens(subject)
    memory = estimate(config, subject, counts)
    passes = f'{subject.expert.passes} passes, ' if subject.expert.passes > 1 else ''
    yield f'stage {config.stage}, head {subject.expert.head}, {config.precision}'
    yield (
        f'parameters: expert {_millions(counts.expert)}, pooling {_millions(counts.pooling)}, '
        f'vision {_millions(counts.vision)}, language {_millions(counts.language)}, adapters '
        f'{_millions(counts.adapters)}'
    )
    yield f'trained: {_millions(counts.trained)}'
    yield (
        f'a sample: {subject.views} pictures, {tokens} tokens in the prompt, {passes}'
        f'{subject.expert.feature_tokens} features of width {subject.expert.feature_width}'
    )
    for name, size in vars(memory).items():
        yield f'memory, {name:<11} {size / 2**30:8.2f} GiB'
    total = memory.total / 2**30
    yield f'memory, {"in all":<11} {total:8.2f} GiB a device (activations estimated)'
    if config.stage == 'frozen':
        size = subject.expert.pass_tokens * subject.expert.feature_width * 2
        yield f'feature cache: {size / 1e6:.3f} MB an image set'
        yield 'the backbone is not loaded: its features come from the cache'


def read_subject(config: TrainConfig) -> Subject:
    """Describe the policy of `init`, or of `preset` with the lab's five views."""
    if config.init:
        return _of_checkpoint(config)
    if config.preset not in PRESETS:
        hint = did_you_mean(config.preset, PRESETS) if config.preset else ''
        raise VlaError(
            f'--plan needs init or preset; preset {config.preset!r}: expected '
            f'{", ".join(PRESETS)}{hint}'
        )
    preset = PRESETS[config.preset]
    architecture = qwen.build_config(dict(preset.architecture), qwen.build_tokenizer())
    pooling = preset.pooling if config.pooling is None else PoolingConfig(config.pooling)
    expert = ExpertConfig(
        views=_LEGACY_VIEWS, tokens_per_view=pooling.tokens_per_view,
        feature_width=architecture.text_config.hidden_size, **_LEGACY_INPUTS,
    )  # fmt: skip
    expert = replace(expert, **{**preset.expert, **config.expert.given()})
    vision = preset.architecture['vision_config']
    rules = ImageRules(vision['patch_size'], vision['spatial_merge_size'], *preset.pixels)
    return Subject(architecture, rules, expert, pooling, _LEGACY_VIEWS, _LEGACY_SIZE)


def count(config: TrainConfig, subject: Subject) -> Counts:
    """Count the parameters of every part."""
    from vla_policy.backbones.qwen2_5_vl_stemmed import model_class

    with torch.device('meta'):
        model = model_class(subject.architecture)(subject.architecture)
        pooling = _size(build_pooling(subject.pooling, subject.expert.feature_width))
    expert = _size(ActionExpert(subject.expert, untrained_statistics(subject.expert)))
    language, vision = model.language_model, _size(model.visual)
    adapters = 0
    if config.stage == 'lora':
        adapters = sum(
            config.lora.rank * (layer.in_features + layer.out_features)
            for name, layer in language.named_modules()
            if isinstance(layer, nn.Linear) and name.rsplit('.', 1)[-1] in config.lora.targets
        )
    embedding = _size(language.embed_tokens)
    trained = (
        expert
        + {
            'frozen': 0,
            'lora': pooling + adapters,
            'full': pooling + vision + _size(language) - embedding,
        }[config.stage]
    )
    return Counts(expert, pooling, vision, _size(language), adapters, trained)


def estimate(config: TrainConfig, subject: Subject, counts: Counts) -> Memory:
    """Estimate the memory of one device."""
    vision = subject.architecture.vision_config
    # The vision tower's fast form holds a joined copy of one pair of projections a block.
    joined = 2 * vision.depth * vision.hidden_size * vision.intermediate_size
    backbone = {
        'frozen': 0,
        'lora': (counts.backbone + joined) * _BYTES[config.precision],
        'full': counts.backbone * 4,
    }[config.stage]
    own = counts.expert + (0 if config.stage == 'frozen' else counts.pooling + counts.adapters)
    return Memory(
        weights=backbone + 4 * own,
        gradients=4 * counts.trained,
        optimizer=8 * counts.trained,
        average=4 * counts.trained,
        activations=_activations(config, subject),
    )


def prompt_tokens(subject: Subject) -> int:
    """Tokens of the language model's prompt for one sample."""
    grid = image_grid(subject.size, subject.rules)
    return subject.views * grid.tokens + _PROMPT_TEXT


def _activations(config: TrainConfig, subject: Subject) -> float:
    """Bytes kept for the backward pass of one batch."""
    expert, width = subject.expert, _BYTES[config.precision]
    tokens = expert.feature_tokens + math.ceil(expert.samples / 2**expert.sensor_convs) + 2
    kept = _block(tokens, expert.width, expert.mlp_ratio * expert.width) * expert.trunk_layers
    kept += _block(expert.steps, expert.width, expert.mlp_ratio * expert.width) * (
        2 * expert.decoder_layers
    )
    kept += expert.samples * (2 * expert.channels + 4 * expert.width)
    if config.stage != 'frozen':
        kept += expert.passes * _backbone_activations(config, subject)
    return config.batch * kept * width


def _backbone_activations(config: TrainConfig, subject: Subject) -> float:
    text = subject.architecture.text_config
    tokens = prompt_tokens(subject)
    layer = _block(tokens, text.hidden_size, text.intermediate_size)
    if config.stage == 'lora' and config.lora.checkpointing:
        # The input of every layer, and one layer that is being computed again.
        return text.num_hidden_layers * tokens * text.hidden_size + layer
    kept = text.num_hidden_layers * layer
    if config.stage == 'full':
        vision = subject.architecture.vision_config
        patches = subject.views * image_grid(subject.size, subject.rules).tokens
        patches *= subject.rules.merge**2
        kept += vision.depth * _block(patches, vision.hidden_size, vision.intermediate_size)
    return kept


def _block(tokens: int, width: int, feed_forward: int) -> float:
    return tokens * (_KEPT_WIDTHS * width + _KEPT_MLP * feed_forward)


def _of_checkpoint(config: TrainConfig) -> Subject:
    from vla_policy.backbones import qwen2_5_vl_load as load

    info = read_manifest(config.init)
    source = backbone_source(info, verify=False)
    architecture = load.read_config(source)
    _, processor = load.load_processing(source, architecture)
    pooling = info.policy.pooling if config.pooling is None else PoolingConfig(config.pooling)
    expert = replace(
        info.policy.expert, tokens_per_view=pooling.tokens_per_view, **config.expert.given()
    )
    contract: Contract = info.contract
    return Subject(
        architecture, load.image_settings(processor).rules, expert, pooling,
        len(contract.views), (contract.images.height, contract.images.width),
    )  # fmt: skip


def _size(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _millions(number: int) -> str:
    return f'{number / 1e6:.2f} M'
