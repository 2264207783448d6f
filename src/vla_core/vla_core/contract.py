"""The contract: every observation and action key, once, for driver, recorder, trainer and policy.

Loaded by nodes, checkpoints and tools from one YAML (launch/config/contract/*.yaml). Its hash
travels with every checkpoint, bag and dataset; sides with different hashes refuse each other.
Deliberately holds no tensors and converts none: `model_input` does that.
"""

from collections.abc import Mapping
import dataclasses
from dataclasses import dataclass
import functools
import hashlib
import json
import math
from os import PathLike
from typing import Any, Literal

from vla_core.config import from_dict, load_yaml
from vla_core.errors import ContractMismatch
from vla_core.freshness import Limits
from vla_core.timebase import s_to_ns
from vla_core.window import WindowSpec

STATE_KEYS = (
    *(f'joint_{number}_rad' for number in range(1, 7)),
    *(f'position_{axis}_m' for axis in 'xyz'),
    *(f'rotation_{axis}_rad' for axis in 'xyz'),
)


@dataclass(frozen=True)
class ViewSpec:
    """One camera view; the order of the views is the order the model sees them in."""

    name: str
    topic: str


@dataclass(frozen=True)
class ImageSpec:
    """Images of all views: each view's latest frame with new content."""

    width: int = 640  # what the model is given; drivers pass the JPEG through as it is
    height: int = 360
    type: str = 'sensor_msgs/msg/CompressedImage'
    alignment: Literal['latest'] = 'latest'
    limits: Limits = Limits(mark_s=0.6, hold_s=1.2, stop_s=3.0)

    def __post_init__(self) -> None:
        _positive(width=self.width, height=self.height)


@dataclass(frozen=True)
class SensorSpec:
    """Force and A-scan as a time window of (tick - lag - duration, tick - lag]."""

    topic: str = 'sensor/samples'
    type: str = 'vla_msgs/msg/SensorBatch'
    alignment: Literal['window'] = 'window'
    samples: int = 65
    duration_s: float = 0.1
    # Samples come in datagrams of up to 15 (23 ms at 650 Hz) and need transport: a window that
    # ended at the tick could never be full. The lag is part of every reported sensor age.
    lag_s: float = 0.03
    rate_hz: float = 650.0
    channels: int = 1026  # force, then the 1025 bins of the A-scan
    normalization: Literal['mean_std', 'none'] = 'mean_std'
    limits: Limits = Limits(mark_s=0.06, hold_s=0.15, stop_s=1.0)

    def __post_init__(self) -> None:
        _positive(
            samples=self.samples,
            duration_s=self.duration_s,
            rate_hz=self.rate_hz,
            channels=self.channels,
        )
        if self.lag_s < 0:
            raise ValueError(f'lag_s must not be negative, not {self.lag_s}')

    @property
    def period_ns(self) -> int:
        """Nominal time between two samples of the source."""
        return round(1e9 / self.rate_hz)

    @property
    def window(self) -> WindowSpec:
        """The window in nanoseconds."""
        return WindowSpec(self.samples, s_to_ns(self.duration_s), s_to_ns(self.lag_s))


@dataclass(frozen=True)
class StateSpec:
    """Robot state: the latest joint state and TCP pose, as one vector of `keys`."""

    joint_topic: str = 'robot/joint_states'
    joint_type: str = 'sensor_msgs/msg/JointState'
    pose_topic: str = 'robot/tcp_pose'
    pose_type: str = 'geometry_msgs/msg/PoseStamped'
    alignment: Literal['latest'] = 'latest'
    keys: tuple[str, ...] = STATE_KEYS
    # The rotation is told from this orientation (x, y, z, w in the base frame), not from the
    # identity, so that the jump of rotation vectors at half a turn lies where the tool never
    # points: Meca500 flange pointing forward, Euler (0, 90 deg, 0).
    reference_xyzw: tuple[float, float, float, float] = (0.0, 0.5**0.5, 0.0, 0.5**0.5)
    normalization: Literal['mean_std', 'none'] = 'mean_std'
    limits: Limits = Limits(mark_s=0.25, hold_s=0.5, stop_s=2.0)

    def __post_init__(self) -> None:
        if self.keys != STATE_KEYS:
            raise ValueError(f'keys must be {", ".join(STATE_KEYS)} in this order')
        if abs(math.hypot(*self.reference_xyzw) - 1) > 1e-3:
            raise ValueError(
                f'reference_xyzw must be a unit quaternion, not {self.reference_xyzw}'
            )

    @property
    def width(self) -> int:
        """Numbers in the state vector."""
        return len(self.keys)


