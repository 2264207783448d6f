"""Publishers of a replay: serialized messages with the QoS they were recorded with, and /clock.

Used by `vla replay`. One thread, no executor: nothing is subscribed to. It deliberately changes no
message.
"""

import time

import rclpy
from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from vla_data.bag_reader import Bag
from vla_data.recording import bag_metadata
from vla_data.recording.qos import Qos, qos_from_profiles
from vla_data.replay import Event
from vla_ros.convert import to_time
from vla_ros.serialized import message_class, profile

SETTLE_S = 0.5  # for the middleware to hand over the last messages
_CLOCK = Qos(depth=10)  # reliable serves subscribers of either kind


class ReplayNode:
    """A context manager."""

    def __init__(self, bag: Bag, names: list[str], with_clock: bool) -> None:
        self._bag = bag
        qos = recorded_qos(bag)
        classes = {name: message_class(bag.topics[name].type) for name in names}
        rclpy.init(args=[])
        self._node = Node('vla_replay', enable_rosout=False, start_parameter_services=False)
        self._publishers = {
            name: self._node.create_publisher(classes[name], name, profile(qos.get(name, Qos())))
            for name in names
        }
        self._latched = [name for name in names if qos.get(name, Qos()).latched]
        self._clock = (
            self._node.create_publisher(Clock, '/clock', profile(_CLOCK)) if with_clock else None
        )

    def __enter__(self) -> 'ReplayNode':
        return self

    def __exit__(self, *exc_info) -> None:
        self._node.destroy_node()
        rclpy.try_shutdown()

    def publish(self, event: Event) -> None:
        """Publish one message or one tick of the clock."""
        if event.topic:
            self._publishers[event.topic].publish(event.data)
        elif self._clock is not None:
            self._clock.publish(Clock(clock=to_time(event.time_ns)))

    def publish_latched(self, start_ns: int) -> None:
        """Publish what was in force at `start_ns` on latched topics."""
        last = {}
        for topic, _, data in self._bag.raw(self._latched, None, start_ns):
            last[topic] = data
        for topic, data in last.items():
            self._publishers[topic].publish(data)

    def wait_for_subscribers(self, timeout_s: float) -> list[str]:
        """Wait until every topic has a subscriber; return those that have none in time."""
        end_s = time.monotonic() + timeout_s
        while missing := self._unheard():
            if time.monotonic() >= end_s:
                break
            time.sleep(0.02)
        return missing

    def settle(self) -> None:
        """Let the last messages out before the publishers go."""
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(rclpy.duration.Duration(seconds=SETTLE_S))

    def _unheard(self) -> list[str]:
        return [
            name
            for name, publisher in self._publishers.items()
            if not publisher.get_subscription_count()
        ]


def recorded_qos(bag: Bag) -> dict[str, Qos]:
    """Return the QoS of every topic as metadata.yaml tells it; a single file tells none."""
    if not bag.path.is_dir():
        return {}
    information = bag_metadata.read(bag.path) or {}
    return {
        topic['topic_metadata']['name']: qos_from_profiles(
            topic['topic_metadata'].get('offered_qos_profiles')
        )
        for topic in information.get('topics_with_message_count') or []
    }
