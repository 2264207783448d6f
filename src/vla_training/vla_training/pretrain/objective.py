"""What a backbone is taught: where needle and opening are, in the pictures and in space.

The trunk of the action expert reads the features as it will in control, so it is pretrained too.
What exists for training only: each query of the pooling is to look at its own keypoint, a linear
head tells that keypoint's place in the picture, another the trocar's pose from the needle.
Deliberately knows no files and no optimiser.
"""

from dataclasses import dataclass, fields

import torch
from torch import nn
import torch.nn.functional as F

from vla_core.errors import VlaError
from vla_policy.expert.batch import ExpertBatch
from vla_policy.expert.expert import ActionExpert
from vla_policy.expert.layers import perceptron
from vla_policy.geometry import image_grid
from vla_policy.trainable import TrainableEncoder
from vla_training.pretrain.labels import KEYPOINTS, POSE

# An error as large as this costs as much as one of another kind. Position: a millimetre at the
# opening, more the further away.
_POSITION_M, _POSITION_SHARE = 0.0006, 0.04
_AXIS, _AXIS_SHARE = 0.015, 0.1
_IMAGE = 0.03  # half heights
_OUTPUT_M, _OUTPUT_AXIS = 0.01, 0.1  # one unit of the pose head
ASPECT = 16 / 9  # of the cameras' pictures; the model may see them stretched


@dataclass(frozen=True)
class Losses:
    """Mean losses of a batch, and the errors that a person understands."""

    total: torch.Tensor
    position: torch.Tensor
    axis: torch.Tensor
    image: torch.Tensor
    look: torch.Tensor
    position_error_m: torch.Tensor  # (B,)
    axis_error_rad: torch.Tensor  # (B,)

    def detach(self) -> 'Losses':
        """The numbers without what they were computed from."""
        return Losses(*(getattr(self, item.name).detach() for item in fields(self)))


class SeeingModel(nn.Module):
    """Encoder, the expert's trunk, and the heads of the objective."""

    def __init__(self, encoder: TrainableEncoder, expert: ActionExpert) -> None:
        """`expert` needs at least one feature token a view for each keypoint it is to find."""
        super().__init__()
        self.encoder, self.expert = encoder, expert
        config = expert.config
        if config.tokens_per_view < KEYPOINTS:
            raise VlaError(
                f'pretraining finds {KEYPOINTS} points a view; the pooling has only '
                f'{config.tokens_per_view} tokens for them: choose a larger one'
            )
        self.image_head = nn.Linear(config.feature_width, 2)
        self.pose_query = nn.Parameter(torch.randn(1, config.width) * 0.02)
        self.pose_head = perceptron(config.width, 2 * config.width, POSE)

    def forward(
        self, images: torch.Tensor, state: torch.Tensor, task: str
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return pose (B, 6), image positions (B, V, KEYPOINTS, 2) and the pooling's attention.

        images (B, V, H, W, 3) uint8, state (B, 12) float32; attention as of the encoder.
        """
        features, attention = self.encoder(images, task)
        config = self.expert.config
        views = features[:, :-1].unflatten(1, (config.views, config.tokens_per_view))
        positions = self.image_head(views[:, :, :KEYPOINTS])
        condition = self.expert.condition(still_batch(self.expert, features, state))
        query = self.pose_query.expand(len(images), 1, -1)
        seen = F.scaled_dot_product_attention(query, condition, condition)[:, 0]
        scale = condition.new_tensor([_OUTPUT_M] * 3 + [_OUTPUT_AXIS] * 3)
        return self.pose_head(seen) * scale, positions, attention

    def losses(
        self,
        images: torch.Tensor,
        state: torch.Tensor,
        pose: torch.Tensor,
        keypoints: torch.Tensor,
        task: str,
    ) -> Losses:
        """Compare with pose (B, 6) and keypoints (B, V, KEYPOINTS, 2), NaN where unseen."""
        guess, places, attention = self(images, state, task)
        off_m = (guess[:, :3] - pose[:, :3]).norm(dim=1)
        off_axis = (guess[:, 3:] - pose[:, 3:]).norm(dim=1)
        position = _robust(off_m / (_POSITION_M + _POSITION_SHARE * pose[:, :3].norm(dim=1)))
        axis = _robust(off_axis / (_AXIS + _AXIS_SHARE * pose[:, 3:].norm(dim=1)))
        image = image_loss(places, keypoints)
        look = places.new_zeros(())
        if attention is not None:
            look = attention_loss(attention[:, :, :KEYPOINTS], keypoints, self.grid(images))
        total = position + axis + image + look
        return Losses(total, position, axis, image, look, off_m, off_axis)

    def grid(self, images: torch.Tensor) -> tuple[int, int]:
        """Rows and columns of tokens in a view of images (B, V, H, W, 3)."""
        grid = image_grid(tuple(images.shape[2:4]), self.encoder.rules)
        return grid.rows, grid.columns


def image_loss(guess: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean loss of image positions (B, V, K, 2) over those inside the picture."""
    inside = _inside(wanted)
    off = (guess - wanted.nan_to_num()).norm(dim=-1)[inside] / _IMAGE
    return _robust(off) if len(off) else guess.sum() * 0.0


def attention_loss(
    logits: torch.Tensor, wanted: torch.Tensor, grid: tuple[int, int]
) -> torch.Tensor:
    """Mean loss of queries (B, V, K, tokens) that should look at the token under each keypoint.

    `wanted` (B, V, K, 2) as of `image_loss`; `grid` rows and columns of tokens.
    """
    rows, columns = grid
    inside = _inside(wanted)
    x, y = wanted.nan_to_num().unbind(-1)
    column = ((x / ASPECT + 1) / 2 * columns).long().clamp(0, columns - 1)
    row = ((y + 1) / 2 * rows).long().clamp(0, rows - 1)
    if not inside.any():
        return logits.sum() * 0.0
    return F.cross_entropy(logits[inside], (row * columns + column)[inside])


def _inside(keypoints: torch.Tensor) -> torch.Tensor:
    """Which keypoints (..., 2) are in the picture; False for NaN."""
    return (keypoints[..., 0].abs() < ASPECT) & (keypoints[..., 1].abs() < 1.0)


def still_batch(expert: ActionExpert, features: torch.Tensor, state: torch.Tensor) -> ExpertBatch:
    """Inputs at the very instant of the pictures, without a sensor."""
    config, batch = expert.config, len(features)
    zero = features.new_zeros
    return ExpertBatch(
        features,
        zero(batch, config.samples, config.channels),
        torch.zeros(batch, config.samples, dtype=torch.bool),
        state,
        zero(batch),
        zero(batch, config.views),
        zero(batch, config.views, 6),
        zero(batch),
    )


def _robust(off: torch.Tensor) -> torch.Tensor:
    return F.smooth_l1_loss(off, torch.zeros_like(off), beta=1.0)
