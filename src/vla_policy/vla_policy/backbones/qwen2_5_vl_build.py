"""Building a Qwen2.5-VL from nothing: architecture, tokenizer, processor, random weights.

Used to create the `nano` checkpoint and to benchmark the published 3B architecture without its
weights. Everything is saved by save_pretrained and loaded again by from_pretrained, as the real
model is. Deliberately downloads nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

SPECIAL_TOKENS = (
    '<|endoftext|>',
    '<|im_start|>',
    '<|im_end|>',
    '<|vision_start|>',
    '<|vision_end|>',
    '<|vision_pad|>',
    '<|image_pad|>',
    '<|video_pad|>',
)

# config.json of Qwen/Qwen2.5-VL-3B-Instruct.
QWEN_3B: dict[str, Any] = {
    'tie_word_embeddings': True,
    'text_config': {
        'vocab_size': 151936,
        'hidden_size': 2048,
        'intermediate_size': 11008,
        'num_hidden_layers': 36,
        'num_attention_heads': 16,
        'num_key_value_heads': 2,
        'hidden_act': 'silu',
        'max_position_embeddings': 128000,
        'initializer_range': 0.02,
        'rms_norm_eps': 1e-6,
        'use_sliding_window': False,
        'sliding_window': 32768,
        'max_window_layers': 70,
        'attention_dropout': 0.0,
        'tie_word_embeddings': True,
        'rope_parameters': {
            'rope_type': 'default',
            'rope_theta': 1000000.0,
            'mrope_section': [16, 24, 24],
        },
    },
    'vision_config': {
        'depth': 32,
        'hidden_size': 1280,
        'intermediate_size': 3420,
        'num_heads': 16,
        'in_channels': 3,
        'hidden_act': 'silu',
        'patch_size': 14,
        'spatial_merge_size': 2,
        'temporal_patch_size': 2,
        'tokens_per_second': 2,
        'window_size': 112,
        'out_hidden_size': 2048,
        'fullatt_block_indexes': [7, 15, 23, 31],
    },
}
# preprocessor_config.json of the same: practically no limit to the size.
QWEN_3B_PIXELS = (3136, 12845056)

# 3.5 M parameters. Widths and depths follow our learning experiment, where 4 x 128 and 2 x 256
# found a target to 1 mm; every vision block sees the whole image, which is four tokens high.
NANO: dict[str, Any] = {
    'tie_word_embeddings': True,
    'text_config': {
        'vocab_size': 512,
        'hidden_size': 256,
        'intermediate_size': 768,
        'num_hidden_layers': 2,
        'num_attention_heads': 4,
        'num_key_value_heads': 2,
        'hidden_act': 'silu',
        'max_position_embeddings': 8192,
        'initializer_range': 0.02,
        'rms_norm_eps': 1e-6,
        'use_sliding_window': False,
        'attention_dropout': 0.0,
        'tie_word_embeddings': True,
        'rope_parameters': {
            'rope_type': 'default',
            'rope_theta': 1000000.0,
            'mrope_section': [8, 12, 12],
        },
    },
    'vision_config': {
        'depth': 2,
        'hidden_size': 128,
        'intermediate_size': 384,
        'num_heads': 4,
        'in_channels': 3,
        'hidden_act': 'silu',
        'patch_size': 16,
        'spatial_merge_size': 2,
        'temporal_patch_size': 2,
        'tokens_per_second': 2,
        'window_size': 128,
        'out_hidden_size': 256,
        'fullatt_block_indexes': [0, 1],
        'stem': {'channels': [16, 32, 64, 128], 'blocks': [0, 1, 1, 1]},
    },
}
# 640x360 becomes 256x128: 32 tokens a view. Five views then cost some 40 ms on one CPU core, and
# two cores can train it in an hour.
NANO_PIXELS = (4096, 37000)


def build_tokenizer() -> Any:
    """Make a tokenizer of one token a byte and Qwen2.5-VL's special tokens."""
    from tokenizers import pre_tokenizers
    from transformers import Qwen2Tokenizer

    vocabulary = {
        letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))
    }
    return Qwen2Tokenizer(
        vocab=vocabulary, merges=[], extra_special_tokens=list(SPECIAL_TOKENS[1:])
    )


def build_config(architecture: dict[str, Any], tokenizer: Any) -> Any:
    """Make the configuration of `architecture` with the token ids of `tokenizer`."""
    from transformers import Qwen2_5_VLConfig

    ids = {
        name: tokenizer.convert_tokens_to_ids(f'<|{token}|>')
        for name, token in (
            ('image_token_id', 'image_pad'),
            ('video_token_id', 'video_pad'),
            ('vision_start_token_id', 'vision_start'),
            ('vision_end_token_id', 'vision_end'),
        )
    }
    end = tokenizer.convert_tokens_to_ids('<|endoftext|>')
    text = {
        **architecture['text_config'],
        'bos_token_id': end,
        'eos_token_id': end,
        'pad_token_id': None,
        'rope_parameters': dict(architecture['text_config']['rope_parameters']),
    }
    return Qwen2_5_VLConfig(
        tie_word_embeddings=architecture['tie_word_embeddings'],
        text_config=text,
        vision_config=dict(architecture['vision_config']),
        **ids,
    )


def build_image_processor(pixels: tuple[int, int], architecture: dict[str, Any]) -> Any:
    """Make the image processor of `architecture`, resizing to between `pixels` (least, most)."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    vision = architecture['vision_config']
    return Qwen2VLImageProcessorPil(
        size={'shortest_edge': pixels[0], 'longest_edge': pixels[1]},
        patch_size=vision['patch_size'],
        merge_size=vision['spatial_merge_size'],
    )


def random_model(
    config: Any,
    seed: int,
    device: torch.device | str = 'cpu',
    dtype: torch.dtype = torch.float32,
    *,
    head: bool = False,
) -> Any:
    """Make a model with the published initialisation; same seed and device, same weights.

    With `head` the whole causal model (for the plain forward of the benchmark), else the base
    model.
    """
    from vla_policy.backbones.qwen2_5_vl_stemmed import causal_class, model_class

    kind = causal_class(config) if head else model_class(config)
    config._attn_implementation = 'sdpa'
    with _seeded(seed, dtype), torch.device(device):
        model = kind(config)
    return model.eval().requires_grad_(False)


def save(folder: Path, model: Any, tokenizer: Any, image_processor: Any) -> None:
    """Write everything that from_pretrained reads back."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    image_processor.save_pretrained(folder)


@contextmanager
def _seeded(seed: int, dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)
