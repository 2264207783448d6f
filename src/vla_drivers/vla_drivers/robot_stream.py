"""Robot states from readings to stamped states, and what condition the robot's connection is in.

Used by robot_driver. The legacy host stamps a state when it publishes it, so two things are told
apart: an origin time that stands still (the host repeats itself: FROZEN) and a pose that does not
change (a robot at rest, or a sampler that hangs: shown, and a warning only after a time that is a
parameter). Deliberately no ROS.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
import time

import numpy as np
from numpy.typing import NDArray

from vla_core.clock_model import ClockModel
from vla_core.counters import Counters
from vla_core.freshness import ContentTracker
from vla_core.health import HealthItem, Level, RateMeter
from vla_core.timebase import NS, s_to_ns
from vla_core.wire.robot_state import RobotState
from vla_drivers.devices.base import RobotReading
from vla_drivers.timeline import Novelty, Timeline


class Condition(IntEnum):
    """State of the connection; the numbers are those of vla_msgs/RobotStatus."""

    DISCONNECTED = 0
    CONNECTED = 1
    STALE = 2
    FROZEN = 3
    ERROR = 4
    EMERGENCY_STOP = 5
    NOT_READY = 6


@dataclass(frozen=True)
class RobotLimits:
    """Ages: no state for `stale_s`, a state older than `late_s` on arrival, a pose that rests."""

    stale_s: float
    late_s: float
    rest_warn_s: float  # 0: a resting robot never warns


@dataclass(frozen=True)
class StampedState:
    """A state and its acquisition time by this machine's clock; joint speeds where measured."""

    stamp_ns: int
    state: RobotState
    joint_rad_s: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Judgement:
    """Condition with what led to it."""

    condition: Condition
    detail: str
    age_s: float | None
    hz: float
    rest_s: float | None


class RobotStream:
    """`accept` belongs to the reader's thread; the rest may be called from any."""

    def __init__(self, clock: ClockModel, limits: RobotLimits, counters: Counters):
        self._clock = clock
        self._limits = limits
        self._counters = counters
        self._timeline = Timeline()
        self._content = ContentTracker()
        self._rate = RateMeter()
        self._newest_ns: int | None = None
        self._heard_steady_ns: int | None = None
        self.received_total = 0

    def accept(self, readings: Iterable[RobotReading]) -> list[StampedState]:
        """Return the new states with their local stamps; others are counted."""
        accepted = []
        for reading in readings:
            state = reading.state
            self._heard_steady_ns = time.monotonic_ns()
            novelty = self._timeline.judge(state.origin_ns, reading.receive_ns)
            if novelty is not Novelty.NEW:
                self._counters.add(novelty.value)
                continue
            self._clock.observe(state.send_ns, reading.receive_ns)
            stamp_ns = self._clock.to_local(state.origin_ns)
            if reading.receive_ns - stamp_ns > s_to_ns(self._limits.late_s):
                self._counters.add('late')
            pose = (
                state.joint_rad.tobytes() + state.position_m.tobytes() + state.euler_rad.tobytes()
            )
            self._content.observe(stamp_ns, pose)
            self._rate.tick(time.monotonic_ns())
            self._newest_ns = stamp_ns
            self.received_total += 1
            accepted.append(StampedState(stamp_ns, state, reading.joint_rad_s))
        return accepted

    def judge(self, now_ns: int, connected: bool) -> Judgement:
        """Judge the connection at `now_ns` (system clock)."""
        newest_ns, changed_ns = self._newest_ns, self._content.changed_ns
        age_s = None if newest_ns is None else (now_ns - newest_ns) / NS
        rest_s = (
            None if None in (newest_ns, changed_ns) else max(0.0, (newest_ns - changed_ns) / NS)
        )
        condition, detail = self._condition(age_s, connected)
        return Judgement(condition, detail, age_s, self._rate.hz(time.monotonic_ns()), rest_s)

    def health(self, now_ns: int, connected: bool) -> HealthItem:
        """The item 'robot'."""
        seen = self.judge(now_ns, connected)
        level = {
            Condition.CONNECTED: Level.OK,
            Condition.FROZEN: Level.ERROR,
            Condition.ERROR: Level.ERROR,
        }.get(seen.condition, Level.STALE)
        message, rest_warn_s = seen.detail, self._limits.rest_warn_s
        if level is Level.OK and 0 < rest_warn_s < (seen.rest_s or 0.0):
            level = Level.WARN
            message = (
                f'the pose has not changed for {seen.rest_s:.0f} s > {rest_warn_s:.0f} s: robot '
                'at '
                'rest, or its sampler hangs'
            )
        return HealthItem(
            'robot',
            level,
            message,
            {
                'state': seen.condition.name.lower(),
                'rate_hz': f'{seen.hz:.1f}',
                'age_s': 'none' if seen.age_s is None else f'{seen.age_s:.3f}',
                'pose_unchanged_s': 'none' if seen.rest_s is None else f'{seen.rest_s:.1f}',
                'received_total': str(self.received_total),
                'source_clock_steps': str(self._timeline.steps),
            },
        )

    def _condition(self, age_s: float | None, connected: bool) -> tuple[Condition, str]:
        if not connected:
            return (
                Condition.DISCONNECTED,
                'robot host is not there: is it on, are host and port right?',
            )
        if age_s is None:
            return Condition.STALE, 'connected, no state yet'
        if age_s <= self._limits.stale_s:
            return Condition.CONNECTED, 'states arrive'
        heard_s = (time.monotonic_ns() - self._heard_steady_ns) / NS
        if heard_s <= self._limits.stale_s:
            return Condition.FROZEN, (
                f'messages arrive, but none that is new for {age_s:.1f} s: the '
                'host repeats itself or its clock is off'
            )
        return Condition.STALE, f'no state for {age_s:.1f} s > {self._limits.stale_s:.1f} s'
