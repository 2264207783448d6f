"""Taking the weights out of a `transformers` Qwen2.5-VL for the fixed-geometry forward pass.

Called once by the backbone. Projections that share their input are joined, the two frames of the
patch convolution are added: exact up to rounding. Deliberately changes no values otherwise.
"""

from typing import Any

import torch

from vla_policy.backbones.picture_stem import PictureStem
from vla_policy.backbones.qwen2_5_vl_forward import Layer, TextWeights, VisionWeights


def take_vision(visual: Any, *, free: bool) -> VisionWeights:
    """Gather the vision tower's weights, joined where they share their input."""
    layers = []
    for block in visual.blocks:
        mlp, attention = block.mlp, block.attn
        layers.append(
            Layer(
                block.norm1.weight,
                attention.qkv.weight,
                attention.qkv.bias,
                attention.proj.weight,
                attention.proj.bias,
                block.norm2.weight,
                *_join(mlp.gate_proj, mlp.up_proj),
                mlp.down_proj.weight,
                mlp.down_proj.bias,
            )
        )
        if free:
            mlp.to('meta')
    merger = visual.merger
    return VisionWeights(
        _embedding(visual.patch_embed),
        tuple(layers),
        frozenset(visual.config.fullatt_block_indexes),
        merger.ln_q.weight,
        merger.mlp[0].weight,
        merger.mlp[0].bias,
        merger.mlp[2].weight,
        merger.mlp[2].bias,
        visual.config.num_heads,
        visual.config.spatial_merge_size,
        merger.ln_q.variance_epsilon,
    )


def _embedding(embed: Any) -> torch.Tensor | PictureStem:
    if hasattr(embed, 'stem'):
        return embed.stem
    conv = embed.proj.weight
    return conv.float().sum(2).flatten(1).to(conv.dtype)  # both frames of a still image are equal


def take_text(language: Any, *, free: bool) -> TextWeights:
    """Gather the language model's weights, joined where they share their input."""
    config, layers = language.config, []
    for block in language.layers:
        attention, mlp = block.self_attn, block.mlp
        layers.append(
            Layer(
                block.input_layernorm.weight,
                *_join(attention.q_proj, attention.k_proj, attention.v_proj),
                attention.o_proj.weight,
                attention.o_proj.bias,
                block.post_attention_layernorm.weight,
                *_join(mlp.gate_proj, mlp.up_proj),
                mlp.down_proj.weight,
                mlp.down_proj.bias,
            )
        )
        if free:
            for joined in (
                attention.q_proj,
                attention.k_proj,
                attention.v_proj,
                mlp.gate_proj,
                mlp.up_proj,
            ):
                joined.to('meta')
    return TextWeights(
        tuple(layers),
        language.norm.weight,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.hidden_size // config.num_attention_heads,
        config.rms_norm_eps,
    )


def _join(*linears: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    biases = [linear.bias for linear in linears]
    weight = torch.cat([linear.weight for linear in linears])
    return weight, None if biases[0] is None else torch.cat(biases)
