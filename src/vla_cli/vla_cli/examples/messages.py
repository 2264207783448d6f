"""Serialized messages as the live drivers and the scripted expert publish them, without ROS.

Called by headless generation. Adds to the importer's maker what a legacy recording does not have:
speeds, whole chunks, what became of commands, the robot's condition.
"""

import math
from typing import Any

import numpy as np

from vla_core.contract import Contract
from vla_core.execution.values import TimedChunk
from vla_core.timebase import NS
from vla_data.importing.messages import JOINT_NAMES, MessageMaker, SENSOR_FRAME
from vla_drivers.command_path import CommandPath, CommandReport
from vla_drivers.devices.base import RobotReport

COMMAND_TOPIC, COMMAND_TYPE = 'robot/command_status', 'vla_msgs/msg/CommandStatus'
STATUS_TOPIC, STATUS_TYPE = 'robot/status', 'vla_msgs/msg/RobotStatus'
CONNECTED = 1
DEVICE = 'mecademic'


class EpisodeMessages(MessageMaker):
    """Makes CDR bytes of the suite's topics under one contract."""

    def __init__(self, contract: Contract) -> None:
        super().__init__(contract)
        self.frame = contract.action.frame

    def moving_joints(self, stamp_ns: int, joint_rad: Any, joint_rad_s: Any) -> bytes:
        """sensor_msgs/JointState of (6,) rad and (6,) rad/s."""
        header, none = self._header(stamp_ns, self.frame), np.zeros(0)
        return self._cdr(
            self._contract.state.joint_type, header, JOINT_NAMES,
            np.array(joint_rad, np.float64), np.array(joint_rad_s, np.float64), none,
        )  # fmt: skip

    def batch(
        self, stamps_ns: Any, force_n: Any, profile: Any, sequence: int, received: int,
        delay_s: float,
    ) -> bytes:  # fmt: skip
        """vla_msgs/SensorBatch of (N,) ns, (N,) N, (N, P)."""
        header = self._header(int(stamps_ns[-1]), SENSOR_FRAME)
        return self._cdr(
            self._contract.sensor.type, header, np.ascontiguousarray(stamps_ns, np.int64),
            np.ascontiguousarray(force_n, np.float32), profile.shape[1],
            np.ascontiguousarray(profile, np.float32).reshape(-1), sequence, received, 0, delay_s,
        )  # fmt: skip

    def chunk(self, chunk: TimedChunk, published_ns: int, robot_ns: int, sensor_ns: int) -> bytes:
        """vla_msgs/ActionChunk as the scripted expert's node publishes it."""
        tick_ns, zero, nan = chunk.made_ns, self._time(0), math.nan
        lineage = self._types['vla_msgs/msg/Lineage'](
            0, [], [], zero, zero, self._time(sensor_ns), self._time(robot_ns), 0, 0.0, 0.0,
            nan, nan, (tick_ns - sensor_ns) / NS if sensor_ns else nan,
            (tick_ns - robot_ns) / NS if robot_ns else nan, np.zeros(0, np.uint64), nan,
        )  # fmt: skip
        late_s = (published_ns - tick_ns) / NS
        return self._cdr(
            self._contract.action.type, self._header(tick_ns, self.frame), chunk.chunk_id,
            [self._time(stamp) for stamp in chunk.step_stamps_ns], chunk.delta.shape[1],
            np.ascontiguousarray(chunk.delta, np.float64).reshape(-1), 0, int(chunk.reaction),
            list(chunk.reasons), chunk.task, chunk.checkpoint_hash, self._contract.hash, lineage,
            self._time(published_ns), 0.0, 0.0, late_s, late_s, 0,
        )  # fmt: skip

    def command(self, path: CommandPath, report: CommandReport) -> bytes:
        """vla_msgs/CommandStatus, as robot_driver tells it."""
        gate, steps = path.gate.counters.snapshot(), path.executor.counters.snapshot()
        ages, why = path.ages(), report.interventions
        return self._cdr(
            COMMAND_TYPE, self._header(report.stamp_ns, self.frame), report.chunk_id, report.step,
            int(report.result), [what.kind for what in why],
            np.array([what.value for what in why], np.float64),
            np.array([what.limit for what in why], np.float64), str(report.gate),
            np.array(report.velocity, np.float64), ages.force_n, ages.chunk_s, ages.sensor_s,
            ages.state_s, path.executor.splice.ratio, gate.get('chunks', 0),
            gate.get('chunks_refused', 0), steps.get('steps_begun', 0),
            steps.get('steps_late', 0), gate.get('commands_limited', 0),
            gate.get('commands_held', 0), gate.get('stops', 0) + gate.get('emergency_stops', 0),
        )  # fmt: skip

    def status(
        self, stamp_ns: int, report: RobotReport, gate: str, age_s: float, rate_hz: float,
        received: int,
    ) -> bytes:  # fmt: skip
        """vla_msgs/RobotStatus of a robot that is well."""
        return self._cdr(
            STATUS_TYPE, self._header(stamp_ns, self.frame), DEVICE, CONNECTED, report.detail,
            report.error_code, True, report.activated, report.homed, report.paused,
            report.recovery_needed, gate == 'enabled', gate, age_s, rate_hz, received, 0,
        )  # fmt: skip
