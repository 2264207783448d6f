"""JointState and PoseStamped of the robot, filled anew for every state.

Used by robot_driver at the rate of the robot's state. Building the two messages with all their
parts takes Python longer than everything else that is done with a state, so they are built once.
Deliberately no topics.
"""

from geometry_msgs.msg import PoseStamped
import numpy as np
from sensor_msgs.msg import JointState

from vla_drivers.robot_stream import StampedState
from vla_ros import convert


class StateMessages:
    """Belongs to the reader's thread; what `fill` returns is good until it is called again."""

    def __init__(self, frame: str, joint_names: list[str]):
        self._joints, self._pose = JointState(name=joint_names), PoseStamped()
        self._joints.header.frame_id = self._pose.header.frame_id = frame

    def fill(self, stamped: StampedState, quat_xyzw: np.ndarray) -> tuple[JointState, PoseStamped]:
        """Joints (rad, rad/s) and tool pose (m, quaternion) of one state."""
        stamp, joints, state = convert.to_time(stamped.stamp_ns), self._joints, stamped.state
        joints.header.stamp = self._pose.header.stamp = stamp
        joints.position = convert.to_array(state.joint_rad)
        if stamped.joint_rad_s is not None:
            joints.velocity = convert.to_array(stamped.joint_rad_s)
        point, turn = self._pose.pose.position, self._pose.pose.orientation
        point.x, point.y, point.z = state.position_m.tolist()
        turn.x, turn.y, turn.z, turn.w = quat_xyzw.tolist()
        return joints, self._pose
