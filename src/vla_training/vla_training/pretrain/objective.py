"""What a backbone is taught: where needle and opening are, in the pictures and in space.

The trunk of the action expert reads the features as it will in control, so it is pretrained too.
What exists for training only: a linear head tells of each image token which keypoint lies in it
and where, each query of the pooling is to look at its own keypoint, another head tells that
keypoint's place from what the query brings, the last the trocar's pose from the needle.
Deliberately knows no files and no optimiser.
"""

from dataclasses import dataclass, fields

import torch
from torch import nn

from vla_core.errors import VlaError
from vla_policy.expert.batch import ExpertBatch
from vla_policy.expert.expert import ActionExpert
from vla_policy.geometry import image_grid
from vla_policy.trainable import TrainableEncoder
from vla_training.pretrain.keypoints import image_loss, look_loss, token_loss
from vla_training.pretrain.labels import IMPORTANCE, KEYPOINTS, POSE
from vla_training.pretrain.teller import pose_losses, PoseLosses, Teller


@dataclass(frozen=True)
class Losses:
    """Mean losses of a batch, and the errors that a person understands; NaN what was left out."""

    total: torch.Tensor
    position: torch.Tensor
    axis: torch.Tensor
    image: torch.Tensor
    look: torch.Tensor
    token: torch.Tensor
    position_error_m: torch.Tensor  # (B,)
    axis_error_rad: torch.Tensor  # (B,)

    def detach(self) -> 'Losses':
        """The numbers without what they were computed from."""
        return Losses(*(getattr(self, item.name).detach() for item in fields(self)))


