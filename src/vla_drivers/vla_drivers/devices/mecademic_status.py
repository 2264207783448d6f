"""What a Mecademic robot's status means: one report with one line for a person.

Used by mecademic.py. Deliberately no connection and no memory but the newest error's text.
"""

from mecademicpy.mx_robot_def import robot_status_code_info
from mecademicpy.robot_classes import RobotSafetyStatus, RobotStatus

from vla_drivers.devices.base import RobotReport

# Also answers to commands that were refused; they leave no error state behind, so only their
# text is kept until the status says whether the robot is in error.
PSTOP2 = 0x04


class ErrorMemory:
    """The newest error that the robot reported. One thread writes, any reads."""

    def __init__(self) -> None:
        self.code = 0
        self.text = ''

    def take(self, code: int, data: str) -> bool:
        """Remember an error message; False for anything else."""
        known = robot_status_code_info.get(code)
        if known is None or not known.is_error:
            return False
        name = known.name.removeprefix('MX_ST_').lower()
        self.code, self.text = int(code), f'{int(code)} {name}: {" ".join(data.split())}'
        return True

    def forget(self) -> None:
        """The robot was recovered, or another connection was made."""
        self.code, self.text = 0, ''


def report_of(
    status: RobotStatus,
    safety: RobotSafetyStatus,
    errors: ErrorMemory,
    recovery_needed: bool,
    reason: str,
) -> RobotReport:
    """Status as the library gives it to a report. `reason`: why recovery is needed."""
    stopped = bool(safety.stop_mask)
    code, error = 0, ''
    if status.error_status:
        code = int(status.error_code or errors.code or 0)
        what = (
            errors.text or status.error_msg or (f'{code}' if code else 'from before it was read')
        )
        error = f'robot error {what}'
    elif stopped:
        error = _stop_text(safety)
    report = RobotReport(
        connected=True,
        activated=status.activation_state,
        homed=status.homing_state,
        paused=status.pause_motion_status,
        emergency_stop=stopped,
        error_code=code,
        error=error,
        recovery_needed=recovery_needed,
    )
    return RobotReport(**{**report.__dict__, 'detail': _detail(report, reason)})


def _stop_text(safety: RobotSafetyStatus) -> str:
    pressed = safety.stop_mask & ~safety.stop_resettable_mask
    kind = 'protective stop' if safety.stop_mask == PSTOP2 else 'emergency or protective stop'
    return f'{kind} {"is pressed: release it at the robot" if pressed else "was released"}'


def _detail(report: RobotReport, reason: str) -> str:
    if report.error:
        what = report.error
    elif not report.activated:
        what = 'motors are off'
    elif not report.homed:
        what = 'not homed'
    elif report.paused:
        what = 'motion is paused at the robot'
    elif report.recovery_needed:
        what = reason
    else:
        return 'ready'
    return f'{what}; then robot/recover' if report.emergency_stop else f'{what}: robot/recover'
