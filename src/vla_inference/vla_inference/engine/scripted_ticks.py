"""One tick of the scripted expert: truth and instruction in, a chunk with its lineage out.

`scripted_expert_node` calls it from its tick thread. The motion itself is vla_sim.scripted's.
Deliberately knows no ROS and no sockets.
"""

from collections.abc import Callable
from dataclasses import dataclass
import math
import time

import numpy as np

from vla_core.contract import ActionSpec
from vla_core.counters import Counters
from vla_core.freshness import judge, Limits, Reaction
from vla_core.timebase import NS, Tick
from vla_inference.engine.instructions import Aim, aim_of
from vla_inference.engine.records import Chunk, Lineage
from vla_sim.scripted import ScriptedExpert
from vla_sim.scripted_values import Goal, PERIOD_S, Sight, STEPS
from vla_sim.truth import TruthSample

_GOALS = {Aim.INSERT: Goal.INSERT, Aim.RETRACT: Goal.RETRACT}


@dataclass(frozen=True)
class Seen:
    """What a tick is made from; stamps are 0 where nothing came yet."""

    truth: TruthSample | None
    task: str
    robot_ns: int = 0
    sensor_ns: int = 0


class ScriptedTicks:
    """Makes chunks; one thread. Counters: ticks, deadline_misses, skipped_ticks, reaction_*."""

    def __init__(
        self,
        expert: ScriptedExpert,
        action: ActionSpec,
        truth_hold_s: float,
        now_ns: Callable[[], int] = time.time_ns,
        steady: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.counters = Counters()
        self.last: Chunk | None = None
        self._expert, self._action = expert, action
        self._limits = Limits(truth_hold_s, truth_hold_s, math.inf)
        self._now_ns, self._steady = now_ns, steady
        self._misses = 0

    @property
    def phase(self) -> str:
        """What the expert is doing."""
        return self._expert.phase.name.lower()

    def step(self, tick: Tick, seen: Seen) -> Chunk:
        """Return the chunk of one tick."""
        began_ns = self._steady()
        delta, reaction, reasons = self._decide(seen, tick.stamp_ns)
        ended_ns = self._steady()
        if tick.skipped or ended_ns > tick.deadline_steady_ns + self._action.period_ns:
            self._misses += max(tick.skipped, 1)
            self.counters.add('deadline_misses', max(tick.skipped, 1))
        period_ns = self._action.period_ns
        chunk = Chunk(
            chunk_id=tick.index + 1,
            tick_ns=tick.stamp_ns,
            step_stamps_ns=tuple(tick.stamp_ns + step * period_ns for step in range(STEPS)),
            delta=delta,
            reaction=reaction,
            reasons=reasons,
            task=seen.task,
            lineage=_lineage(seen, tick.stamp_ns),
            published_ns=self._now_ns(),
            tick_late_s=tick.late_ns / NS,
            snapshot_s=0.0,
            inference_s=(ended_ns - began_ns) / NS,
            total_s=(ended_ns - tick.deadline_steady_ns) / NS,
            deadline_misses=self._misses,
        )
        self.last = chunk
        self.counters.add('ticks')
        self.counters.add(f'reaction_{reaction.name.lower()}')
        return chunk

    def _decide(self, seen: Seen, now_ns: int) -> tuple[np.ndarray, Reaction, tuple[str, ...]]:
        truth = seen.truth
        age_s = None if truth is None else (now_ns - truth.stamp_ns) / NS
        verdict = judge('truth', age_s, self._limits)
        reasons = (verdict.reason,) if verdict.reason else ()
        aim = aim_of(seen.task)
        if aim is None:
            shown = f"'{seen.task}'" if seen.task else 'none yet'
            reasons = (*reasons, f'task: {shown}; insert or retract, by vla task')
        if reasons or truth is None or aim is None:
            return np.zeros((STEPS, 6)), max(Reaction.HOLD, verdict.reaction), reasons
        return self._expert.plan(sight_of(truth), _GOALS[aim]).delta, verdict.reaction, ()


def check_action(action: ActionSpec) -> str:
    """Why the scripted expert cannot make chunks of this kind; '' when it can."""
    wanted = (STEPS, 6, round(PERIOD_S * NS))
    given = (action.steps, action.dims, action.period_ns)
    if given == wanted:
        return ''
    return f'expected {STEPS} steps of 6 numbers every {PERIOD_S:g} s, not {given}'


def sight_of(truth: TruthSample) -> Sight:
    """TruthSample -> what the expert looks at."""
    return Sight(
        stamp_ns=truth.stamp_ns,
        tip_m=np.array(truth.tip_m),
        tip_xyzw=np.array(truth.tip_quat),
        opening_m=np.array(truth.opening_m),
        trocar_xyzw=np.array(truth.trocar_quat),
        tissue_depth_m=truth.tissue_depth_m,
    )


def _lineage(seen: Seen, now_ns: int) -> Lineage:
    def age_s(stamp_ns: int) -> float:
        return (now_ns - stamp_ns) / NS if stamp_ns else math.nan

    return Lineage(
        sensor_last_ns=seen.sensor_ns,
        robot_ns=seen.robot_ns,
        sensor_age_s=age_s(seen.sensor_ns),
        robot_age_s=age_s(seen.robot_ns),
    )
