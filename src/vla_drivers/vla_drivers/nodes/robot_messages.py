"""RobotStatus and CommandStatus from what the driver knows.

Used by robot_driver. Deliberately no topics and no judgement.
"""

import math

import numpy as np

from vla_drivers.command_path import CommandPath, CommandReport
from vla_drivers.devices.base import RobotReport
from vla_drivers.robot_stream import Condition, Judgement
from vla_msgs.msg import CommandStatus, RobotStatus
from vla_ros import convert


def command_status(path: CommandPath, report: CommandReport, frame: str) -> CommandStatus:
    """What became of a command or a refused chunk, with ages and totals."""
    gate, steps = path.gate.counters.snapshot(), path.executor.counters.snapshot()
    ages = path.ages()
    message = CommandStatus(
        chunk_id=report.chunk_id,
        step=report.step,
        result=int(report.result),
        reasons=[what.kind for what in report.interventions],
        values=[float(what.value) for what in report.interventions],
        limits=[float(what.limit) for what in report.interventions],
        gate=str(report.gate),
        velocity=convert.to_array(np.asarray(report.velocity, np.float64)),
        force_n=ages.force_n,
        chunk_age_s=ages.chunk_s,
        sensor_age_s=ages.sensor_s,
        state_age_s=ages.state_s,
        splice_ratio=path.executor.splice.ratio,
        chunks_total=gate.get('chunks', 0),
        refused_total=gate.get('chunks_refused', 0),
        steps_total=steps.get('steps_begun', 0),
        steps_late_total=steps.get('steps_late', 0),
        limited_total=gate.get('commands_limited', 0),
        held_total=gate.get('commands_held', 0),
        stopped_total=gate.get('stops', 0) + gate.get('emergency_stops', 0),
    )
    message.header.stamp = convert.to_time(report.stamp_ns)
    message.header.frame_id = frame
    return message


def state_only_status(chunk_id: int, refused_total: int) -> CommandStatus:
    """The answer to a chunk of a device that only tells its state."""
    return CommandStatus(
        chunk_id=chunk_id,
        step=-1,
        result=CommandStatus.REFUSED,
        reasons=['device_state_only'],
        values=[math.nan],
        limits=[math.nan],
        gate='disabled',
        velocity=[0.0] * 6,
        chunks_total=refused_total,
        refused_total=refused_total,
    )


def robot_status(
    condition: Condition, detail: str, seen: Judgement, report: RobotReport | None
) -> RobotStatus:
    """State of the robot; `report` None: a device that only tells its state."""
    message = RobotStatus(
        state=int(condition),
        detail=detail,
        state_hz=seen.hz,
        state_age_s=math.nan if seen.age_s is None else seen.age_s,
        gate='disabled',
    )
    if report is not None:
        message.accepts_commands = True
        message.error_code = report.error_code
        message.activated, message.homed = report.activated, report.homed
        message.paused = report.paused
        message.recovery_needed = report.recovery_needed
    return message
