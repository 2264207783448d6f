"""Parameters of the two inference nodes; their values live in launch/config/.

Declared by the nodes through vla_ros.params, compared with the YAML by a test.
"""

from dataclasses import dataclass

from vla_ros.params import param


@dataclass(frozen=True)
class ModelParameters:
    """What both nodes need to load their half of the policy."""

    checkpoint: str = param('checkpoint folder, see `vla checkpoint create`', read_only=True)
    contract: str = param(
        "contract file the checkpoint must have been made for; '' accepts the checkpoint's own",
        read_only=True,
    )
    device: str = param("where the model runs: 'auto', 'cpu', 'cuda' or 'cuda:N'", read_only=True)
    num_threads: int = param(
        'threads of one tensor operation on the CPU', low=1, high=64, read_only=True
    )
    task: str = param('instruction until one comes on the topic `task`')
    lockstep: bool = param(
        'wait for every step of a replay; set by `vla replay --lockstep`, needs use_sim_time',
        read_only=True,
    )


@dataclass(frozen=True)
class VlmParameters(ModelParameters):
    """Parameters of vlm_node."""

    dtype: str = param(
        "number format of the weights; 'auto': bfloat16 where the device has it, else float32",
        one_of=('auto', 'float32', 'bfloat16', 'float16'),
        read_only=True,
    )
    mode: str = param(
        'how the model runs; all but eager are faster on a GPU but take long to start',
        one_of=('eager', 'compile', 'cuda-graph', 'compile+cuda-graph'),
        read_only=True,
    )
    verify_checkpoint: bool = param(
        'compare every file of the checkpoint with its hash', read_only=True
    )
    vl_reuse: int = param(
        'least period of passes in units of 100 ms (actions per pass); 0: back to back',
        low=0,
        high=100,
    )
    max_rate_hz: float = param('most passes a second; 0: no limit', low=0.0, high=100.0)
    image_width: int = param('width of the images given to the model, pixels', low=28, high=4096)
    image_height: int = param('height of the images given to the model, pixels', low=28, high=4096)
    image_wait_s: float = param(
        'how long a pass waits for views without a new image, s, before it uses the old one',
        low=0.0,
        high=10.0,
    )
    image_settle_s: float = param(
        'how long a pass waits at most, s, for a newer set of images just coming in',
        low=0.0,
        high=1.0,
    )
    lockstep_latency_ms: float = param(
        'simulated duration of a pass in lockstep, ms', low=0.0, high=10000.0, read_only=True
    )
    nice: int = param(
        'niceness of the thread that runs the model: the control loop goes first', low=0, high=19
    )
    warn_total_ms: float = param(
        'duration of a pass, ms, above which the diagnostics warn', low=0.0, high=60000.0
    )
    warn_rate_hz: float = param(
        'rate of passes, Hz, below which the diagnostics warn', low=0.0, high=100.0
    )


@dataclass(frozen=True)
class ExpertParameters(ModelParameters):
    """Parameters of action_expert_node."""

    sensor_window: int = param(
        'samples in the sensor window; must be that of the contract',
        low=1,
        high=10000,
        read_only=True,
    )
    chunk_steps: int = param(
        'steps in a chunk; must be that of the contract', low=1, high=1000, read_only=True
    )
    chunk_policy: str = param(
        "'independent': every chunk for itself; 'rtc': continues the chunk before (flow head)",
        one_of=('independent', 'rtc'),
        read_only=True,
    )
    actuation_delay_s: float = param(
        "publication of a chunk to the robot's motion, s; 'rtc' adds it to the measured delay",
        low=0.0,
        high=1.0,
        read_only=True,
    )
    shadow: bool = param(
        "publish on the chunk topic with '_shadow' appended: another expert drives the robot",
        read_only=True,
    )
    seed: int = param('seed of the action head; tick n uses seed + n', low=0, high=2**31 - 1)
    publish_phase_ms: float = param(
        'publish this long after the tick, ms, to even out inference times; 0: as soon as ready',
        low=0.0,
        high=90.0,
    )
    publish_phase_shared_ms: float = param(
        'the same where the tick thread got no real-time priority and shares the processor',
        low=0.0,
        high=90.0,
    )
    robot_must_change: bool = param(
        'a robot state that never changes is stale; false for robots that report rounded values'
    )
    realtime_priority: int = param(
        'SCHED_FIFO priority of the tick thread, where the system permits it; 0: do not ask',
        low=0,
        high=99,
    )
    nice: int = param(
        'niceness of the tick thread without SCHED_FIFO; below 0 needs a privilege',
        low=-20,
        high=19,
    )
    warn_rate_hz: float = param(
        'rate of chunks, Hz, below which the diagnostics warn', low=0.0, high=1000.0
    )
