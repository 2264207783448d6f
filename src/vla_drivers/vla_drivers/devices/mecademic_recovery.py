"""What the operator's `robot/recover` does at a Mecademic robot, step by step.

Used by mecademic.py in a worker thread. This is the only place in the suite that resets an error,
activates, homes or resumes. Deliberately moves nothing but what homing moves, and queues nothing:
whatever the robot had planned is cleared before it may move again.
"""

from dataclasses import dataclass
import math
import time

from mecademicpy.mx_robot_def import MxStopState
from mecademicpy.robot import Robot
from mecademicpy.robot_classes import MecademicException, RobotStatus

from vla_core.errors import DeviceError

# Longest times, s; activation and homing of a Meca500 take a few seconds each (user manual).
RESET_S = 5.0
ACTIVATE_S = 30.0
HOME_S = 40.0
RESUME_S = 5.0
SETTLE_S = 10.0
POLL_S = 0.02


@dataclass(frozen=True)
class MotionSetup:
    """What is set at the robot before it may move."""

    tool_m: float  # tool centre point's distance from the flange along its z axis
    velocity_timeout_s: float  # the robot stops by itself when no command has come for this long


def recover(robot: Robot, setup: MotionSetup) -> None:
    """Reset, activate, home, clear, resume and set up. DeviceError with the step that failed."""
    step = 'safety stop'
    try:
        failed = _asked(robot).error_status
        _refuse_active_stop(robot)
        step = 'ResetError'
        if failed:
            robot.ResetError()
            robot.WaitErrorReset(RESET_S)
        step = 'ActivateRobot'
        if not _asked(robot).activation_state:
            robot.ActivateRobot()
            robot.WaitActivated(ACTIVATE_S)
        step = 'Home'
        if not _asked(robot).homing_state:
            robot.Home()
            robot.WaitHomed(HOME_S)
        step = 'ResumeMotion'
        robot.ClearMotion()
        if robot.GetSafetyStatus().pstop2_state == MxStopState.MX_STOP_STATE_RESETTABLE:
            robot.ResetPStop2()
        robot.ResumeMotion()
        _wait(lambda: not _asked(robot).pause_motion_status, RESUME_S)
        step = 'setting tool, frame and velocity time-out'
        _set_up(robot, setup)
    except TimeoutError as error:
        raise DeviceError(f'recover: {step}: the robot did not do it in time') from error
    except (MecademicException, OSError) as error:
        why = f'{error}' or type(error).__name__
        raise DeviceError(f'recover: {step}: {why}') from error


def _set_up(robot: Robot, setup: MotionSetup) -> None:
    """Commands of the motion queue; a checkpoint behind them tells that they were carried out."""
    robot.SetWrf(0, 0, 0, 0, 0, 0)
    robot.SetTrf(0, 0, round(setup.tool_m * 1e3, 4), 0, 0, 0)
    robot.SetVelTimeout(setup.velocity_timeout_s)
    done = robot.SetCheckpoint(1)
    _wait(lambda: done.is_set() or robot.GetStatusRobot().error_status, SETTLE_S)
    if _asked(robot).error_status:
        raise DeviceError('recover: the robot is in error again: see robot/status')


def _asked(robot: Robot) -> RobotStatus:
    """The status as the robot answers now; what the library heard last may be older than an
    error, and a pause that is over before the next cycle is never announced.
    """
    return robot.GetStatusRobot(synchronous_update=True, timeout=RESET_S)


def _refuse_active_stop(robot: Robot) -> None:
    safety = robot.GetSafetyStatus()
    if safety.stop_mask & ~safety.stop_resettable_mask:
        raise DeviceError(
            'recover: an emergency or protective stop is pressed: release it at the robot, '
            'then recover again'
        )


def _wait(condition, timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError
        time.sleep(POLL_S)


def wire_velocity(velocity) -> list[float]:
    """(6,) m/s and rad/s to mm/s and deg/s as the robot reads them.

    Rounded to 0.1 um/s: the library would write a smaller number as 1e-05, which the robot's
    parser need not know.
    """
    linear = [round(1e3 * float(value), 4) + 0.0 for value in velocity[:3]]
    return linear + [round(math.degrees(float(value)), 4) + 0.0 for value in velocity[3:]]
