"""Sizes and choices of the action expert, as stored in a checkpoint's policy.json.

Read by every module of this package; deliberately holds no defaults for what the contract and the
backbone fix (views, window, state, chunk, feature width): those are filled in when a checkpoint is
made.
"""

from dataclasses import dataclass
from typing import Literal

HeadKind = Literal['flow', 'diffusion', 'regression']
HEADS: tuple[HeadKind, ...] = ('flow', 'diffusion', 'regression')
LARGEST_SEED = 2**63 - 1  # of random weights: torch takes these everywhere


@dataclass(frozen=True)
class ExpertConfig:
    """Shapes of the inputs and outputs, then the architecture."""

    views: int
    tokens_per_view: int  # 0: one mean over everything
    feature_width: int
    samples: int  # of the sensor window
    channels: int  # force and A-scan
    state_width: int
    steps: int  # of an action chunk
    dims: int  # of an action
    passes: int = 1  # whose features it sees; two tell how things move
    head: HeadKind = 'flow'
    width: int = 128
    attention_heads: int = 4
    trunk_layers: int = 2
    decoder_layers: int = 2
    mlp_ratio: int = 3
    sensor_convs: int = 3  # each halves the window's time axis
    use_age: bool = True  # off: ages and mask fraction read as zero, for the ablation
    use_view_motion: bool = True  # off: the tool's motion since each picture reads as unknown
    flow_steps: int = 5  # Euler steps
    diffusion_steps: int = 100  # of training, cosine schedule (legacy figure)
    ddim_steps: int = 10  # of sampling (legacy figure)
    # Of flow and diffusion: standard deviation of the noise that sampling starts with. 1 draws
    # from what was learned, 0 is always its middle, which is steadier in closed loop.
    temperature: float = 1.0

    def __post_init__(self) -> None:
        counts = {
            name: value
            for name, value in vars(self).items()
            if isinstance(value, int)
            and not isinstance(value, bool)
            and name not in ('tokens_per_view', 'temperature')
        }
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f'{name} must be at least 1, not {value}')
        if self.width % (2 * self.attention_heads):
            raise ValueError(
                f'width {self.width} must be a multiple of twice attention_heads '
                f'({self.attention_heads})'
            )
        if self.ddim_steps > self.diffusion_steps:
            raise ValueError('ddim_steps must not exceed diffusion_steps')
        if not 0.0 <= self.temperature <= 1.0:
            raise ValueError(f'temperature {self.temperature}: expected a number from 0 to 1')

    @property
    def pass_tokens(self) -> int:
        """Feature tokens of one pass of the encoder, the text token included."""
        return self.views * self.tokens_per_view + 1

    @property
    def feature_tokens(self) -> int:
        """Feature tokens the expert expects, of all passes."""
        return self.passes * self.pass_tokens

    @property
    def sources(self) -> int:
        """Pictures that the features were made of: each view of each pass."""
        return self.passes * self.views
