"""What each stage trains besides the expert: nothing, adapters, or the whole backbone.

Called by the pipeline to make the encoder, and when a checkpoint is written.
"""

from typing import Any

import torch
from torch import nn

from vla_policy.backbones import qwen2_5_vl_load as qwen
from vla_policy.checkpoint import load_trainable, Manifest
from vla_policy.checkpoint_load import backbone_source, load_pooling
from vla_policy.trainable import TrainableEncoder
from vla_training.train.config import TrainConfig
from vla_training.train.model import PolicyModel


def build_encoder(config: TrainConfig, info: Manifest, device: torch.device) -> nn.Module | None:
    """Return the encoder that is trained; None where features come from the cache."""
    if config.stage == 'frozen':
        return None
    if config.stage == 'full':
        return load_trainable(info.folder, device)
    from vla_training.train.adapters import AdapterEncoder

    source = backbone_source(info, verify=True)
    dtype = torch.bfloat16 if config.precision == 'bfloat16' else torch.float32
    model = qwen.load_model(source, device, dtype)
    tokenizer, processor = qwen.load_processing(source, model.config)
    pooling = load_pooling(info, model.config.text_config.hidden_size)
    return AdapterEncoder(
        model, tokenizer, processor, qwen.image_settings(processor), pooling, config.lora
    )


def saved_parts(model: PolicyModel) -> dict[str, Any]:
    """What a checkpoint of this model holds besides the expert."""
    encoder = model.encoder
    if encoder is None:
        return {}
    backbone = encoder.model if isinstance(encoder, TrainableEncoder) else encoder.merged()
    return {'backbone': backbone, 'pooling': encoder.pooling.state_dict()}