class SeeingModel(nn.Module):
    """Encoder, the expert's trunk, and the heads of the objective."""

    def __init__(
        self, encoder: TrainableEncoder, expert: ActionExpert, dtype: torch.dtype = torch.float32
    ) -> None:
        """`expert` needs at least one feature token a view for each keypoint it is to find.

        `dtype`: what the encoder multiplies in; weights, trunk and losses stay float32.
        """
        super().__init__()
        self._dtype = dtype
        self.encoder, self.expert = encoder, expert
        config = expert.config
        if config.tokens_per_view < KEYPOINTS:
            raise VlaError(
                f'pretraining finds {KEYPOINTS} points a view; the pooling has only '
                f'{config.tokens_per_view} tokens for them: choose a larger one'
            )
        self.token_head = nn.Linear(config.feature_width, 3 * KEYPOINTS)
        self.image_head = nn.Parameter(torch.randn(KEYPOINTS, config.feature_width, 2) * 0.02)
        self.pose_teller = Teller(config.width, POSE)
        importance = torch.from_numpy(IMPORTANCE).float()
        self.register_buffer('importance', importance, persistent=False)

    def losses(
        self,
        images: torch.Tensor,
        state: torch.Tensor,
        pose: torch.Tensor,
        keypoints: torch.Tensor,
        motion: torch.Tensor | None = None,
        age_s: torch.Tensor | None = None,
        *,
        task: str,
    ) -> Losses:
        """Compare with pose (B, 6) and keypoints (B, V, KEYPOINTS, 2), NaN where unseen.

        images (B, V, H, W, 3) uint8, state (B, 12), the tool's motion since the pictures (B, 6)
        and their age (B,) s; without these two they are of this very instant.
        """
        weight = self.importance
        tokens = self._see(images, task)
        token = self._token_loss(tokens, images, keypoints, weight)
        features, attention = self._read(tokens, images, task)
        found = self.pose_losses(features, state, pose, motion, age_s)
        places = self._places(features)
        image, look = image_loss(places, keypoints, weight), places.new_zeros(())
        if attention is not None:
            looked = attention[:, :, :KEYPOINTS]
            look = look_loss(looked, keypoints, self.grid(images), weight)
        position, axis = found.position.mean(), found.axis.mean()
        total = position + axis + image + look + token
        return Losses(total, position, axis, image, look, token, found.off_m, found.off_rad)

    def vision_losses(
        self, images: torch.Tensor, keypoints: torch.Tensor, view: torch.Tensor, *, task: str
    ) -> Losses:
        """Those of the vision tower by itself, which cost half: pictures (B, P, H, W, 3).

        `keypoints` (B, P, KEYPOINTS, 2); `view` (B, P): which of the views each picture is of.
        """
        tokens = self._see(images, task)
        token = self._token_loss(tokens, images, keypoints, self.importance[view])
        nothing = torch.full((len(images),), torch.nan)
        return Losses(token, *[nothing[0]] * 4, token, nothing, nothing)

    def features(self, images: torch.Tensor, task: str) -> torch.Tensor:
        """Features (B, T, D) float32 of images (B, V, H, W, 3) uint8."""
        return self._read(self._see(images, task), images, task)[0]

    def pose_losses(
        self,
        features: torch.Tensor,
        state: torch.Tensor,
        pose: torch.Tensor,
        motion: torch.Tensor | None = None,
        age_s: torch.Tensor | None = None,
    ) -> PoseLosses:
        """Compare what the trunk makes of features (B, T, D) with pose (B, 6)."""
        condition = self.expert.condition(
            seen_batch(self.expert, features, state, motion, age_s)
        )
        return pose_losses(self.pose_teller(condition), pose)

    def grid(self, images: torch.Tensor) -> tuple[int, int]:
        """Rows and columns of tokens in a view of images (B, V, H, W, 3)."""
        grid = image_grid(tuple(images.shape[2:4]), self.encoder.rules)
        return grid.rows, grid.columns

    def _see(self, images: torch.Tensor, task: str) -> torch.Tensor:
        with self._precision(images):
            return self.encoder.see(images, task).float()

    def _read(
        self, tokens: torch.Tensor, images: torch.Tensor, task: str
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        with self._precision(images):
            features, attention = self.encoder.read(tokens, images, task)
        return features.float(), None if attention is None else attention.float()

    def _precision(self, images: torch.Tensor) -> torch.autocast:
        narrow = self._dtype != torch.float32
        return torch.autocast(images.device.type, self._dtype, enabled=narrow)

    def _token_loss(
        self, tokens: torch.Tensor, images: torch.Tensor, keypoints: torch.Tensor,
        weight: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        views = tokens.unflatten(1, (images.shape[1], -1))
        return token_loss(self.token_head(views), keypoints, self.grid(images), weight)

    def _places(self, features: torch.Tensor) -> torch.Tensor:
        """Image positions (B, V, KEYPOINTS, 2) from the feature token of each keypoint."""
        config = self.expert.config
        views = features[:, :-1].unflatten(1, (config.views, config.tokens_per_view))
        return torch.einsum('bvkd,kdc->bvkc', views[:, :, :KEYPOINTS], self.image_head)


def seen_batch(
    expert: ActionExpert,
    features: torch.Tensor,
    state: torch.Tensor,
    motion: torch.Tensor | None = None,
    age_s: torch.Tensor | None = None,
) -> ExpertBatch:
    """Inputs without a sensor. `motion` (B, 6) and `age_s` (B,) as of `SeeingModel.losses`.

    Features (B, T, D) of one pass are those of all: nothing moved before the pictures.
    """
    config, batch = expert.config, len(features)
    zero = features.new_zeros
    features = features.repeat(1, config.feature_tokens // features.shape[1], 1)
    motion = zero(batch, 6) if motion is None else motion
    age_s = zero(batch) if age_s is None else age_s
    return ExpertBatch(
        features,
        zero(batch, config.samples, config.channels),
        torch.zeros(batch, config.samples, dtype=torch.bool),
        state,
        zero(batch),
        age_s[:, None].repeat(1, config.sources),
        motion[:, None].repeat(1, config.sources, 1),
        age_s / 2,
    )
