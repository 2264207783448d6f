"""What a run will take, before it is started: its parameters are counted here.

Called by `vla train --plan`. Models are made on torch's meta device, so a backbone of billions of
weights is counted without loading one. What they take is in memory.py. Deliberately measures
nothing.
"""

from collections.abc import Iterator

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
from vla_policy.geometry import ImageRules
from vla_policy.pooling import build_pooling, PoolingConfig
from vla_policy.presets import PRESETS
from vla_training.train.config import TrainConfig
from vla_training.train.memory import Counts, estimate, prompt_tokens, Subject, weight_bytes

_LEGACY_VIEWS, _LEGACY_SIZE = 5, (360, 640)
_LEGACY_INPUTS = {'samples': 65, 'channels': 1026, 'state_width': 12, 'steps': 8, 'dims': 6}


def plan(config: TrainConfig, processes: int = 1) -> Iterator[str]:
    """Yield the lines that are printed, for one device of `processes`.

    VlaError where neither init nor preset is given, the expert or the adapters are none, or one
    process is to share its weights out.
    """
    shared = config.distributed == 'fsdp'
    if shared and processes == 1:
        raise VlaError('distributed=fsdp: among how many processes? give --processes N')
    subject = read_subject(config)
    counts, tokens = count(config, subject), prompt_tokens(subject)
    memory = estimate(config, subject, counts, processes if shared else 1)
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
    if shared and config.stage != 'frozen':
        whole = counts.backbone * weight_bytes(config) / 2**30
        yield f'before it is shared out, the backbone is whole on each device: {whole:.2f} GiB'
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
    expert = config.expert.over(expert, **preset.expert)
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
        from vla_training.train.adapters import check_targets

        check_targets(language, config.lora.targets)
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
    layers = _size(language.layers)
    return Counts(expert, pooling, vision, _size(language), layers, adapters, trained)


def _of_checkpoint(config: TrainConfig) -> Subject:
    from vla_policy.backbones import qwen2_5_vl_load as load

    info = read_manifest(config.init)
    source = backbone_source(info, verify=False)
    architecture = load.read_config(source)
    _, processor = load.load_processing(source, architecture)
    pooling = info.policy.pooling if config.pooling is None else PoolingConfig(config.pooling)
    expert = config.expert.over(info.policy.expert, tokens_per_view=pooling.tokens_per_view)
    contract: Contract = info.contract
    return Subject(
        architecture, load.image_settings(processor).rules, expert, pooling,
        len(contract.views), (contract.images.height, contract.images.width),
    )  # fmt: skip


def _size(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _millions(number: int) -> str:
    return f'{number / 1e6:.2f} M'
