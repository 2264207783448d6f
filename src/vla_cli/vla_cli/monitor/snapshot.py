"""What the monitor shows at one moment: plain values, the same for the terminal, the web page and
`--plain`.

Made by model.py, drawn by view.py, plain.py and web.py. None means: not known (yet).
"""

from dataclasses import asdict, dataclass, field
import math


@dataclass(frozen=True)
class VlPart:
    """The vision-language model over the last minute; `updates` since its start."""

    updates: int = 0
    avg_ms: float | None = None
    p99_ms: float | None = None
    hz: float | None = None
    stages_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ActionPart:
    """The action expert over the last minute; `actions` and `misses` since its start."""

    actions: int = 0
    avg_ms: float | None = None
    hz: float | None = None
    period_p50_ms: float | None = None
    period_p99_ms: float | None = None
    period_max_ms: float | None = None
    misses: int = 0


@dataclass(frozen=True)
class AgePart:
    """Age of one input at the newest tick. `level`: ok, mark, hold, stop or none."""

    name: str
    age_ms: float | None
    p50_ms: float | None
    max_ms: float | None
    level: str
    limits_ms: tuple[float, float, float]


@dataclass(frozen=True)
class ProcessPart:
    """One process of the run."""

    name: str
    state: str
    pid: int | None
    restarts: int
    cpu_cores: float | None
    rss_mb: float | None
    last_end: str


@dataclass(frozen=True)
class ProblemPart:
    """One entry of /diagnostics that is not OK."""

    level: str
    name: str
    message: str


@dataclass(frozen=True)
class CommandPart:
    """What the gate does with the commands. `gate` '': no CommandStatus within the last second."""

    gate: str = ''
    result: str = ''
    why: str = ''
    speed_mm_s: float | None = None
    force_n: float | None = None
    splice_ratio: float | None = None
    refused: int = 0
    limited: int = 0
    held: int = 0
    stopped: int = 0


@dataclass(frozen=True)
class GoalPart:
    """The goal of ExecuteTask. `running`: feedback came within the last second."""

    running: bool = False
    progress: float = 0.0
    elapsed_s: float = 0.0
    held_s: float = 0.0
    surface_mm: float | None = None
    outcomes: dict[str, int] = field(default_factory=dict)  # since task_node was started
    last: str = ''  # how the last one ended


@dataclass(frozen=True)
class Snapshot:
    """Everything at one moment."""

    time_ns: int
    task: str = ''
    policy: str = ''  # checkpoint of the chunks, or 'scripted'
    reaction: str = ''  # '' when there are no actions
    reasons: tuple[str, ...] = ()
    held_recently: int = 0  # ticks of the last minute that were not USE or MARK
    last_reason: str = ''  # of the last minute
    chunk_age_s: float | None = None
    vl: VlPart = VlPart()
    actions: ActionPart = ActionPart()
    images: dict[str, int] = field(default_factory=dict)
    sensor_filled: int | None = None
    sensor_window: int = 65
    sensor_gap_ms: float | None = None
    joint1_deg: float | None = None
    position_x_mm: float | None = None
    robot: str = ''
    command: CommandPart = CommandPart()
    goal: GoalPart = GoalPart()
    ages: tuple[AgePart, ...] = ()
    losses: dict[str, int] = field(default_factory=dict)
    images_unused: int = 0  # a newer one of the same view came before the next pass
    problems: tuple[ProblemPart, ...] = ()
    processes: tuple[ProcessPart, ...] = ()
    supervisor: str = ''
    note: str = ''  # of whoever runs the monitor: what the demo does
    uptime_s: float | None = None

    def to_json(self) -> dict:
        """Return plain data; NaN, which JSON lacks, becomes None."""
        return _plain(asdict(self))


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
