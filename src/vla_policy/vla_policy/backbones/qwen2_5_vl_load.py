"""Loading Qwen2.5-VL by from_pretrained from a local folder or a hub name, strictly.

Called through `registry` when a checkpoint is loaded. Loads the base model, never the
language-model head, in the wanted dtype. Deliberately has no fallback: weights that do not fit the
architecture exactly are an error.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vla_policy.backbones.qwen2_5_vl import ImageSettings, Qwen25VLBackbone
from vla_policy.errors import CheckpointError
from vla_policy.geometry import ImageRules

# What from_pretrained raises on damaged, missing or foreign files, as tests have met it.
FAILURES = (OSError, ValueError, RuntimeError, ImportError, KeyError, TypeError)


def load(source: str | Path, device: torch.device, dtype: torch.dtype) -> Qwen25VLBackbone:
    """Load model, tokenizer and processor settings from a local folder or a hub name.

    Raises CheckpointError where something is missing, unexpected (other than the language-model
    head) or of another shape.
    """
    model = load_model(source, device, dtype)
    tokenizer, processor = load_processing(source, model.config)
    return Qwen25VLBackbone(model, tokenizer, image_settings(processor))


def load_model(source: str | Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Load the base model strictly; in eval mode, without gradients."""
    # 100 MB of memory: only who runs the model pays.
    from vla_policy.backbones.qwen2_5_vl_stemmed import model_class

    config = read_config(source)
    model, report = from_pretrained(
        lambda **options: model_class(config).from_pretrained(
            source,
            config=config,
            dtype=dtype,
            attn_implementation='sdpa',
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are reported below, by name
            **options,
        ),
        source,
    )
    problems = {
        'missing': sorted(report['missing_keys']),
        'unexpected': sorted(
            key for key in report['unexpected_keys'] if not key.startswith('lm_head.')
        ),
        'of another shape': sorted(str(entry[0]) for entry in report['mismatched_keys']),
    }
    for what, keys in problems.items():
        if keys:
            raise CheckpointError(
                source,
                f'{len(keys)} weights are {what}, such as {keys[0]}',
                'these weights are not for this architecture; use the matching files',
            )
    return model.to(device).eval().requires_grad_(False)


def read_config(source: str | Path) -> Any:
    """Read config.json; without one transformers would build its default of 70 billion weights."""
    from transformers import AutoConfig

    config = from_pretrained(
        lambda **options: AutoConfig.from_pretrained(source, **options), source
    )
    if config.model_type != 'qwen2_5_vl':
        raise CheckpointError(source, f'is a {config.model_type} model', 'use a Qwen2.5-VL model')
    return config


def load_processing(source: str | Path, config: Any) -> tuple[Any, Any]:
    """Load the tokenizer and the image processor; checks that they fit the model's `config`."""
    from transformers import AutoTokenizer
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer = from_pretrained(
        lambda **options: AutoTokenizer.from_pretrained(source, **options), source
    )
    image_id = tokenizer.convert_tokens_to_ids('<|image_pad|>')
    if image_id != config.image_token_id:
        raise CheckpointError(
            source,
            f'the tokenizer calls an image token {image_id}, the model {config.image_token_id}',
            'use the tokenizer that came with the model',
        )
    processor = from_pretrained(
        lambda **options: Qwen2VLImageProcessorPil.from_pretrained(source, **options), source
    )
    return tokenizer, processor


def image_settings(processor: Any) -> ImageSettings:
    """Read the settings off an image processor of the Qwen2-VL family."""
    size = processor.size
    rules = ImageRules(
        processor.patch_size,
        processor.merge_size,
        int(size['shortest_edge']),
        int(size['longest_edge']),
    )
    return ImageSettings(
        rules, list(processor.image_mean), list(processor.image_std), processor.rescale_factor
    )


def from_pretrained(call: Callable[..., Any], source: str | Path) -> Any:
    """Call from_pretrained, for a folder without network; failures become CheckpointError."""
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.disable_progress_bar()  # it would draw over the logs of a node
    local = Path(source).is_dir()
    try:
        return call(**({'local_files_only': True} if local else {}))
    except (*FAILURES, SafetensorError) as error:
        first_line = (str(error).strip() or repr(error)).splitlines()[0]
        remedy = (
            'the folder must hold config.json, model.safetensors, tokenizer.json and '
            'preprocessor_config.json'
            if local
            else 'give an existing folder, or a hub name on a machine that can reach the hub'
        )
        raise CheckpointError(source, f'cannot be loaded ({first_line})', remedy) from error
