"""Messages on their way into a headless episode's file: written when they arrive, not when made.

Used by headless.py. A recorder gets messages in the order of their arrival; so does the file.
"""

import heapq
import itertools

from vla_cli.examples import messages as msg
from vla_core.contract import Contract
from vla_data.importing.messages import TASK_TOPIC, TASK_TYPE
from vla_data.recording.manifest import Manifest
from vla_data.recording.writer import EpisodeWriter


class Outbox:
    """What has been sent and has not arrived yet; before `record_into` nothing is kept."""

    def __init__(self) -> None:
        self._queue: list[tuple[int, int, str, bytes]] = []
        self._order = itertools.count()
        self._writer: EpisodeWriter | None = None
        self._from_ns = 0

    def record_into(self, writer: EpisodeWriter, from_ns: int) -> None:
        """Write what is sent from now on and arrives at `from_ns` or later."""
        self._queue.clear()
        self._writer, self._from_ns = writer, from_ns

    def put(self, topic: str, arrives_ns: int, data: bytes) -> None:
        """Send a message."""
        heapq.heappush(self._queue, (arrives_ns, next(self._order), f'/{topic}', data))

    def flush(self, until_ns: int) -> None:
        """Let arrive what does so by `until_ns`."""
        while self._queue and self._queue[0][0] <= until_ns:
            arrived_ns, _, topic, data = heapq.heappop(self._queue)
            if self._writer is not None and arrived_ns >= self._from_ns:
                self._writer.write(topic, arrived_ns, arrived_ns, data)


def announce(writer: EpisodeWriter, contract: Contract, manifest: Manifest) -> None:
    """Name the topics of a headless episode, with the QoS that a recorder would see."""
    state = contract.state
    wanted = {view.topic: contract.images.type for view in contract.views}
    for spec in (contract.sensor, contract.action):
        wanted[spec.topic] = spec.type
    wanted |= {state.joint_topic: state.joint_type, state.pose_topic: state.pose_type}
    wanted |= {msg.COMMAND_TOPIC: msg.COMMAND_TYPE, msg.STATUS_TOPIC: msg.STATUS_TYPE}
    wanted[TASK_TOPIC] = TASK_TYPE
    topics = {topic.name: topic for topic in manifest.topics}
    for name, kind in wanted.items():
        topic = topics.get(name)
        writer.add_topic(f'/{name}', kind, topic.qos if topic else None)


def absent_topics(writer: EpisodeWriter, manifest: Manifest) -> list[str]:
    """Return the topics of the manifest that nothing was written of."""
    written = {name.strip('/') for name, count in writer.counts.items() if count}
    return sorted(topic.name for topic in manifest.topics if topic.name.strip('/') not in written)
