"""What the gate knows of robot, operator and sensor besides the chunks, and the rules on it.

Used by the gate, under its lock. Deliberately decides nothing: it returns findings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vla_core.arms.base import Arm
from vla_core.counters import Counters
from vla_core.freshness import BACKWARD_STEP_NS
from vla_core.safety.force import ForceWatch
from vla_core.safety.limits import SafetyLimits
from vla_core.safety.pose import Pose
from vla_core.safety.rules import age_s, Finding, Grade, hold, judge_age, stop
from vla_core.safety.values import ArmState

Floats = Sequence[float]


@dataclass
class Inputs:
    """Newest of everything. Not thread-safe: the gate's lock guards it.

    Counters: state_bad, state_late, and those of ForceWatch.
    """

    counters: Counters
    force: ForceWatch = field(init=False)
    pose: Pose | None = None
    ready: bool = False
    error: str = ''
    dead_man: tuple[bool, int] | None = None  # pressed, and when it was said

    def __post_init__(self) -> None:
        self.force = ForceWatch(self.counters)

    def take_state(self, state: ArmState, pose: Pose | None) -> None:
        """Take in a state. Its error counts even if its numbers are bad or late."""
        late = (
            pose is not None
            and self.pose is not None
            and self.pose.stamp_ns - BACKWARD_STEP_NS <= pose.stamp_ns < self.pose.stamp_ns
        )
        if late or pose is None:
            self.counters.add('state_late' if late else 'state_bad')
            self.ready = self.ready and state.ready
            self.error = self.error or state.error
            return
        self.pose, self.ready, self.error = pose, state.ready, state.error

    def forget(self) -> None:
        """The clock was set back: everything must come anew."""
        self.pose, self.dead_man = None, None
        self.force.forget()

    def check(self, now_ns: int, limits: SafetyLimits) -> tuple[Finding, ...]:
        """All that stands against any motion at all."""
        return (
            *self.check_robot(now_ns, limits),
            *self._check_sensor(now_ns, limits),
            *self.check_dead_man(now_ns, limits),
        )

    def check_robot(self, now_ns: int, limits: SafetyLimits) -> tuple[Finding, ...]:
        """Robot error, readiness, age of its state, and whether its kinematics can be trusted."""
        found: tuple[Finding, ...] = ()
        if self.error:
            found += (stop('robot_error'),)
        elif not self.ready:
            found += (hold('robot_not_ready'),)
        age = age_s(now_ns, self.pose.stamp_ns if self.pose else None)
        found += judge_age('state_age', age, limits.state_hold_s, limits.state_stop_s)
        if self.pose is not None:
            found += _check_pose(self.pose, limits)
        return found

    def _check_sensor(self, now_ns: int, limits: SafetyLimits) -> tuple[Finding, ...]:
        found: tuple[Finding, ...] = ()
        if limits.sensor_required:
            age = age_s(now_ns, self.force.changed_ns)
            found += judge_age('sensor_age', age, limits.sensor_hold_s, limits.sensor_stop_s)
        return found + tuple(Finding(Grade.HOLD, what) for what in self.force.over(limits))

    def check_dead_man(self, now_ns: int, limits: SafetyLimits) -> tuple[Finding, ...]:
        """The switch must be held down and say so again and again."""
        if not limits.dead_man_required:
            return ()
        pressed, said_ns = self.dead_man or (False, None)
        if not pressed:
            return (hold('dead_man'),)
        return judge_age('dead_man', age_s(now_ns, said_ns), limits.dead_man_hold_s)


def _check_pose(pose: Pose, limits: SafetyLimits) -> tuple[Finding, ...]:
    found: tuple[Finding, ...] = ()
    if pose.error_m > limits.max_pose_error_m:
        found += (hold('pose_mismatch', pose.error_m, limits.max_pose_error_m),)
    if pose.is_singular(limits.min_singular_value):
        found += (hold('singular', pose.singular_value, limits.min_singular_value),)
    return found


def outside(pose: Pose, arm: Arm, limits: SafetyLimits) -> tuple[Finding, ...]:
    """Whether the arm is outside the workspace or its joint limits: not to be enabled there."""
    found: tuple[Finding, ...] = ()
    found += _beyond('workspace', pose.position_m, limits.box_min_m, limits.box_max_m)
    return found + _beyond(
        'joint_limit',
        pose.joint_rad,
        (arm.joint_min_rad + limits.joint_margin_rad).tolist(),
        (arm.joint_max_rad - limits.joint_margin_rad).tolist(),
    )


def _beyond(kind: str, place: Floats, low: Floats, high: Floats) -> tuple[Finding, ...]:
    for value, least, most in zip(place, low, high):
        if not least <= value <= most:
            return (hold(kind, value, least if value < least else most),)
    return ()
