"""The command path and the goal as the monitor shows them: newest status, feedback, outcomes.

Part of the monitor's model, fed and asked by its one thread. No ROS.
"""

from collections.abc import Iterable

from vla_cli.monitor.snapshot import CommandPart, GoalPart
from vla_cli.records import CommandRecord, GoalRecord, StatusRecord

SILENT_NS = 1_000_000_000  # status comes at 10 Hz, feedback at 5 Hz
PASSED_NS = 3_000_000_000  # a refusal between two looks stays visible for this long
OUTCOME = 'outcome_'


class Operation:
    """Newest CommandStatus and feedback."""

    def __init__(self) -> None:
        self._command: CommandRecord | None = None
        self._heard_ns = 0
        self._goal: GoalRecord | None = None
        self._refusal: tuple[int, str] = (0, '')

    def set_command(self, record: CommandRecord, now_ns: int) -> None:
        """Take a CommandStatus."""
        self._heard_ns = now_ns
        if record.result == 'REFUSED' and self._command is not None:
            # About a chunk, between two about the robot. Nothing new while nothing may move.
            if record.gate == 'enabled':
                self._refusal = (now_ns, record.why())
            return
        self._command = record

    def set_goal(self, record: GoalRecord) -> None:
        """Take feedback."""
        self._goal = record

    def command(self, now_ns: int) -> CommandPart:
        """Return what is to be shown of the commands."""
        record = self._command
        if record is None or now_ns - self._heard_ns > SILENT_NS:
            return CommandPart()
        why = record.why()
        refused_ns, refusal = self._refusal
        if refusal and now_ns - refused_ns < PASSED_NS:
            why = ', '.join(text for text in (why, f'chunk refused: {refusal}') if text)
        return CommandPart(
            record.gate,
            record.result,
            why,
            record.speed_m_s * 1e3,
            record.force_n,
            record.splice_ratio,
            record.refused,
            record.limited,
            record.held,
            record.stopped,
        )

    def goal(self, now_ns: int, diagnostics: Iterable[StatusRecord]) -> GoalPart:
        """Return what is to be shown of the goal; the outcomes are in task_node's diagnostics."""
        outcomes: dict[str, int] = {}
        last = ''
        for status in diagnostics:
            if status.name.rpartition('/')[2] == 'task_node: task':
                outcomes = {
                    key.removeprefix(OUTCOME): int(value)
                    for key, value in status.values.items()
                    if key.startswith(OUTCOME) and value.isdigit()
                }
                last = status.message if status.message.startswith('last: ') else ''
        record = self._goal
        if record is None or now_ns - record.stamp_ns > SILENT_NS:
            return GoalPart(outcomes=outcomes, last=last)
        return GoalPart(
            True,
            record.progress,
            record.elapsed_s,
            record.held_s,
            record.surface_distance_m * 1e3,
            outcomes,
            last,
        )
