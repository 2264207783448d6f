"""What the operator's tools keep of statuses, feedback and results, and how they say it.

Made by link.py and ros_records.py. Deliberately imports no ROS.
"""

from dataclasses import dataclass
import math

from vla_cli.records import CommandRecord, RobotRecord

# As in ExecuteTask; a test compares.
OUTCOMES = ('UNKNOWN', 'SUCCESS', 'CANCELED', 'TIMEOUT', 'GATE_STOP', 'REFUSED')


@dataclass(frozen=True)
class OperatorStatus:
    """Newest robot and command status; the latter is None where none has come."""

    robot: RobotRecord
    command: CommandRecord | None

    def lines(self) -> list[str]:
        """The status for a person."""
        robot, command = self.robot, self.command
        ready = 'activated and homed' if robot.activated and robot.homed else 'not ready'
        result = [
            f'robot   {robot.device} {robot.state}, {ready}, {robot.state_hz:.0f} Hz'
            + (f': {robot.detail}' if robot.detail else ''),
        ]
        if robot.error_code:
            result.append(f'error   {robot.error_code}')
        if robot.recovery_needed:
            result.append('needs   vla robot recover')
        gate = command.gate if command is not None else robot.gate
        result.append(f'gate    {gate or "none: this device takes no commands"}')
        if command is not None and command.gate:
            why = command.why()
            result.append(f'command {command.result.lower()}' + (f': {why}' if why else ''))
            result.append(
                f'force   {_number(command.force_n, 2)} N, ages: chunk '
                f'{_number(command.chunk_age_s, 2)}, sensor {_number(command.sensor_age_s, 2)}, '
                f'state {_number(command.state_age_s, 2)} s'
            )
        return result


@dataclass(frozen=True)
class ProgressRecord:
    """Feedback of ExecuteTask."""

    elapsed_s: float
    progress: float
    held_s: float
    surface_distance_m: float
    force_n: float
    reaction: int
    reasons: tuple[str, ...]

    def line(self) -> str:
        """One line for a person."""
        surface_mm = _number(self.surface_distance_m * 1e3, 2)
        text = (
            f'{self.elapsed_s:5.1f} s  {self.progress:4.0%}  surface {surface_mm:>5} mm  '
            f'force {_number(self.force_n, 2):>5} N'
        )
        return text + (f'  {self.reasons[0]}' if self.reasons else '')


@dataclass(frozen=True)
class GoalEnd:
    """Result of ExecuteTask."""

    outcome: str
    detail: str
    duration_s: float
    peak_force_n: float

    @property
    def success(self) -> bool:
        """Whether the condition was met."""
        return self.outcome == 'SUCCESS'

    def line(self) -> str:
        """One line for a person."""
        text = f'{self.outcome}: {self.detail}'
        if self.duration_s > 0.0:
            peak = _number(self.peak_force_n, 2)
            text += f' ({self.duration_s:.1f} s, largest force {peak} N)'
        return text


def progress_record(feedback) -> ProgressRecord:
    """vla_msgs/ExecuteTask feedback -> ProgressRecord."""
    return ProgressRecord(
        feedback.elapsed_s,
        feedback.progress,
        feedback.held_s,
        feedback.surface_distance_m,
        feedback.force_n,
        feedback.reaction,
        tuple(feedback.reasons),
    )


def goal_end(result, succeeded: bool) -> GoalEnd:
    """vla_msgs/ExecuteTask result -> GoalEnd. `succeeded`: the action's own status, without which
    no outcome is a success.
    """
    known = result.outcome < len(OUTCOMES)
    outcome = OUTCOMES[result.outcome] if known else str(result.outcome)
    detail = result.detail
    if outcome == 'UNKNOWN' or (outcome == 'SUCCESS' and not succeeded):
        outcome, detail = 'FAILED', 'the task server failed; see its log'
    return GoalEnd(outcome, detail, result.duration_s, result.peak_force_n)


def _number(value: float, digits: int) -> str:
    return f'{value:.{digits}f}' if math.isfinite(value) else '-'
