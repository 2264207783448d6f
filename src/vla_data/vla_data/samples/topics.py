"""Which topic of a bag is which input of the contract, and how its messages are read.

Called when a bag is opened for samples. Refuses at once what would otherwise give wrong samples:
stamps that are not of the clock of the log, a sensor of another width. Deliberately keeps nothing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_core.contract import Contract
from vla_core.timebase import NS
from vla_data.bag_reader import Bag
from vla_data.errors import BagError
from vla_data.samples.values import RecordedChunk

TASK_TOPIC = 'task'
# A message is logged milliseconds after its acquisition; clocks of a lab differ by less. More
# means that the stamps are of another clock, simulated time for one.
MOST_DELAY_NS = 5 * NS
SENSOR, JOINTS, POSE, CHUNK = 'sensor', 'joints', 'pose', 'chunk'  # besides the names of views


@dataclass(frozen=True)
class InputTopics:
    """Topics of one bag by what they are: SENSOR, JOINTS, POSE, CHUNK, or a view's name."""

    kinds: dict[str, str]  # topic -> kind
    missing: tuple[str, ...]  # topics of the contract's inputs that are not there
    tasks: tuple[tuple[int, str], ...]  # (log ns, instruction)

    def topic(self, kind: str) -> str | None:
        """Return the topic of a kind."""
        return next((topic for topic, item in self.kinds.items() if item == kind), None)

    @property
    def streamed(self) -> list[str]:
        """Topics of inputs: all but the recorded chunks."""
        return [topic for topic, kind in self.kinds.items() if kind != CHUNK]

    @property
    def streams(self) -> set[str]:
        """Streams that settle, as `Known.settled` names them."""
        kinds = set(self.kinds.values()) - {CHUNK}
        return {'robot' if kind in (JOINTS, POSE) else kind for kind in kinds}


def find_topics(bag: Bag, contract: Contract) -> InputTopics:
    """Find the contract's topics; BagError without a robot, or where a topic is not what the
    contract says.
    """
    state, kinds, missing = contract.state, {}, []
    wanted = [
        (SENSOR, contract.sensor.topic, contract.sensor.type),
        (JOINTS, state.joint_topic, state.joint_type),
        (POSE, state.pose_topic, state.pose_type),
        (CHUNK, contract.action.topic, contract.action.type),
        *((view.name, view.topic, contract.images.type) for view in contract.views),
    ]
    for kind, relative, type_name in wanted:
        topic = bag.find(relative)
        if topic is None or not bag.topics[topic].count:
            if kind in (JOINTS, POSE):
                raise BagError(bag.path, f'has no messages of {relative}: no samples without it')
            if kind != CHUNK:
                missing.append(relative)
            continue
        if bag.topics[topic].type != type_name:
            text = f'{topic} is of type {bag.topics[topic].type}, the contract wants {type_name}'
            raise BagError(bag.path, text)
        kinds[topic] = kind
        _check_first(bag, topic, kind, contract)
    return InputTopics(kinds, tuple(missing), _tasks(bag))


def stamp_ns(message: Any) -> int:
    """Acquisition time of a message with a header, Unix ns."""
    stamp = message.header.stamp
    return int(stamp.sec) * NS + int(stamp.nanosec)


def pose_arrays(message: Any) -> tuple[np.ndarray, np.ndarray]:
    """PoseStamped -> position (3,) float64 m, quaternion (4,) float64 xyzw."""
    point, turn = message.pose.position, message.pose.orientation
    return np.array([point.x, point.y, point.z]), np.array([turn.x, turn.y, turn.z, turn.w])


def recorded_chunk(message: Any) -> RecordedChunk:
    """ActionChunk -> RecordedChunk; ValueError when its numbers do not fit its steps."""
    stamps = [int(time.sec) * NS + int(time.nanosec) for time in message.step_stamps]
    delta = np.array(message.delta, np.float64).reshape(len(stamps), message.dims)
    return RecordedChunk(
        message.chunk_id,
        stamp_ns(message),
        np.array(stamps, np.int64),
        delta,
        message.reaction,
        message.task,
    )


def _check_first(bag: Bag, topic: str, kind: str, contract: Contract) -> None:
    first_ns = bag.topics[topic].first_ns
    message = next(bag.messages([topic], first_ns, first_ns + 1))[2]
    delay_ns = first_ns - stamp_ns(message)
    if abs(delay_ns) > MOST_DELAY_NS:
        text = f'{topic}: stamps and log times differ by {delay_ns / NS:.1f} s, not one clock'
        raise BagError(bag.path, text)
    if kind == SENSOR and message.profile_length + 1 != contract.sensor.channels:
        text = f'{topic} has {message.profile_length + 1} channels (force and A-scan)'
        raise BagError(bag.path, f'{text}, the contract wants {contract.sensor.channels}')


def _tasks(bag: Bag) -> tuple[tuple[int, str], ...]:
    topic = bag.find(TASK_TOPIC)
    if topic is None or bag.topics[topic].type != 'std_msgs/msg/String':
        return ()
    found = [(log_ns, message.data) for _, log_ns, message in bag.messages([topic])]
    return tuple((log_ns, text) for log_ns, text in found if text.strip())
