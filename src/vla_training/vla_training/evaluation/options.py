"""What an evaluation is told: the task, the delays, what is taken away from the policy.

Read from the command line by `vla eval` and written into its result. Deliberately plain values.
"""

from dataclasses import dataclass
import math
from typing import Literal

from vla_core.execution.executor import POLICIES
from vla_core.timebase import NS
from vla_inference.engine.pass_schedule import REUSE_TICK_NS
from vla_sim.eye_motion import VARIANTS
from vla_training.simulation.judge import STANDING_M

INSTRUCTION = 'insert the needle into the trocar'

Images = Literal['normal', 'black', 'frozen']
Sensor = Literal['normal', 'absent']
Executor = Literal['latest', 'ensemble', 'rtc']
STREAMS = ('sensor', 'images', 'features', 'robot', 'chunks')
IMAGES: tuple[Images, ...] = ('normal', 'black', 'frozen')
SENSORS: tuple[Sensor, ...] = ('normal', 'absent')
LONGEST_S = 3600.0  # of a delay or between passes: longer than any episode
MOST_JITTER = 100.0  # the cameras are off by 15 cm and 30 degrees, and see nothing of the eye


def _check(name: str, value: float, low: float, high: float) -> None:
    """ValueError naming the option unless `value` is within the bounds; NaN is not."""
    if not low <= value <= high:
        raise ValueError(f'{name} {value}: expected a number from {low:.4g} to {high:.4g}')


@dataclass(frozen=True)
class Delays:
    """The latency model: when what was seen reaches the policy, and its answer the robot."""

    vlm_delay_s: float = 0.381  # of a pass; the seed's figure for five views
    vlm_hz: float = 2.6  # passes a second, one at a time unless they overlap
    expert_s: float = 0.025  # a chunk's tick to its publication
    overlap: bool = False  # passes may overlap: the delay is transport, not computation
    vl_reuse: int = 0  # ticks of 0.1 s that features serve at least; 0: as the rate says

    def __post_init__(self) -> None:
        for name in ('vlm_delay_s', 'expert_s'):
            _check(name, getattr(self, name), 0.0, LONGEST_S)
        _check('vlm_hz', self.vlm_hz, 1.0 / LONGEST_S, 1e9)
        _check('vl_reuse', self.vl_reuse, 0, LONGEST_S * NS / REUSE_TICK_NS)

    @property
    def pass_period_s(self) -> float:
        """From the begin of one pass to that of the next."""
        busy_s = 0.0 if self.overlap else self.vlm_delay_s
        return max(1.0 / self.vlm_hz, busy_s, self.vl_reuse * REUSE_TICK_NS / NS)


@dataclass(frozen=True)
class Loss:
    """Probability that one message of a stream never arrives; names as in STREAMS."""

    sensor: float = 0.0  # a datagram
    images: float = 0.0  # a picture set
    features: float = 0.0  # those of a pass
    robot: float = 0.0  # a state, for the action expert and the gate
    chunks: float = 0.0

    def __post_init__(self) -> None:
        for stream in STREAMS:
            if not 0.0 <= getattr(self, stream) < 1.0:
                raise ValueError(f'loss of {stream}: expected 0 to less than 1')


@dataclass(frozen=True)
class EvaluationOptions:
    """One setting of the closed loop; everything random follows from an episode's seed."""

    delays: Delays = Delays()
    task: Literal['still', 'moving'] = 'still'  # what the eye does, see vla_sim.eye_motion
    images: Images = 'normal'
    sensor: Sensor = 'normal'
    camera_jitter: float = 1.0  # times the jitter of training
    executor: Executor = 'latest'
    limit_s: float = 25.0
    width: int = 640
    height: int = 360
    loss: Loss = Loss()
    standing_m: float | None = None  # how far the tip may stray while held; None: the task's
    hold_age_s: float | None = None  # of pictures, where the robot holds; None: the contract's

    def __post_init__(self) -> None:
        if self.task not in VARIANTS:
            raise ValueError(f'task {self.task!r}: expected {" or ".join(VARIANTS)}')
        if self.executor not in POLICIES:
            raise ValueError(f'executor {self.executor!r}: expected {", ".join(POLICIES)}')
        if self.images not in IMAGES or self.sensor not in SENSORS:
            raise ValueError(f'images {self.images!r}, sensor {self.sensor!r} are not known')
        for name in ('hold_age_s', 'standing_m', 'limit_s'):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < math.inf:
                raise ValueError(f'{name} {value}: expected a number above 0')
        _check('camera_jitter', self.camera_jitter, 0.0, MOST_JITTER)

    @property
    def judged_standing_m(self) -> float:
        """How far the tip may stray while it is held, see Judge."""
        return STANDING_M[self.task] if self.standing_m is None else self.standing_m
