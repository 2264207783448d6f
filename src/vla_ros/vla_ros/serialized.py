"""Topics whose messages pass as bytes: their classes by name and their QoS from plain values.

Used by the recorder and by `vla replay`, which know types only from a manifest or a bag. It
deliberately decodes nothing.
"""

from importlib import import_module
from typing import Protocol

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from vla_core.errors import VlaError


class PlainQos(Protocol):
    """QoS in the spelling of rosbag2, such as vla_data.recording.qos.Qos."""

    depth: int
    history: str
    reliability: str
    durability: str


def message_class(type_name: str):
    """Return the Python class of 'package/msg/Name'; VlaError when it is not installed."""
    package, _, name = type_name.split('/')
    try:
        return getattr(import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError) as error:
        raise VlaError(f'the message type {type_name} is not installed here') from error


def profile(qos: PlainQos) -> QoSProfile:
    """Return rclpy's profile."""
    return QoSProfile(
        history=HistoryPolicy[qos.history.upper()],
        depth=qos.depth,
        reliability=ReliabilityPolicy[qos.reliability.upper()],
        durability=DurabilityPolicy[qos.durability.upper()],
    )
