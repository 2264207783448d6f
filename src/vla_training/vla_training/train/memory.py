"""What a run takes of one device: bytes of weights, gradients, optimiser and activations.

Called by plan.py, which counts the parameters. Weights, gradients and optimiser are exact;
activations are an estimate, which says what it counts. Deliberately measures nothing.
"""

from dataclasses import dataclass
import math
from typing import Any

from vla_policy.expert.config import ExpertConfig
from vla_policy.geometry import image_grid, ImageRules
from vla_policy.pooling import PoolingConfig
from vla_training.train.config import TrainConfig

PROMPT_TEXT = 40  # tokens of the prompt besides the pictures, about
# Numbers a transformer block keeps for its backward pass, per token and unit of width: norms,
# projections, attention (fused, so no matrix of all pairs); the feed-forward part is apart.
_KEPT_WIDTHS, _KEPT_MLP = 10, 3
_TOGETHER = 2  # layers of the language model: the one that is computed, and the next


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
class Counts:
    """Parameters of each part, and how many of them learn."""

    expert: int
    pooling: int
    vision: int
    language: int
    layers: int  # of `language`, what is in its layers
    adapters: int
    trained: int

    @property
    def backbone(self) -> int:
        """Vision and language together."""
        return self.vision + self.language


@dataclass(frozen=True)
class Memory:
    """Bytes on one device."""

    weights: float
    gradients: float
    optimizer: float  # two moments of AdamW
    average: float
    activations: float
    gathered: float  # weights whose parts come together for a while

    @property
    def total(self) -> float:
        """Everything at the worst moment."""
        return sum(vars(self).values())


def weight_bytes(config: TrainConfig) -> int:
    """Bytes of one weight of the backbone: what learns is kept in float32."""
    return 2 if config.stage == 'lora' and config.precision == 'bfloat16' else 4


def estimate(config: TrainConfig, subject: Subject, counts: Counts, parts: int = 1) -> Memory:
    """Estimate the memory of one of `parts` devices that share weights out; 1: a copy in each."""
    whole, shared = _frozen(config, subject, counts)
    part = counts.trained / parts
    return Memory(
        weights=whole + shared / parts + 4 * part,
        gradients=4 * part,
        optimizer=8 * part,
        average=4 * part,
        activations=_activations(config, subject),
        gathered=_gathered(config, subject, counts, shared) if parts > 1 else 0.0,
    )


def prompt_tokens(subject: Subject) -> int:
    """Tokens of the language model's prompt for one sample."""
    grid = image_grid(subject.size, subject.rules)
    return subject.views * grid.tokens + PROMPT_TEXT


def _frozen(config: TrainConfig, subject: Subject, counts: Counts) -> tuple[float, float]:
    """Bytes that do not learn: whole on every device, and those that can be shared out."""
    if config.stage == 'frozen':
        return 0.0, 0.0
    if config.stage == 'full':
        learns = counts.expert + counts.pooling
        return 4.0 * (counts.backbone - (counts.trained - learns)), 0.0
    size, vision = weight_bytes(config), subject.architecture.vision_config
    # The vision tower's fast form holds a joined copy of one pair of projections a block.
    joined = 2 * vision.depth * vision.hidden_size * vision.intermediate_size
    return (
        float(size * (counts.backbone + joined - counts.layers)),
        float(size * counts.layers),
    )


def _gathered(
    config: TrainConfig, subject: Subject, counts: Counts, shared: float
) -> float:  # fmt: skip
    """Bytes of whole layers while they are computed; the rest that learns, with its gradients."""
    layers = subject.architecture.text_config.num_hidden_layers
    learns = counts.adapters + (counts.layers if config.stage == 'full' else 0)
    layer = (shared + 4 * learns) / layers if config.stage != 'frozen' else 0.0
    return min(_TOGETHER, layers) * layer + 2 * 4 * (counts.trained - learns)


def _activations(config: TrainConfig, subject: Subject) -> float:
    """Bytes kept for the backward pass of one batch."""
    expert, width = subject.expert, 2 if config.precision == 'bfloat16' else 4
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
        return float(text.num_hidden_layers * tokens * text.hidden_size + layer)
    kept = text.num_hidden_layers * layer
    if config.stage == 'full':
        vision = subject.architecture.vision_config
        patches = subject.views * image_grid(subject.size, subject.rules).tokens
        patches *= subject.rules.merge**2
        kept += vision.depth * _block(patches, vision.hidden_size, vision.intermediate_size)
    return float(kept)


def _block(tokens: int, width: int, feed_forward: int) -> float:
    return tokens * (_KEPT_WIDTHS * width + _KEPT_MLP * feed_forward)