@dataclass(frozen=True)
class FeatureSpec:
    """Features of the vision-language model: the newest; their age is an input."""

    topic: str = 'vlm/features'
    type: str = 'vla_msgs/msg/VLFeatures'
    alignment: Literal['latest'] = 'latest'
    limits: Limits = Limits(mark_s=0.6, hold_s=1.2, stop_s=3.0)


@dataclass(frozen=True)
class ActionSpec:
    """Chunk of actions: displacement (m) and rotation vector (rad) per step, in `frame`."""

    topic: str = 'action/chunk'
    type: str = 'vla_msgs/msg/ActionChunk'
    steps: int = 8
    period_s: float = 0.1
    dims: Literal[6] = 6
    frame: str = 'base_link'
    normalization: Literal['mean_std', 'none'] = 'mean_std'

    def __post_init__(self) -> None:
        _positive(steps=self.steps, period_s=self.period_s)

    @property
    def period_ns(self) -> int:
        """Time between two steps, and between two ticks."""
        return s_to_ns(self.period_s)


@dataclass(frozen=True)
class Contract:
    """Everything that training and control must agree on."""

    name: str
    version: int
    views: tuple[ViewSpec, ...]
    images: ImageSpec = dataclasses.field(default_factory=ImageSpec)
    sensor: SensorSpec = dataclasses.field(default_factory=SensorSpec)
    state: StateSpec = dataclasses.field(default_factory=StateSpec)
    features: FeatureSpec = dataclasses.field(default_factory=FeatureSpec)
    action: ActionSpec = dataclasses.field(default_factory=ActionSpec)

    def __post_init__(self) -> None:
        if not self.views:
            raise ValueError('views must name at least one view')
        for what in ('name', 'topic'):
            values = [getattr(view, what) for view in self.views]
            if len(set(values)) != len(values):
                raise ValueError(f'two views have the same {what}: {", ".join(values)}')

    @property
    def view_names(self) -> tuple[str, ...]:
        """Names of the views in model order."""
        return tuple(view.name for view in self.views)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `from_dict` and YAML take back."""
        data: dict[str, Any] = _plain(dataclasses.asdict(self))
        return data

    @functools.cached_property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON of all keys."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(',', ':'), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_contract(path: str | PathLike[str]) -> Contract:
    """Read a contract; ConfigError names the file, the key and what is allowed."""
    return from_dict(Contract, load_yaml(path), str(path))


def check_same(
    ours: Contract, theirs: Contract, our_name: str = 'ours', their_name: str = 'theirs'
) -> None:
    """Raise ContractMismatch with both hashes and every differing key unless the two are equal."""
    if ours.hash == theirs.hash:
        return
    left, right = _flat(ours.to_dict()), _flat(theirs.to_dict())
    keys = [key for key in {**left, **right} if left.get(key) != right.get(key)]
    listing = '; '.join(f'{key}: {left.get(key)!r} and {right.get(key)!r}' for key in keys)
    raise ContractMismatch(
        f'contract {our_name} ({ours.hash}) and contract {their_name} ({theirs.hash}) differ in '
        f'{listing}. Use the contract the checkpoint was made for, or another checkpoint'
    )


def _positive(**values: float) -> None:
    for key, value in values.items():
        if value <= 0:
            raise ValueError(f'{key} must be above 0, not {value}')


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _flat(data: Any, key: str = '') -> dict[str, Any]:
    if isinstance(data, dict):
        pairs = [(f'{key}.{name}' if key else str(name), item) for name, item in data.items()]
    elif isinstance(data, list):
        pairs = [(f'{key}[{index}]', item) for index, item in enumerate(data)]
    else:
        return {key: data}
    return {name: leaf for sub, item in pairs for name, leaf in _flat(item, sub).items()}
