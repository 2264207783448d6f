"""What `vla train` is told: frozen dataclasses, read strictly from YAML and the command line.

Every key can be overridden as `key.sub=value`; a wrong one names the nearest. The defaults are the
legacy training's where it had one. Deliberately makes nothing: `pipeline` does.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from vla_core.config import from_dict, load_yaml, with_overrides
from vla_core.errors import VlaError
from vla_policy.expert.config import ExpertConfig, HeadKind, LARGEST_SEED

Stage = Literal['frozen', 'lora', 'full']
_MOST, _MOST_THREADS = 10**9, 1024  # beyond this a whole number is a slip of the hand


@dataclass(frozen=True)
class DataConfig:
    """Demonstrations, and what the policy is shown of them."""

    episodes: tuple[str, ...] = ()  # folders of episodes
    cache: str = 'cache'  # feature cache; may hold others too
    fill_cache: bool = True  # compute what it lacks before training
    max_cache_gb: float = 20.0
    validation_share: float = 0.1  # of the episodes, chosen before any weighting
    split_seed: int = 0
    corrections: tuple[str, ...] = ()  # folders of `vla dagger`, beside the episodes
    priorities: dict[str, float] = field(default_factory=dict)  # folder or tag -> factor
    labels: Literal['recorded', 'robot'] = 'recorded'
    ages: Literal['model', 'measured', 'mean', 'zero'] = 'model'
    delay_s: tuple[float, float] = (0.381, 0.381)  # least and most of a pass, ages 'model'
    rate_hz: float = 2.6  # of passes, at most
    images: Literal['normal', 'black'] = 'normal'
    sensor: Literal['normal', 'absent'] = 'normal'
    sensor_dropout: float = 0.0
    sensor_weight: float = 1.0  # of the loss of a sample with a sensor (legacy: 2.0)

    def __post_init__(self) -> None:
        _require(self.sensor_weight >= 0.0, 'sensor_weight', 'at least 0')
        for name in ('episodes', 'corrections'):
            folders = [Path(folder).resolve() for folder in getattr(self, name)]
            twice = sorted({str(folder) for folder in folders if folders.count(folder) > 1})
            _require(not twice, name, f'different folders, {", ".join(twice)} comes twice')


@dataclass(frozen=True)
class ExpertOverrides:
    """Differences from the expert of `init`; null keeps what that says."""

    passes: int | None = None
    head: HeadKind | None = None
    width: int | None = None
    attention_heads: int | None = None
    trunk_layers: int | None = None
    decoder_layers: int | None = None
    mlp_ratio: int | None = None
    sensor_convs: int | None = None
    use_age: bool | None = None
    use_view_motion: bool | None = None
    flow_steps: int | None = None
    diffusion_steps: int | None = None
    ddim_steps: int | None = None
    temperature: float | None = None

    def given(self) -> dict[str, Any]:
        """What differs."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def over(self, expert: ExpertConfig, **before: Any) -> ExpertConfig:
        """Return `expert` with `before` and then these over it; VlaError where that is none."""
        try:
            return replace(expert, **(before | self.given()))
        except ValueError as error:
            raise VlaError(f'expert: {error}') from error


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with a rate for each part, and its course: warm-up, hold, cosine."""

    learning_rate: float = 1e-4
    sensor_learning_rate: float = 5e-4
    trunk_learning_rate: float | None = None  # of one that pretraining taught; None: as the rest
    vl_learning_rate: float = 1e-5  # LoRA or backbone, and pooling
    least_learning_rate: float = 1e-6  # at the end
    weight_decay: float = 0.01
    beta2: float = 0.999
    clip: float = 1.0
    warm_up: float = 0.03  # shares of all steps
    hold: float = 0.02

    def __post_init__(self) -> None:
        for name in ('learning_rate', 'sensor_learning_rate', 'vl_learning_rate', 'clip'):
            _require(getattr(self, name) > 0.0, name, 'above 0')
        _require(self.trunk_learning_rate is None or self.trunk_learning_rate > 0.0,
                 'trunk_learning_rate', 'above 0')  # fmt: skip
        _require(self.weight_decay >= 0.0, 'weight_decay', 'at least 0')
        _require(self.least_learning_rate >= 0.0, 'least_learning_rate', 'at least 0')
        _require(0.0 < self.beta2 < 1.0, 'beta2', 'between 0 and 1')
        for name in ('warm_up', 'hold'):
            _require(0.0 <= getattr(self, name) < 1.0, name, 'from 0 to below 1')
        if self.warm_up + self.hold >= 1.0:
            raise ValueError('warm_up and hold leave nothing for the cosine: their sum must be '
                             'below 1')  # fmt: skip


@dataclass(frozen=True)
class LoraConfig:
    """Adapters of stage 2 (legacy figures; rank 8 on cards of 24 GB)."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    targets: tuple[str, ...] = ('q_proj', 'k_proj', 'v_proj', 'o_proj')
    checkpointing: bool = True  # activations are computed again instead of kept

    def __post_init__(self) -> None:
        _require(self.rank >= 1 and self.alpha >= 1, 'rank and alpha', 'at least 1')
        _require(0.0 <= self.dropout < 1.0, 'dropout', 'from 0 to below 1')
        _require(bool(self.targets), 'targets', 'a list of layer names')


