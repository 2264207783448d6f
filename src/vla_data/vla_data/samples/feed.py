"""Reads a bag once, forwards, and gives the sample of each tick on the way.

Called by `SampleReader`, one feed per position. What the node would know is taken in when its log
time comes; the robot's path is read ahead, for the actions. Memory holds those two seconds and no
more, whatever the length of the bag. Deliberately never goes back: the reader starts another feed.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from vla_core.contract import Contract
from vla_core.counters import Counters
from vla_core.pose_track import PoseTrack
from vla_core.timebase import NS, s_to_ns
from vla_data.bag_reader import Bag
from vla_data.samples import cdr
from vla_data.samples.known import Known
from vla_data.samples.poses import ActionPath
from vla_data.samples.topics import (
    CHUNK,
    InputTopics,
    JOINTS,
    POSE,
    pose_arrays,
    recorded_chunk,
    SENSOR,
    stamp_ns,
)
from vla_data.samples.values import RecordedChunk, Sample

READ_NS = 10 * NS  # how much is asked of the bag at a time
POSE_DELAY_NS = NS // 2  # how long after its acquisition a pose may be logged

# Standard messages, whose few fields `cdr` finds without decoding all.
SHORT_CUTS = (
    'geometry_msgs/msg/PoseStamped',
    'sensor_msgs/msg/JointState',
    'sensor_msgs/msg/CompressedImage',
)


class CountsOnce(Counters):
    """Counters that can be muted: what is read a second time is not counted again."""

    muted = False

    def add(self, kind: str, n: int = 1) -> None:
        """Count, unless muted."""
        if not self.muted:
            super().add(kind, n)


class Feed:
    """One pass through a bag from `start_ns` (log time) on. One thread."""

    def __init__(
        self,
        bag: Bag,
        topics: InputTopics,
        contract: Contract,
        start_ns: int,
        counters: CountsOnce,
        counted_ns: int,
        robot_must_change: bool = True,
    ) -> None:
        """`counted_ns`: messages logged up to then have been counted by another feed."""
        self._bag, self._topics, self._contract = bag, topics, contract
        self._counters = counters
        self._muted_ns = self.counted_ns = counted_ns
        self._types = {topic: bag.topics[topic].type for topic in topics.kinds}
        self._source = _read(bag, topics, start_ns)
        self._ended = False
        self._newest_ns = start_ns
        self._queue: deque[tuple[int, str, Any]] = deque()  # poses decoded, the others not yet
        self._track = PoseTrack(counters)
        self._chunks: deque[RecordedChunk] = deque()
        self._known = Known(contract, counters, robot_must_change)
        action = contract.action
        self._gap_ns = s_to_ns(contract.state.limits.mark_s)
        self._ahead_ns = action.steps * action.period_ns + self._gap_ns + POSE_DELAY_NS
        self._path = ActionPath(self._track, action.steps, action.period_ns, self._gap_ns)
        self.tick_ns = start_ns

    def jump(self, tick_ns: int) -> None:
        """Go to the first tick, in a way that gives what a feed from further back would give."""
        action = self._contract.action
        # The path is looked up from one chunk before on, tick by tick, as in order.
        for steps in range(action.steps, -1, -1):
            self.advance(tick_ns - steps * action.period_ns)

    def advance(self, tick_ns: int) -> None:
        """Take in everything logged up to `tick_ns`, one period after the tick before, and the
        path beyond.
        """
        self.tick_ns = tick_ns
        while not self._ended and self._newest_ns <= tick_ns + self._ahead_ns:
            self._pull()
        while self._queue and self._queue[0][0] <= tick_ns:
            log_ns, topic, content = self._queue.popleft()
            self._counters.muted = log_ns <= self._muted_ns
            self._take(log_ns, topic, content)
            self.counted_ns = max(self.counted_ns, log_ns)
        self._counters.muted = False
        self._path.advance(tick_ns)
        self._track.forget_before(tick_ns - self._gap_ns)
        while self._chunks and self._chunks[0].tick_ns < tick_ns - self._contract.action.period_ns:
            self._chunks.popleft()

    def settled(self) -> bool:
        """Say whether an earlier start would give the same from here on."""
        return self._known.settled(self._topics.streams)

    def sample(self, episode: int) -> Sample:
        """Return the sample of the tick that was advanced to."""
        steps, mask = self._path.action()
        return Sample(
            episode=episode,
            tick_ns=self.tick_ns,
            task=self._task(),
            action=steps,
            action_mask=mask,
            recorded=self._recorded(),
            **self._known.inputs(self.tick_ns),
        )

    def _pull(self) -> None:
        item = next(self._source, None)
        if item is None:
            self._ended = True
            return
        topic, log_ns, data = item
        self._newest_ns = log_ns
        kind = self._topics.kinds[topic]
        if kind == CHUNK:
            self._add_chunk(self._bag.decode(topic, data))
            return
        if kind != POSE:
            self._queue.append((log_ns, topic, data))
            return
        pose = self._pose(topic, data)
        self._queue.append((log_ns, topic, pose))
        self._counters.muted = log_ns <= self._muted_ns
        self._track.add(*pose)

    def _take(self, log_ns: int, topic: str, content: Any) -> None:
        kind = self._topics.kinds[topic]
        if kind == POSE:
            self._known.add_pose(log_ns, *content)
            return
        if kind == SENSOR:
            self._known.add_samples(log_ns, self._bag.decode(topic, content))
        elif kind == JOINTS:
            self._known.add_joints(log_ns, *self._joints(topic, content))
        else:
            self._known.add_image(log_ns, kind, *self._image(topic, content))

    def _pose(self, topic: str, data: bytes) -> cdr.Pose:
        found = cdr.pose_stamped(data) if self._types[topic] in SHORT_CUTS else None
        if found is not None:
            return found
        message = self._bag.decode(topic, data)
        return stamp_ns(message), *pose_arrays(message)

    def _joints(self, topic: str, data: bytes) -> tuple[int, np.ndarray]:
        found = cdr.joint_state(data) if self._types[topic] in SHORT_CUTS else None
        if found is not None:
            return found
        message = self._bag.decode(topic, data)
        return stamp_ns(message), message.position

    def _image(self, topic: str, data: bytes) -> tuple[int, bytes]:
        found = cdr.compressed_image(data) if self._types[topic] in SHORT_CUTS else None
        if found is not None:
            return found
        message = self._bag.decode(topic, data)
        return stamp_ns(message), message.data.tobytes()

    def _add_chunk(self, message: object) -> None:
        try:
            self._chunks.append(recorded_chunk(message))
        except ValueError:
            self._counters.add('chunk_bad_shape')

    def _recorded(self) -> RecordedChunk | None:
        """Return the chunk made for this tick: the nearest within half a period."""
        near = min(
            self._chunks, key=lambda chunk: abs(chunk.tick_ns - self.tick_ns), default=None
        )
        half_ns = self._contract.action.period_ns // 2
        return near if near and abs(near.tick_ns - self.tick_ns) <= half_ns else None

    def _task(self) -> str:
        known = [text for log_ns, text in self._topics.tasks if log_ns <= self.tick_ns]
        return known[-1] if known else self._bag.info.task


def _read(bag: Bag, topics: InputTopics, start_ns: int) -> Iterator[tuple[str, int, bytes]]:
    """Yield from `start_ns` to the end, piece by piece: asking for all of a long bag at once costs
    time for every chunk in it.
    """
    # No method of the feed: holding it would keep a feed that is done with alive, chunks and all.
    stop_ns = start_ns
    while stop_ns <= bag.last_ns:
        start_ns, stop_ns = stop_ns, stop_ns + READ_NS
        yield from bag.raw(topics.kinds, start_ns, stop_ns)
