"""What goes into the chunk executor and what comes out of it; the safety gate sees the same.

Made by the robot driver from messages and by evaluation from a policy's output. Deliberately holds
no behaviour: `executor` executes, `vla_core.safety` judges.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_core.freshness import Reaction

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TimedChunk:
    """A chunk of H steps. Step k is the motion during [step_stamps_ns[k], one period later).

    delta (H, 6): displacement (m) and rotation vector (rad) a step, base frame, as in
    vla_msgs/ActionChunk; nothing here has been checked yet.
    """

    chunk_id: int
    made_ns: int  # the tick the chunk was made for: header.stamp
    step_stamps_ns: NDArray[np.int64]  # (H,)
    delta: Array  # (H, 6)
    reaction: Reaction = Reaction.USE
    reasons: tuple[str, ...] = ()
    frame: str = 'base_link'
    checkpoint_hash: str = ''
    contract_hash: str = ''
    task: str = ''  # instruction the chunk was made for
    committed_steps: int = 0  # first steps that repeat the chunk before (real-time chunking)


@dataclass(frozen=True, eq=False)
class Motion:
    """What the chunks want the tool to do at one instant."""

    velocity: Array  # (6,) linear (m/s) and angular (rad/s), base frame: a step's delta / period
    chunk_id: int  # newest chunk that has a part in it
    step: int  # of that chunk
    made_ns: int  # tick of that chunk: its age counts from here
