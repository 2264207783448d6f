"""Stage 2: adapters (LoRA, by peft) on the language model of a backbone that stays as it is.

Made by `stages`. The vision tower runs without gradients, the language model is that of
`transformers`, which can compute activations again instead of keeping them. Deliberately never
merges in place: adding and taking away again would change the frozen weights by rounding.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from peft import inject_adapter_in_model
from peft import LoraConfig as PeftConfig
import torch
from torch import nn

from vla_core.errors import did_you_mean, VlaError
from vla_policy import geometry
from vla_policy.backbones.base import Plan
from vla_policy.backbones.qwen2_5_vl import ImageSettings, Qwen25VLBackbone
from vla_training.train.config import LoraConfig

_BASE, _ADAPTER = '.base_layer.', 'lora_'


class AdapterEncoder(nn.Module):
    """Backbone with adapters, and pooling. What learns: the adapters and the pooling."""

    def __init__(
        self, model: nn.Module, tokenizer: Any, processor: Any, settings: ImageSettings,
        pooling: nn.Module, config: LoraConfig,
    ) -> None:  # fmt: skip
        """`model`: a Qwen2_5_VLModel on its device; it is changed. VlaError on wrong targets."""
        super().__init__()
        self.model, self.pooling = model, pooling.to(model.device)
        self._tokenizer, self._processor = tokenizer, processor
        self._backbone = Qwen25VLBackbone(model, tokenizer, settings, keep_model=True)
        # The joined copies of the language model's weights are not used here.
        self._backbone.text_weights = replace(self._backbone.text_weights, layers=())
        model.requires_grad_(False)
        check_targets(model.language_model, config.targets)
        inject_adapter_in_model(_peft_config(config), model.language_model)
        for name, weight in model.named_parameters():
            weight.requires_grad_(_ADAPTER in name)
        if config.checkpointing:
            model.language_model.activation_checkpointing_enable({'use_reentrant': False})
        self._plans: dict[Any, tuple[Plan, torch.Tensor, Any]] = {}

    def forward(self, images: torch.Tensor, task: str) -> tuple[torch.Tensor]:
        """Encode images (B, V, H, W, 3) uint8 to features (B, T, D)."""
        plan, positions, prepared = self._plan(images, task)
        with torch.no_grad():
            patches = self._backbone.preprocess([images.flatten(0, 1)], plan)
            tokens = self._backbone.vision(patches, plan).unflatten(0, (len(images), -1))
        text = plan.extra.text
        prompt = text.embeddings.expand(len(images), *text.embeddings.shape)
        hidden = self.model.language_model(
            inputs_embeds=prompt.index_copy(1, text.image_index, tokens.to(prompt.dtype)),
            position_ids=positions.expand(3, len(images), -1),
            use_cache=False,
        ).last_hidden_state
        return (self.pooling(hidden, prepared),)

    @property
    def layers(self) -> nn.ModuleList:
        """The language model's, which are computed one after another as modules."""
        layers: nn.ModuleList = self.model.language_model.layers
        return layers

    def merged(self) -> 'MergedBackbone':
        """Return the backbone with the adapters in its weights, sharing all the others."""
        return MergedBackbone(self._merged_model(), self._tokenizer, self._processor)

    def _plan(self, images: torch.Tensor, task: str) -> tuple[Plan, torch.Tensor, Any]:
        batch, views, height, width = images.shape[:4]
        key = (batch, views, height, width, task)
        if key not in self._plans:
            sizes, backbone = ((height, width),) * views, self._backbone
            grids = [geometry.image_grid(size, backbone.rules) for size in sizes]
            ids = backbone.prompt_ids(grids, task)
            is_image = [token == self.model.config.image_token_id for token in ids]
            positions = geometry.text_positions(is_image, grids)[:, None].to(backbone.device)
            plan = backbone.make_plan(sizes, task)
            prepared = self.pooling.prepare(plan.layout, backbone.device)
            self._plans[key] = backbone.make_batch_plan(plan, batch), positions, prepared
        return self._plans[key]

    @torch.no_grad()
    def _merged_model(self) -> nn.Module:
        from vla_policy.backbones.qwen2_5_vl_stemmed import model_class

        weights = {}
        for name, module in self.model.named_modules():
            if hasattr(module, 'get_delta_weight'):
                base = module.get_base_layer().weight
                delta = module.get_delta_weight('default')
                weights[f'{name}.weight'] = (base.float() + delta.float()).to(base.dtype)
        for name, weight in self.model.state_dict().items():
            if _ADAPTER not in name:
                weights.setdefault(name.replace(_BASE, '.'), weight)
        with torch.device('meta'):
            shell = model_class(self.model.config)(self.model.config)
        shell.load_state_dict(weights, assign=True, strict=True)
        return shell


class MergedBackbone:
    """What a checkpoint saves: weights, configuration, tokenizer, processor."""

    def __init__(self, model: nn.Module, tokenizer: Any, processor: Any) -> None:
        self.model, self._parts = model, (tokenizer, processor)

    def save_pretrained(self, folder: Path) -> None:
        """Write a folder for from_pretrained."""
        self.model.save_pretrained(folder)
        for part in self._parts:
            part.save_pretrained(folder)


def _peft_config(config: LoraConfig) -> PeftConfig:
    return PeftConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout,
        target_modules=list(config.targets), bias='none',
    )  # fmt: skip


def check_targets(language: nn.Module, targets: tuple[str, ...]) -> None:
    """Raise VlaError where the language model has no layer of a name; `--plan` asks, too."""
    linear = {
        name.rsplit('.', 1)[-1]
        for name, module in language.named_modules()
        if isinstance(module, nn.Linear)
    }
    for target in targets:
        if target not in linear:
            raise VlaError(
                f'lora.targets: the language model has no layer {target!r}'
                f'{did_you_mean(target, linear)} (known: {", ".join(sorted(linear))})'
            )
