"""Every QoS profile of the suite, in one place.

Called by all nodes and by tools that subscribe. Publishers follow REP-2003 (reliable); the depth
says how much a subscriber may fall behind before the oldest message is dropped. It deliberately
does not set deadlines or liveliness: freshness is judged by content and reported in the
diagnostics.
"""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(depth: int, durability=DurabilityPolicy.VOLATILE) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        durability=durability,
        reliability=ReliabilityPolicy.RELIABLE,
    )


SENSOR_STREAM = _profile(200)
"""sensor/samples, sensor/force, robot/joint_states, robot/tcp_pose: 200 messages are 1.5 s at 130
datagrams/s.
"""

IMAGES = _profile(10)
"""cameras/<view>/image_raw/compressed: two seconds of one view at 5 Hz."""

FEATURES = _profile(2)
"""vlm/features: only the newest matters; two let a slow reader finish the one it holds."""

CHUNKS = _profile(10)
"""action/chunk, vlm/info: one second of chunks, so that a recorder loses none."""

IN_STEP = _profile(10, DurabilityPolicy.TRANSIENT_LOCAL)
"""action/chunk, vlm/info, vlm/time_reached in a lockstep replay. Each step is answered once: a
replay whose reader is found late, on a busy machine, must still get the answer, or waits for ever.
"""

STATUS = _profile(10)
"""robot/status, robot/command_status, /diagnostics."""

LATCHED = _profile(1, DurabilityPolicy.TRANSIENT_LOCAL)
"""task: a node that starts later still gets the last value."""
