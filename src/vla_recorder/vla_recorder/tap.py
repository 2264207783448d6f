"""All subscriptions of a manifest, taken serialized and in one go.

Used by the recorder node's one taking thread. Messages wait in the middleware with their receive
times, so looking twenty times a second loses nothing and costs a fifth of an executor's callbacks.
The middleware's sequence numbers tell exactly what was lost on the way. Deliberately decides
nothing about what is done with the messages.
"""

import time

from vla_data.recording.byte_queue import Entry
from vla_data.recording.loss import Lanes
from vla_data.recording.manifest import Topic
from vla_ros.polling import NeverByExecutor
from vla_ros.serialized import message_class, profile

# Messages of one topic at one look: a stall must not become an endless look.
_MOST = 1000


class Tap:
    """`drain` belongs to one thread; construction, `close` and `publishers` to the executor's."""

    def __init__(self, node, topics: dict[str, Topic]) -> None:
        """topics: by absolute name. VlaError for a message type that is not installed."""
        self._node = node
        self._group = NeverByExecutor()
        self._lanes = {name: Lanes() for name in topics}
        self._last: dict[str, Entry] = {}  # of latched topics
        self._latched = {name for name, topic in topics.items() if topic.qos.latched}
        self._subscriptions = {}
        try:
            for name, topic in topics.items():
                self._subscriptions[name] = self._subscribe(name, topic)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leave all topics."""
        subscriptions, self._subscriptions = self._subscriptions, {}
        for subscription in subscriptions.values():
            self._node.destroy_subscription(subscription)

    def drain(self, sim_now_ns: int | None = None) -> list[Entry]:
        """Take everything that waits, in the order of its coming.

        Log times are receive times; under use_sim_time it is `sim_now_ns` for all.
        """
        entries: list[Entry] = []
        for name, subscription in self._subscriptions.items():
            entries += self._taken(name, subscription, sim_now_ns)
        entries.sort(key=lambda entry: entry.log_ns)
        return entries

    def latched(self) -> list[Entry]:
        """Return the last message of every latched topic."""
        return list(self._last.values())

    def unheard(self) -> list[str]:
        """Return the topics that somebody publishes with a QoS that this subscription refuses."""
        return [
            name
            for name, subscription in self._subscriptions.items()
            if self._node.count_publishers(name) > subscription.handle.get_publisher_count()
        ]

    def published(self) -> set[str]:
        """Return the topics that have a publisher."""
        return {name for name in self._subscriptions if self._node.count_publishers(name)}

    def _subscribe(self, name: str, topic: Topic):
        return self._node.create_subscription(
            message_class(topic.type),
            name,
            lambda message: None,
            profile(topic.qos),
            callback_group=self._group,
            raw=True,
        )

    def _taken(self, name: str, subscription, sim_now_ns: int | None) -> list[Entry]:
        entries, lanes, publishers = [], self._lanes[name], 0
        for _ in range(_MOST):
            with subscription.handle:
                taken = subscription.handle.take_message(subscription.msg_type, True)
                publishers = publishers or subscription.handle.get_publisher_count()
            if taken is None:
                break
            data, info = taken
            number = info['publication_sequence_number']
            lost = lanes.lost(number, publishers) if number is not None else 0
            log_ns = sim_now_ns or info['received_timestamp'] or time.time_ns()
            publish_ns = sim_now_ns or info['source_timestamp'] or log_ns
            entries.append(Entry(name, log_ns, publish_ns, data, lost))
        if entries and name in self._latched:
            self._last[name] = entries[-1]
        return entries
