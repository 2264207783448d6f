"""The expert's trunk: features, sensor window, robot state and their ages become condition tokens.

Shared by all heads, computed once a tick. What is missing is a learned token, never zeros: a
sample that is not there, and a window with no sample at all. Ages are inputs, so that the policy
can learn how far to trust old features; so is how the tool has moved since each picture, because
what the features tell is where things were relative to the tool then. Features of several passes
of the encoder show how things moved in between. Deliberately knows nothing of actions.
"""

import torch
from torch import nn
import torch.nn.functional as F

from vla_policy.expert.batch import ExpertBatch
from vla_policy.expert.config import ExpertConfig
from vla_policy.expert.layers import perceptron, sinusoids, TrunkBlock

MAX_AGE_S = 4.0  # older is all the same; beyond the contract's stop limits
AGE_WAVES = 6  # periods 8 s to 0.25 s
AGE_INPUTS = 2 * AGE_WAVES + 1
# The tool's motion since a picture, on two scales: millimetres decide at the opening, centimetres
# are covered on the way there.
MOTION_SCALES = ((0.003, 0.03), (0.03, 0.3))  # (m, rad) that become 1
MOTION_LIMIT = 10.0
MOTION_INPUTS = 6 * len(MOTION_SCALES)


class SensorEncoder(nn.Module):
    """Window (B, samples, channels) to tokens (B, tokens, width) by convolutions along time."""

    def __init__(self, config: ExpertConfig) -> None:
        super().__init__()
        width = config.width
        self.sample = nn.Linear(config.channels, width)
        self.missing = nn.Parameter(torch.zeros(width))
        self.place = nn.Parameter(torch.randn(config.samples, width) * 0.02)
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, 3, stride=2, padding=1) for _ in range(config.sensor_convs)
        )
        tokens = config.samples
        for _ in range(config.sensor_convs):
            tokens = (tokens + 1) // 2
        self.norm = nn.LayerNorm(width)
        self.absent = nn.Parameter(torch.randn(tokens, width) * 0.02)

    def forward(self, window: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Encode a normalised window; samples where mask (B, samples) is False do not count."""
        samples = torch.where(mask[..., None], self.sample(window), self.missing) + self.place
        hidden = samples.transpose(1, 2)
        for conv in self.convs:
            hidden = F.gelu(conv(hidden), approximate='tanh')
        tokens = self.norm(hidden.transpose(1, 2))
        return torch.where(mask.any(1)[:, None, None], tokens, self.absent)


class Trunk(nn.Module):
    """Condition tokens (B, N, width) of a normalised batch: features, sensor, state, context."""

    def __init__(self, config: ExpertConfig) -> None:
        super().__init__()
        width, self.config = config.width, config
        self.feature_norm = nn.LayerNorm(config.feature_width)
        self.feature = nn.Linear(config.feature_width, width)
        # A row a token of a view, and one for the text token; a row a view, and one for what has
        # no view.
        self.cell = nn.Parameter(torch.randn(config.tokens_per_view + 1, width) * 0.02)
        self.view = nn.Parameter(torch.randn(config.views + 1, width) * 0.02)
        self.turn = nn.Parameter(torch.zeros(config.passes, width))  # newest pass first
        views, cells = token_places(config)
        self.register_buffer('token_view', views, persistent=False)
        self.register_buffer('token_cell', cells, persistent=False)
        self.image_age = nn.Linear(AGE_INPUTS, width)
        self.state_age = nn.Linear(AGE_INPUTS, width)
        self.view_motion = perceptron(MOTION_INPUTS, width, width)
        self.unknown_motion = nn.Parameter(torch.zeros(width))
        self.sensor = SensorEncoder(config)
        self.state = perceptron(config.state_width, width, width)
        self.context = perceptron(2 * AGE_INPUTS + 1, width, width)
        self.blocks = nn.ModuleList(
            TrunkBlock(width, config.attention_heads, config.mlp_ratio)
            for _ in range(config.trunk_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, batch: ExpertBatch) -> torch.Tensor:
        """Return the condition; `batch` holds normalised window and state, ages in seconds."""
        tokens = torch.cat(
            [
                self._features(batch),
                self.sensor(batch.window, batch.window_mask),
                (self.state(batch.state) + self.state_age(self._age(batch.state_age_s)))[:, None],
                self._context(batch)[:, None],
            ],
            dim=1,
        )
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def _features(self, batch: ExpertBatch) -> torch.Tensor:
        since = self.image_age(self._age(batch.image_age_s)) + self._motion(batch.view_motion)
        since = since.unflatten(1, (self.config.passes, self.config.views))
        # (B, passes, views, width); what has no view has seen them all
        since = torch.cat([since, since.mean(2, keepdim=True)], dim=2)
        place = self.cell[self.token_cell] + self.view[self.token_view] + self.turn[:, None]
        tokens = self.feature(self.feature_norm(batch.features))
        return tokens + (place + since[:, :, self.token_view]).flatten(1, 2)

    def _motion(self, motion: torch.Tensor) -> torch.Tensor:
        """Encode the tool's motion since each picture (B, sources, 6) as (B, sources, width)."""
        known = torch.isfinite(motion).all(-1, keepdim=True)
        if not self.config.use_view_motion:
            known = torch.zeros_like(known)
        motion = torch.where(known, motion, 0.0)
        scaled = [
            motion / motion.new_tensor([length_m] * 3 + [angle_rad] * 3)
            for length_m, angle_rad in MOTION_SCALES
        ]
        inputs = torch.cat(scaled, -1).clamp(-MOTION_LIMIT, MOTION_LIMIT)
        return torch.where(known, self.view_motion(inputs), self.unknown_motion)

    def _context(self, batch: ExpertBatch) -> torch.Tensor:
        filled = batch.window_mask.float().mean(1, keepdim=True)
        if not self.config.use_age:
            filled = torch.zeros_like(filled)
        return self.context(
            torch.cat([self._age(batch.feature_age_s), self._age(batch.state_age_s), filled], -1)
        )

    def _age(self, age_s: torch.Tensor) -> torch.Tensor:
        """Encode ages (...) in s as (..., AGE_INPUTS); what is not a number counts as very old."""
        if not self.config.use_age:
            age_s = torch.zeros_like(age_s)
        age_s = age_s.nan_to_num(nan=MAX_AGE_S, posinf=MAX_AGE_S, neginf=0.0).clamp(0.0, MAX_AGE_S)
        return torch.cat([age_s[..., None], sinusoids(age_s, AGE_WAVES, 2 * MAX_AGE_S)], -1)


def token_places(config: ExpertConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """View and cell (pass_tokens,) int64 of each token of a pass; the last is the text's."""
    views = torch.arange(config.views).repeat_interleave(config.tokens_per_view)
    cells = torch.arange(config.tokens_per_view).repeat(config.views)
    text = torch.tensor([config.views]), torch.tensor([config.tokens_per_view])
    return torch.cat([views, text[0]]), torch.cat([cells, text[1]])
