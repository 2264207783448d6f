"""The recorder node on real topics and services."""

from pathlib import Path
import time

from diagnostic_msgs.msg import DiagnosticArray
import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from vla_data.catalog import load
from vla_data.recording import bag_metadata
from vla_data.tagging import read_info
from vla_data.types import make_typestore
from vla_msgs.msg import RecorderStatus, SensorBatch
from vla_msgs.srv import DiscardEpisode, StartEpisode, StopEpisode
from vla_recorder.nodes.recorder_node import RecorderNode
from vla_ros import convert, qos
from vla_ros.testing import Listener, overrides, spinning, wait_for

CONFIG = Path(__file__).resolve().parents[3] / 'launch' / 'config'
STORE = make_typestore()


def start_node(folder, **values):
    given = {
        'directory': str(folder),
        'manifest': str(CONFIG / 'recorder' / 'manifest.yaml'),
        'contract': str(CONFIG / 'contract' / 'insertion.yaml'),
        'keep_free_mb': 0,
        **values,
    }
    return RecorderNode(parameter_overrides=overrides(**given))


class Operator(Listener):
    """Calls the services and publishes what is to be recorded."""

    def __init__(self):
        super().__init__('operator')
        kinds = {'start': StartEpisode, 'stop': StopEpisode, 'discard': DiscardEpisode}
        self._clients_of = {
            name: (kind, self.create_client(kind, f'recorder/{name}'))
            for name, kind in kinds.items()
        }
        self.status = self.hear(RecorderStatus, 'recorder/status', qos.STATUS)
        self.joints = self.create_publisher(JointState, 'robot/joint_states', qos.SENSOR_STREAM)
        self.batches = self.create_publisher(SensorBatch, 'sensor/samples', qos.SENSOR_STREAM)

    def call(self, service, **request):
        kind, client = self._clients_of[service]
        wait_for(client.service_is_ready, what=f'service {service}')
        future = client.call_async(kind.Request(**request))
        wait_for(future.done, what=f'answer of {service}')
        return future.result()

    def send(self, count, first=0):
        for k in range(first, first + count):
            stamp_ns = time.time_ns()
            self.joints.publish(convert.joint_state(stamp_ns, ['a'], [float(k)]))
            batch = SensorBatch(sequence=k, received_total=13 * k, lost_total=k // 10)
            batch.header.stamp = convert.to_time(stamp_ns)
            self.batches.publish(batch)
            time.sleep(0.001)  # the pace of a stream, not a wait


@pytest.fixture
def lab(ros, tmp_path):
    """A recorder that hears an operator."""
    node, operator = start_node(tmp_path), Operator()
    with spinning(node, operator):
        wait_for(lambda: node.state_label == 'active')
        wait_for(operator.joints.get_subscription_count)
        wait_for(operator.batches.get_subscription_count)
        yield node, operator


def record(operator, count, **request):
    """Record `count` messages of two topics; return the answer to stop."""
    started = operator.call('start', **request)
    assert started.success, started.message
    operator.send(count)
    wait_for(lambda: operator.status and operator.status[-1].messages >= 2 * count)
    return operator.call('stop', outcome='success')


def decoded(path):
    with AnyReader([Path(path)], default_typestore=STORE) as reader:
        return [
            (connection.topic, log_ns, reader.deserialize(data, connection.msgtype))
            for connection, log_ns, data in reader.messages()
        ]


def test_an_episode_holds_every_message_with_its_account(lab):
    _, operator = lab
    done = record(operator, 150, task='insert', operator_name='kim', tags=['a'])
    assert done.success and done.lost == 0
    messages = decoded(done.path)
    positions = [m.position[0] for topic, _, m in messages if topic == '/robot/joint_states']
    assert positions == [float(k) for k in range(150)]
    info = read_info(Path(done.path))
    assert (info.task, info.operator, info.outcome, info.tags) == (
        'insert', 'kim', 'success', ('a',))  # fmt: skip
    assert info.loss['/sensor/samples']['written'] == 150
    assert info.loss['/sensor/samples']['lost_counter'] == 0
    assert info.loss['/sensor/samples']['lost_source'] == 14
    assert info.contract().name == 'insertion'
    assert info.contract_hash == info.contract().hash


def test_log_times_are_receive_times_in_order(lab):
    _, operator = lab
    before_ns = time.time_ns()
    done = record(operator, 50)
    times = [log_ns for _, log_ns, _ in decoded(done.path)]
    assert times == sorted(times)
    assert before_ns < times[0] and times[-1] < time.time_ns()
    stamps = [
        m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for _, _, m in decoded(done.path)
    ]
    assert all(0 <= log - stamp < 10**9 for log, stamp in zip(times, stamps))


def test_the_task_in_force_is_in_every_episode_and_in_its_info(lab):
    _, operator = lab
    tasks = operator.create_publisher(String, 'task', qos.LATCHED)
    wait_for(tasks.get_subscription_count)
    tasks.publish(String(data='insert the needle'))
    for _ in range(2):
        wait_for(lambda: lab[0]._tap.latched())
        done = record(operator, 3)
        assert read_info(Path(done.path)).task == 'insert the needle'
        texts = [m.data for topic, _, m in decoded(done.path) if topic == '/task']
        assert texts == ['insert the needle']


def test_losses_between_publisher_and_recorder_are_counted_exactly(ros, tmp_path):
    manifest = tmp_path / 'm.yaml'
    manifest.write_text(
        'topics:\n- {name: robot/joint_states, type: sensor_msgs/msg/JointState, '
        'group: observation, account: stamps, qos: {depth: 2}}\n'
    )
    node = start_node(tmp_path / 'out', manifest=str(manifest), poll_s=0.2)
    operator = Operator()
    with spinning(node, operator):
        wait_for(lambda: node.state_label == 'active')
        wait_for(operator.joints.get_subscription_count)
        assert operator.call('start').success
        sent = [convert.joint_state(k, ['a'], [float(k)]) for k in range(42)]
        operator.joints.publish(sent[0])
        wait_for(lambda: operator.status[-1].messages == 1)
        for message in sent[1:41]:  # at once: the middleware keeps two of them until the next look
            operator.joints.publish(message)
        wait_for(lambda: operator.status[-1].messages >= 3)
        operator.joints.publish(sent[41])
        wait_for(lambda: operator.status[-1].messages >= 4)
        done = operator.call('stop')
    counts = read_info(Path(done.path)).loss['/robot/joint_states']
    assert done.lost == counts['lost_transport'] == len(sent) - counts['written'] > 0


def test_requests_that_cannot_be_met_are_answers_with_a_reason(lab):
    _, operator = lab
    refused = operator.call('stop')
    assert not refused.success and refused.message == 'no episode is being recorded'
    assert operator.call('start', name='one').success
    refused = operator.call('start')
    assert not refused.success and 'one is being recorded' in refused.message
    refused = operator.call('stop', outcome='sucess')
    assert not refused.success and 'outcome' in refused.message
    assert operator.status[-1].state == RecorderStatus.RECORDING
    assert operator.call('discard', delete_files=True).success
    assert not operator.call('discard').success


def test_a_wrong_folder_is_an_answer_not_the_end_of_the_node(ros, tmp_path):
    (tmp_path / 'file').write_text('')
    node, operator = start_node(tmp_path / 'file'), Operator()
    with spinning(node, operator):
        wait_for(lambda: node.state_label == 'active')
        refused = operator.call('start')
        assert not refused.success and str(tmp_path / 'file') in refused.message
    assert node.failure is None


def test_a_full_disk_ends_the_recording_and_nothing_else(ros, tmp_path):
    node, operator = start_node(tmp_path), Operator()
    diagnostics = operator.hear(DiagnosticArray, '/diagnostics', qos.STATUS)
    with spinning(node, operator):
        wait_for(operator.joints.get_subscription_count)
        wait_for(lambda: node.state_label == 'active')
        assert operator.call('start').success
        operator.send(20)
        wait_for(lambda: operator.status[-1].messages >= 20)
        node._session._recording._end('the disk is full: the test says so')
        wait_for(lambda: operator.status[-1].state == RecorderStatus.ENDED)
        assert 'the disk is full' in operator.status[-1].reason
        wait_for(lambda: any(
            'the disk is full' in s.message for a in diagnostics for s in a.status))  # fmt: skip
        operator.send(20)
        done = operator.call('stop', outcome='success')
        assert done.success and 'the disk is full' in done.message
        assert node.failure is None and node.state_label == 'active'
        again = record(operator, 10)
        assert again.success
    assert len(decoded(done.path)) == done.messages
    assert read_info(Path(done.path)).outcome == 'success'


def test_deactivation_closes_the_episode_with_that_reason(lab):
    node, operator = lab
    path = Path(operator.call('start').path)
    operator.send(10)
    wait_for(lambda: operator.status[-1].messages >= 20)
    node.trigger_deactivate()
    assert read_info(path).ended_because == 'the recorder node was stopped'
    assert load(path).state == 'finished'
    assert 'not active' in operator.call('start').message
    node.trigger_activate()
    assert record(operator, 5).success


def test_a_topic_of_another_qos_is_told_in_the_diagnostics(lab):
    node, operator = lab
    unreliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    operator.create_publisher(String, 'task', unreliable)
    wait_for(lambda: any('/task' in item.message for item in node.health()))


def test_topics_that_are_published_but_silent_are_told(lab):
    _, operator = lab
    operator.call('start')
    wait_for(lambda: '/sensor/samples' in operator.status[-1].silent)
    operator.send(2)
    wait_for(lambda: '/sensor/samples' not in operator.status[-1].silent)
    operator.call('stop')


def test_an_episode_of_a_namespace_has_the_names_of_that_namespace(ros, tmp_path):
    node = RecorderNode(
        namespace='lab',
        parameter_overrides=overrides(
            directory=str(tmp_path),
            manifest=str(CONFIG / 'recorder' / 'manifest.yaml'),
            contract=str(CONFIG / 'contract' / 'insertion.yaml'),
            keep_free_mb=0,
        ),
    )
    with spinning(node):
        wait_for(lambda: node.state_label == 'active')
        path = node._session.start(time.time_ns())
        node._session.stop()
    topics = bag_metadata.read(path)['topics_with_message_count']
    names = {topic['topic_metadata']['name'] for topic in topics}
    assert '/lab/sensor/samples' in names and '/diagnostics' in names


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ({'manifest': '/no/such.yaml'}, '/no/such.yaml'),
        ({'contract': '/no/contract.yaml'}, '/no/contract.yaml'),
        ({'calibration': '/no/calibration.yaml'}, '/no/calibration.yaml'),
    ],
)
def test_a_wrong_file_is_fatal_before_any_episode(ros, tmp_path, values, expected):
    node, failures = start_node(tmp_path, **values), []
    node.on_failure = failures.append
    with spinning(node):
        wait_for(lambda: failures)
    assert expected in str(node.failure)
