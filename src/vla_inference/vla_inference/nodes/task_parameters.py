"""Parameters of task_node and scripted_expert_node; their values live in launch/config/.

Declared by the nodes through vla_ros.params, compared with the YAML by a test.
"""

from dataclasses import dataclass

from vla_ros.params import param


@dataclass(frozen=True)
class TaskParameters:
    """Parameters of task_node."""

    timeout_s: float = param('time for a goal that names none, s', low=1.0, high=3600.0)
    disable_at_end: bool = param(
        'disable the safety gate when a goal has ended, however it ended', read_only=True
    )
    target_distance_m: float = param(
        'insertion: distance of the needle tip to the tissue at the end, m', low=0.0001, high=0.01
    )
    tolerance_m: float = param('allowed deviation from it, m', low=0.00001, high=0.005)
    standing_m: float = param(
        'insertion: how far the tissue may stray from the distance at which the time began, m',
        low=0.00001,
        high=0.01,
    )
    hold_s: float = param('how long the condition must hold without a break, s', low=0.1, high=60)
    insertion_travel_m: float = param(
        'insertion: how far the needle must have come since it first saw a surface, m',
        low=0.0,
        high=0.2,
    )
    free_s: float = param(
        'retraction: free of any surface for this long is success though the policy moves, s',
        low=0.5,
        high=600.0,
    )
    status_stale_s: float = param(
        'a robot driver that is silent for this long ends the goal, s', low=0.2, high=60.0
    )
    sensor_stale_s: float = param('an older A-scan says nothing, s', low=0.05, high=10.0)
    force_zero_n: float = param(
        'what the sensor reads with nothing at the needle, N; the same as of robot_driver',
        low=-100.0,
        high=100.0,
    )
    depth_per_bin_m: float = param('depth of one bin of the A-scan, m', low=1e-7, high=1e-3)
    blind_m: float = param(
        'depth in front of the fibre in which only its own reflection is seen, m',
        low=0.0,
        high=0.01,
    )
    contrast: float = param(
        'a surface stands this far above the noise floor of the A-scan, its unit',
        low=0.001,
        high=1e9,
    )
    peak_width_m: float = param(
        'the peak is the highest bin within this depth after the rise, m', low=1e-6, high=1e-3
    )


@dataclass(frozen=True)
class ScriptedParameters:
    """Parameters of scripted_expert_node."""

    truth_port: int = param(
        "the simulator's truth: its --truth-port, on loopback", low=1, high=65535, read_only=True
    )
    truth_hold_s: float = param(
        'the robot holds when the newest truth is older, s', low=0.02, high=10.0
    )
    contract: str = param(
        "contract that names topic, frame and period of the chunks; '': the installed one",
        read_only=True,
    )
    seed: int = param('draws the start poses it retracts to', low=0, high=2**31 - 1)
    realtime_priority: int = param(
        'SCHED_FIFO priority of the tick thread, where permitted; 0: do not ask', low=0, high=99
    )
    nice: int = param('niceness of the tick thread without SCHED_FIFO', low=-20, high=19)
