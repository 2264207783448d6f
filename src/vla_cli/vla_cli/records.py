"""What the tools keep of a message: small frozen records in integer nanoseconds and seconds.

Made by ros_records.py, used by the monitor and the benchmark; tests make them by hand. It
deliberately imports no ROS.
"""

from dataclasses import dataclass, field
import math

from vla_core.safety.telling import tell

REACTIONS = ('USE', 'MARK', 'HOLD', 'STOP')  # by the numbers of vla_msgs/ActionChunk
RESULTS = ('EXECUTED', 'LIMITED', 'HELD', 'STOPPED', 'REFUSED', 'RETRACTING')  # CommandStatus
STAGES = ('decode', 'preprocess', 'vision', 'language', 'pool')


@dataclass(frozen=True)
class PassRecord:
    """One pass of the vision-language model, from vla_msgs/VLFeatureInfo."""

    feature_id: int
    started_ns: int
    published_ns: int
    total_s: float
    stages_s: tuple[float, ...] = ()  # in the order of STAGES
    view_stamps_ns: tuple[int, ...] = ()
    views: tuple[str, ...] = ()
    stale_views: tuple[str, ...] = ()
    task: str = ''
    checkpoint_hash: str = ''
    images_received: int = 0
    images_overwritten: int = 0
    images_rejected: int = 0


@dataclass(frozen=True)
class ChunkRecord:
    """One tick of the action expert, from vla_msgs/ActionChunk. Ages (s) are at the tick, NaN when
    nothing came.
    """

    chunk_id: int
    tick_ns: int
    published_ns: int
    reaction: int = 0
    reasons: tuple[str, ...] = ()
    task: str = ''
    checkpoint_hash: str = ''
    view_stamps_ns: tuple[int, ...] = ()  # 0: no image yet
    features_ns: int = 0
    sensor_last_ns: int = 0
    robot_ns: int = 0
    sensor_samples: int = 0
    sensor_fill: float = 0.0
    sensor_max_gap_s: float = 0.0
    image_age_s: float = float('nan')
    feature_age_s: float = float('nan')
    sensor_age_s: float = float('nan')
    robot_age_s: float = float('nan')
    tick_late_s: float = 0.0
    inference_s: float = 0.0
    total_s: float = 0.0
    deadline_misses: int = 0


@dataclass(frozen=True)
class StatusRecord:
    """One entry of /diagnostics. `level`: 0 OK, 1 WARN, 2 ERROR, 3 STALE."""

    name: str
    level: int
    message: str = ''
    values: dict[str, str] = field(default_factory=dict)
    stamp_ns: int = 0


@dataclass(frozen=True)
class RobotRecord:
    """State of the robot and its connection, from vla_msgs/RobotStatus."""

    state: str = ''
    detail: str = ''
    device: str = ''
    state_hz: float = 0.0
    error_code: int = 0
    activated: bool = False
    homed: bool = False
    recovery_needed: bool = False
    gate: str = ''


@dataclass(frozen=True)
class CommandRecord:
    """What became of the commands, from vla_msgs/CommandStatus. Speeds m/s and rad/s."""

    stamp_ns: int
    gate: str = ''
    result: str = ''  # one of RESULTS
    reasons: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    limits: tuple[float, ...] = ()
    chunk_id: int = 0
    step: int = -1
    speed_m_s: float = 0.0
    turn_rad_s: float = 0.0
    force_n: float = math.nan
    chunk_age_s: float = math.nan
    sensor_age_s: float = math.nan
    state_age_s: float = math.nan
    splice_ratio: float = math.nan
    refused: int = 0
    limited: int = 0
    held: int = 0
    stopped: int = 0

    def why(self) -> str:
        """The reasons, with value and limit where they have any."""
        return tell(self.reasons, self.values, self.limits)


@dataclass(frozen=True)
class GoalRecord:
    """Feedback of the goal that runs, from vla_msgs/ExecuteTask."""

    stamp_ns: int  # when it came
    elapsed_s: float = 0.0
    progress: float = 0.0
    held_s: float = 0.0
    surface_distance_m: float = math.nan
    force_n: float = math.nan