@dataclass(frozen=True)
class TrainConfig:
    """One run."""

    out: str  # checkpoints, log and state of the run
    init: str = ''  # checkpoint: backbone, contract, sizes of the expert
    preset: str = ''  # for --plan, where there is no `init` yet
    expert_weights: bool = False  # start from the expert's in `init` where they fit, else random
    pooling: Literal['grid', 'queries', 'mean'] | None = None  # another than `init` has
    stage: Stage = 'frozen'
    data: DataConfig = field(default_factory=DataConfig)
    expert: ExpertOverrides = field(default_factory=ExpertOverrides)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    truth_weight: float = 0.0  # of a loss for where the trocar is, as corrections know it
    batch: int = 1  # samples computed at once
    accumulation: int = 8  # batches a step, over all processes together
    steps: int = 10_000
    averaging: float = 0.999  # of the weights (EMA); 0 turns it off
    precision: Literal['float32', 'bfloat16'] = 'float32'
    device: Literal['auto', 'cpu'] = 'auto'
    distributed: Literal['ddp', 'fsdp'] = 'ddp'  # processes hold copies of the weights, or parts
    threads: int = 1  # of torch, on a CPU
    seed: int = 0
    log_every: int = 50
    validate_every: int = 500
    validation_samples: int = 512  # at most
    save_every: int = 500  # state to resume from

    def __post_init__(self) -> None:
        counts = ('batch', 'accumulation', 'steps', 'log_every', 'validate_every',
                  'validation_samples', 'save_every')  # fmt: skip
        for name in counts:
            _require(1 <= getattr(self, name) <= _MOST, name, f'at least 1 and at most {_MOST}')
        _require(1 <= self.threads <= _MOST_THREADS, 'threads', f'from 1 to {_MOST_THREADS}')
        _require(0 <= self.seed <= LARGEST_SEED, 'seed', f'from 0 to {LARGEST_SEED}')
        _require(0.0 <= self.averaging < 1.0, 'averaging', 'from 0 to below 1')
        _require(self.truth_weight >= 0.0, 'truth_weight', 'at least 0')
        self._check_corrections()

    def _check_corrections(self) -> None:
        """Raise ValueError where corrections cannot mean what is asked for, or are lacking."""
        data = self.data
        if not data.corrections:
            _require(self.truth_weight == 0.0, 'truth_weight', '0 without data.corrections: '
                     'recordings do not tell where the trocar is')  # fmt: skip
        elif self.stage != 'frozen' or data.images != 'normal' or data.ages in ('mean', 'zero'):
            raise ValueError(
                'data.corrections hold features of what was seen, as old as they were: leave them '
                "out with a stage that trains the encoder, images 'black' or ages 'mean' or 'zero'"
            )

    @property
    def samples_a_step(self) -> int:
        """The global batch."""
        return self.batch * self.accumulation


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a file, or one of this package by its name ('nano'), and lay overrides over it.

    ConfigError names file, key and what is allowed.
    """
    data: dict[str, Any] = {} if path is None else load_yaml(_find(path))
    where = 'command line' if path is None else str(path)
    return from_dict(TrainConfig, with_overrides(data, overrides), where)


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """Plain data that `from_dict` reads again: what JSON cannot hold has become lists."""
    return {item.name: _plain(getattr(config, item.name)) for item in fields(config)}


def _plain(value: Any) -> Any:
    if hasattr(value, '__dataclass_fields__'):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    return list(value) if isinstance(value, tuple) else value


def _find(path: Path) -> Path:
    """Return a name without a suffix as the package's own file of that name."""
    own = Path(__file__).with_name('configs') / f'{path}.yaml'
    return own if not path.suffix and not path.is_file() and own.is_file() else path


def _require(condition: bool, name: str, expected: str) -> None:
    if not condition:
        raise ValueError(f'{name} must be {expected}')
