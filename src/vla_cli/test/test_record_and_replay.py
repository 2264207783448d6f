"""`vla record` and `vla replay` on real topics, in processes of their own."""

import subprocess
import sys
import time

import pytest
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from vla_data.bag_reader import open_bag
from vla_data.episode import EpisodeInfo
from vla_data.recording.qos import Qos
from vla_data.recording.writer import EpisodeWriter
from vla_data.tagging import read_info
from vla_data.types import make_typestore
from vla_ros import convert, qos
from vla_ros.testing import Listener, ros_context, spinning, wait_for

NS = 1_000_000_000
START_NS = 1_700_000_000 * NS
PERIOD_S = 0.05
COUNT = 40
LIMIT_S = 60.0


@pytest.fixture
def listener():
    with ros_context():
        yield Listener()


def vla(*argv):
    return subprocess.Popen(
        [sys.executable, '-m', 'vla_cli.main', *(str(word) for word in argv)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip


def ended(process) -> str:
    """Wait for the end; return what it said."""
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return out


@pytest.fixture
def episode(tmp_path):
    store = make_typestore()
    writer = EpisodeWriter(tmp_path / 'e', EpisodeInfo(task='insert'))
    writer.add_topic('/task', 'std_msgs/msg/String', Qos(1, durability='transient_local'))
    writer.add_topic('/robot/joint_states', 'sensor_msgs/msg/JointState', Qos(100))
    text = store.types['std_msgs/msg/String'](data='insert')
    data = bytes(store.serialize_cdr(text, 'std_msgs/msg/String'))
    writer.write('/task', START_NS, START_NS, data)
    from rclpy.serialization import serialize_message

    for k in range(COUNT):
        stamp_ns = START_NS + round(k * PERIOD_S * NS)
        message = convert.joint_state(stamp_ns, ['a'], [float(k)])
        writer.write('/robot/joint_states', stamp_ns, stamp_ns, serialize_message(message))
    writer.close()
    return tmp_path / 'e'


def hear_with_times(listener):
    """Joint states with the steady time of their coming."""
    heard = []
    listener.create_subscription(
        JointState, 'robot/joint_states', lambda m: heard.append((time.monotonic(), m)), 100
    )
    return heard


def test_replay_publishes_the_same_messages_at_their_pace_with_a_clock(listener, episode):
    joints, clocks = hear_with_times(listener), listener.hear(Clock, '/clock', 100)
    tasks = listener.hear(String, 'task', qos.LATCHED)
    with spinning(listener):
        out = ended(vla('replay', episode, '--clock', '20', '--rate', '2', '--wait', '20'))
        wait_for(lambda: len(joints) == COUNT)
        wait_for(lambda: tasks)
    assert f'{COUNT + 1} messages' in out
    assert [m.position[0] for _, m in joints] == [float(k) for k in range(COUNT)]
    assert convert.to_ns(joints[5][1].header.stamp) == START_NS + round(5 * PERIOD_S * NS)
    took_s = joints[-1][0] - joints[0][0]
    assert took_s >= 0.95 * (COUNT - 1) * PERIOD_S / 2  # never early; a busy machine may be late
    ticks = [convert.to_ns(m.clock) for m in clocks]
    assert ticks == sorted(ticks) and all((t - START_NS) % (NS // 20) == 0 for t in ticks)


def test_replay_from_the_middle_of_chosen_topics_keeps_what_is_latched(listener, episode):
    joints = hear_with_times(listener)
    tasks = listener.hear(String, 'task', qos.LATCHED)
    with spinning(listener):
        ended(vla('replay', episode, '--start', '1', '--seconds', '0.5', '--wait', '20'))
        wait_for(lambda: len(joints) == 10 and tasks)
    assert joints[0][1].position[0] == 1 / PERIOD_S
    assert tasks[0].data == 'insert'


def test_record_starts_a_recorder_and_makes_episodes_of_the_length_asked_for(listener, tmp_path):
    publisher = listener.create_publisher(JointState, 'robot/joint_states', qos.SENSOR_STREAM)
    sent = iter(range(1_000_000))
    listener.create_timer(
        0.01,
        lambda: publisher.publish(convert.joint_state(time.time_ns(), ['a'], [float(next(sent))])),
    )
    with spinning(listener):
        out = ended(
            vla(
                'record', '--seconds', '1', '--episodes', '2', '--out', tmp_path / 'out',
                '--task', 'insert', '--outcome', 'success', '--tag', 'a')
        )  # fmt: skip
    assert 'started one' in out and out.count('none lost') == 2
    folders = sorted((tmp_path / 'out').iterdir())
    assert len(folders) == 2
    for folder in folders:
        info = read_info(folder)
        assert (info.task, info.outcome, info.tags) == ('insert', 'success', ('a',))
        with open_bag(folder) as bag:
            messages = bag.messages(['/robot/joint_states'])
            positions = [message.position[0] for _, _, message in messages]
        assert len(positions) > 20
        assert positions == [positions[0] + k for k in range(len(positions))]
