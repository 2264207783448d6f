"""What `vla bench vlm` measures: one set of weights run both ways, and the timing of each.

Used by `bench_vlm` only. Deliberately prints nothing.
"""

import argparse
from dataclasses import dataclass
import time
from typing import Any

import numpy as np
import torch

from vla_core.stats import percentiles
from vla_policy.encoder import VisionLanguageEncoder
from vla_policy.plain_forward import cosine, PlainForward
from vla_policy.pooling import build_pooling, PoolingConfig
from vla_policy.presets import PRESETS
from vla_policy.runner import Mode
from vla_policy.work import synchronise

TASK = 'insert the needle through the trocar and stop one millimetre above the tissue'
WARM_UP_RUNS = 3


@dataclass(frozen=True)
class Subject:
    """One set of weights, both ways: the fast encoder and the plain forward."""

    config: Any
    encoder: VisionLanguageEncoder
    plain: PlainForward


def make_subject(
    options: argparse.Namespace, device: torch.device, dtype: torch.dtype, mode: Mode
) -> Subject:
    """Load or draw the weights once, for both ways."""
    from vla_policy.backbones import qwen2_5_vl_build as build
    from vla_policy.backbones import qwen2_5_vl_load as loading
    from vla_policy.backbones.qwen2_5_vl import Qwen25VLBackbone
    from vla_policy.backbones.qwen2_5_vl_stemmed import causal_class

    preset = PRESETS[options.preset]
    if options.random_weights or (options.model is None and preset.source is None):
        tokenizer = build.build_tokenizer()
        processor: Any = build.build_image_processor(preset.pixels, dict(preset.architecture))
        config = build.build_config(_truncate(preset.architecture, options.layers), tokenizer)
        causal = build.random_model(config, 0, device, dtype, head=True)
    else:
        source = options.model or preset.source
        causal = (
            loading.from_pretrained(
                lambda **more: causal_class(loading.read_config(source)).from_pretrained(
                    source, dtype=dtype, attn_implementation='sdpa', **more
                ),
                source,
            )
            .to(device)
            .eval()
        )
        tokenizer, processor = loading.load_processing(source, causal.config)
    backbone = Qwen25VLBackbone(
        causal.model, tokenizer, loading.image_settings(processor), keep_model=True
    )
    pooling = build_pooling(PoolingConfig(kind=options.pooling), backbone.width)
    return Subject(
        causal.config,
        VisionLanguageEncoder(backbone, pooling, mode=mode),
        PlainForward(causal, tokenizer, processor),
    )


def make_images(views: int, height: int, width: int) -> list[np.ndarray]:
    """Make `views` different pictures (H, W, 3) uint8: soft shapes and noise, always the same."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    images = []
    for _ in range(views):
        a, b, c = generator.uniform(20, 90, 3)
        planes = np.stack([np.sin(x / a), np.cos(y / b), np.sin((x + y) / c)], -1)
        noise = generator.normal(0, 6, planes.shape)
        images.append((128 + 100 * planes + noise).clip(0, 255).astype(np.uint8))
    return images


def time_fast(
    encoder: VisionLanguageEncoder, images: list[np.ndarray], runs: int
) -> dict[str, dict[str, float]]:
    """Time the fast path; ms by stage and in all (from uint8 images to features on the host)."""
    rows = []
    for run_index in range(WARM_UP_RUNS + runs):
        synchronise(encoder.backbone.device)
        started = time.perf_counter()
        stages = encoder.encode(images, TASK).stages
        total = time.perf_counter() - started
        if run_index >= WARM_UP_RUNS:
            rows.append({**stages, 'total': total})
    return _summary(rows)


def time_plain(
    plain: PlainForward, images: list[np.ndarray], runs: int, device: torch.device
) -> dict[str, dict[str, float]]:
    """Time processor and whole causal model of `transformers`; ms."""
    rows = []
    for run_index in range(WARM_UP_RUNS + runs):
        started = time.perf_counter()
        inputs = plain.to_device(plain.inputs(images, TASK))
        synchronise(device)
        prepared = time.perf_counter()
        plain.forward(inputs)
        synchronise(device)
        ended = time.perf_counter()
        if run_index >= WARM_UP_RUNS:
            rows.append(
                {
                    'processor': prepared - started,
                    'forward': ended - prepared,
                    'total': ended - started,
                }
            )
    return _summary(rows)


def compare(subject: Subject, images: list[np.ndarray]) -> dict[str, float]:
    """Least and mean cosine between features of the fast path and the plain one, pooled alike."""
    fast = subject.encoder.encode(images, TASK).tokens
    plan = subject.encoder.backbone.make_plan(tuple(image.shape[:2] for image in images), TASK)
    pooling = subject.encoder.pooling
    with torch.inference_mode():
        hidden = subject.plain.hidden_states(images, TASK)
        plain = pooling(hidden, pooling.prepare(plan.layout, hidden.device))
    rows = cosine(fast, plain)
    return {'least': rows.min().item(), 'mean': rows.mean().item()}


def _summary(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    result = {}
    for name in rows[0]:
        values = percentiles([row[name] * 1e3 for row in rows], (50, 99))
        result[name] = {key: float(value or 0.0) for key, value in values.items()}
    return result


def _truncate(architecture: Any, layers: int | None) -> dict[str, Any]:
    if layers is None:
        return dict(architecture)
    text, vision = dict(architecture['text_config']), dict(architecture['vision_config'])
    text['num_hidden_layers'] = min(layers, text['num_hidden_layers'])
    vision['depth'] = min(layers, vision['depth'])
    vision['fullatt_block_indexes'] = [vision['depth'] - 1]
    return {**architecture, 'text_config': text, 'vision_config': vision}
