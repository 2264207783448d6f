"""Serialized ROS messages out of legacy streams, by rosbags' typestore; no ROS is needed.

Called by `write`. Each function makes the message a live driver would have published, so that
readers cannot tell an imported episode from a recorded one.
"""

from typing import Any

import numpy as np

from vla_core.contract import Contract
from vla_core.rotation import Array
from vla_core.timebase import NS
from vla_data.importing.streams import SensorBlock, Stamps
from vla_data.types import make_typestore

JOINT_NAMES = [f'joint_{number}' for number in range(1, 7)]  # as launch/config/robot_driver.yaml
SENSOR_FRAME = 'needle_tip'  # as launch/config/sensor_driver.yaml
ACTION_TOPIC = 'legacy/action'
TASK_TOPIC = 'task'
TASK_TYPE = 'std_msgs/msg/String'


class MessageMaker:
    """Makes CDR bytes of the suite's topics under one contract."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._store = make_typestore()
        self._types = self._store.types

    def task(self, text: str) -> bytes:
        """std_msgs/String."""
        return self._cdr(TASK_TYPE, text)

    def image(self, stamp_ns: int, view: str, jpeg: bytes) -> bytes:
        """sensor_msgs/CompressedImage: the JPEG untouched."""
        data = np.frombuffer(jpeg, np.uint8)
        return self._cdr(self._contract.images.type, self._header(stamp_ns, view), 'jpeg', data)

    def joints(self, stamp_ns: int, joint_rad: Array) -> bytes:
        """sensor_msgs/JointState of (6,) rad."""
        header = self._header(stamp_ns, self._contract.action.frame)
        empty = np.zeros(0, np.float64)
        joints = np.ascontiguousarray(joint_rad, np.float64)
        return self._cdr(
            self._contract.state.joint_type, header, JOINT_NAMES, joints, empty, empty
        )

    def pose(self, stamp_ns: int, position_m: Array, quat_xyzw: Array) -> bytes:
        """geometry_msgs/PoseStamped of (3,) m and (4,) in the base frame."""
        point = self._types['geometry_msgs/msg/Point'](*map(float, position_m))
        quat = self._types['geometry_msgs/msg/Quaternion'](*map(float, quat_xyzw))
        pose = self._types['geometry_msgs/msg/Pose'](point, quat)
        header = self._header(stamp_ns, self._contract.action.frame)
        return self._cdr(self._contract.state.pose_type, header, pose)

    def sensor(self, block: SensorBlock, sequence: int, received: int, lost: int) -> bytes:
        """vla_msgs/SensorBatch of one block."""
        stamps, force, profile = block
        header = self._header(int(stamps[-1]), SENSOR_FRAME)
        return self._cdr(
            self._contract.sensor.type, header, np.ascontiguousarray(stamps, np.int64),
            np.ascontiguousarray(force, np.float32), profile.shape[1],
            np.ascontiguousarray(profile, np.float32).reshape(-1), sequence, received, lost, 0.0,
        )  # fmt: skip

    def action(self, stamp_ns: int, delta: Array, number: int, task: str) -> bytes:
        """vla_msgs/ActionChunk of one recorded step, (6,) m and rad, without lineage."""
        kind = self._contract.action.type
        zero = self._time(0)
        nothing = np.nan
        lineage = self._types['vla_msgs/msg/Lineage'](
            0, [], [], zero, zero, zero, zero, 0, 0.0, *([nothing] * 5),
            np.zeros(0, np.uint64), nothing,
        )
        return self._cdr(
            kind, self._header(stamp_ns, self._contract.action.frame), number,
            [self._time(stamp_ns)], 6, np.ascontiguousarray(delta, np.float64), 0, 0, [], task,
            '', self._contract.hash, lineage, zero, *([nothing] * 4), 0,
        )  # fmt: skip

    def _cdr(self, kind: str, *values: Any) -> bytes:
        return bytes(self._store.serialize_cdr(self._types[kind](*values), kind))

    def _header(self, stamp_ns: int, frame: str) -> Any:
        return self._types['std_msgs/msg/Header'](self._time(stamp_ns), frame)

    def _time(self, stamp_ns: int) -> Any:
        seconds, nanoseconds = divmod(int(stamp_ns), NS)
        return self._types['builtin_interfaces/msg/Time'](seconds, nanoseconds)


def first_stamp(streams: list[Stamps]) -> int:
    """Earliest stamp over all streams, 0 without any."""
    return min((int(stamps[0]) for stamps in streams if len(stamps)), default=0)
