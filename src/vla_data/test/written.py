"""What an import wrote, decoded: a writer that keeps everything in memory, for the tests."""

import numpy as np

from vla_core.contract import Contract, ViewSpec
from vla_data.importing.layouts import layout_of, read_recording
from vla_data.importing.options import ImportOptions
from vla_data.importing.write import write_episode
from vla_data.types import make_typestore

CONTRACT = Contract(
    'insertion', 1,
    tuple(ViewSpec(f'view{n}', f'cameras/view{n}/image_raw/compressed') for n in range(1, 6)),
)  # fmt: skip
STORE = make_typestore()


class Written:
    """Keeps the messages; the fields are what tests look at."""

    def __init__(self):
        self.types, self.log, self.entries, self.closed = {}, [], {}, {}

    def add_topic(self, name, type_name):
        self.types[name.removeprefix('/')] = type_name

    def write(self, topic, log_ns, publish_ns, data):
        self.log.append(log_ns)
        self.entries.setdefault(topic.removeprefix('/'), []).append(data)

    def close(self, **changes):
        self.closed = changes

    def messages(self, topic):
        return [
            STORE.deserialize_cdr(data, self.types[topic]) for data in self.entries.get(topic, ())
        ]

    def stamped(self, topic):
        """(stamp ns, message) of a topic."""
        return [(stamp_of(message), message) for message in self.messages(topic)]

    def sensor(self):
        """Stamps (N,), force (N,), profiles (N, bins) of the whole sensor stream."""
        batches = self.messages('sensor/samples')
        return (
            np.concatenate([batch.stamp_ns for batch in batches]),
            np.concatenate([batch.force_n for batch in batches]),
            np.concatenate([batch.profile.reshape(-1, batch.profile_length) for batch in batches]),
        )

    def step_times(self):
        """Per stream the times between which the planted step lies: (last before, first after)."""
        from legacy_folders import is_lit

        result = {}
        for topic in self.types:
            if topic.startswith('cameras/'):
                result[topic] = _between(
                    [(stamp, is_lit(message.data)) for stamp, message in self.stamped(topic)]
                )
        joints = self.stamped('robot/joint_states')
        result['joints'] = _between([(t, m.position[1] > np.deg2rad(0.2)) for t, m in joints])
        poses = self.stamped('robot/tcp_pose')
        result['pose'] = _between([(t, m.pose.position.x > 0.2005) for t, m in poses])
        if 'sensor/samples' in self.entries:
            stamps, force, _ = self.sensor()
            result['force'] = _between(list(zip(stamps.tolist(), force > 3.0)))
        return result


def stamp_of(message):
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def _between(pairs):
    after = next(index for index, (_, on) in enumerate(pairs) if on)
    return pairs[after - 1][0], pairs[after][0]


def imported(path, **options):
    """Read and write a recording; return (Written, report)."""
    options = ImportOptions(**options)
    episode = read_recording(path, layout_of(path), options)
    written = Written()
    write_episode(episode, CONTRACT, options, written)
    return written, episode.report
