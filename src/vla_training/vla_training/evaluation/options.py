"""What an evaluation is told: the task, the delays, what is taken away from the policy.

Read from the command line by `vla eval` and written into its result. Deliberately plain values.
"""

from dataclasses import dataclass
from typing import Literal

from vla_sim.eye_motion import VARIANTS

INSTRUCTION = 'insert the needle into the trocar'

Images = Literal['normal', 'black', 'frozen']
Sensor = Literal['normal', 'absent']
IMAGES: tuple[Images, ...] = ('normal', 'black', 'frozen')
SENSORS: tuple[Sensor, ...] = ('normal', 'absent')


@dataclass(frozen=True)
class Delays:
    """The latency model: when what was seen reaches the policy, and its answer the robot."""

    vlm_delay_s: float = 0.381  # of a pass; the seed's figure for five views
    vlm_hz: float = 2.6  # passes a second, at most one at a time
    expert_s: float = 0.025  # a chunk's tick to its publication

    def __post_init__(self) -> None:
        if not (self.vlm_delay_s >= 0 and self.vlm_hz > 0 and self.expert_s >= 0):
            raise ValueError('delays must not be negative and the rate must be positive')


@dataclass(frozen=True)
class EvaluationOptions:
    """One setting of the closed loop; everything random follows from an episode's seed."""

    delays: Delays = Delays()
    task: Literal['still', 'moving'] = 'still'  # what the eye does, see vla_sim.eye_motion
    images: Images = 'normal'
    sensor: Sensor = 'normal'
    camera_jitter: float = 1.0  # times the jitter of training
    executor: Literal['latest', 'ensemble'] = 'latest'
    limit_s: float = 25.0
    width: int = 640
    height: int = 360

    def __post_init__(self) -> None:
        if self.task not in VARIANTS:
            raise ValueError(f'task {self.task!r}: expected {" or ".join(VARIANTS)}')
        if self.images not in IMAGES or self.sensor not in SENSORS:
            raise ValueError(f'images {self.images!r}, sensor {self.sensor!r} are not known')
        if self.camera_jitter < 0 or self.limit_s <= 0:
            raise ValueError('camera_jitter must not be negative, limit_s must be positive')
