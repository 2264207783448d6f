"""The manifest against the contract and against the files for `ros2 bag`."""

from pathlib import Path

import pytest
import yaml

from vla_core.contract import load_contract
from vla_core.errors import ConfigError
from vla_data.recording.manifest import load_manifest, overrides_text, qos_overrides, topic_list
from vla_data.recording.qos import Qos, qos_from_profiles, qos_from_rosbag2
from vla_data.types import make_typestore

CONFIG = Path(__file__).resolve().parents[3] / 'launch' / 'config'
MANIFEST = load_manifest(CONFIG / 'recorder' / 'manifest.yaml')


def test_every_topic_of_the_contract_is_recorded_with_its_type():
    contract = load_contract(CONFIG / 'contract' / 'insertion.yaml')
    wanted = {view.topic: contract.images.type for view in contract.views}
    for part in (contract.sensor, contract.features, contract.action):
        wanted[part.topic] = part.type
    wanted[contract.state.joint_topic] = contract.state.joint_type
    wanted[contract.state.pose_topic] = contract.state.pose_type
    recorded = {topic.name: topic.type for topic in MANIFEST.topics}
    assert wanted.items() <= recorded.items()


def test_every_type_of_the_manifest_is_known():
    store = make_typestore()
    assert all(topic.type in store.fielddefs for topic in MANIFEST.topics)


def test_the_files_for_ros2_bag_say_the_same():
    folder = CONFIG / 'recorder'
    assert (folder / 'ros2_bag_topics.txt').read_text() == topic_list(MANIFEST)
    assert (folder / 'ros2_bag_qos.yaml').read_text() == overrides_text(MANIFEST)
    read = yaml.safe_load((folder / 'ros2_bag_qos.yaml').read_text())
    assert read == qos_overrides(MANIFEST)
    assert read['/task']['durability'] == 'transient_local'


def test_names_are_resolved_in_the_namespace_but_absolute_ones():
    names = MANIFEST.resolved('/lab/')
    assert '/lab/sensor/samples' in names and '/diagnostics' in names


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('topics: [{name: a, type: std_msgs/String, group: status}]', 'package/msg/Name'),
        ('topics: [{name: a, type: a/msg/B, group: statu}]', 'status'),
        ('topics: [{name: a, type: a/msg/B, group: status, qos: {depht: 1}}]', 'depth'),
        ('topics: [{name: a, type: a/msg/B, group: status, qos: {depth: 0}}]', 'from 1 to'),
        (
            'topics: [{name: a, type: a/msg/B, group: status}, '
            '{name: a, type: a/msg/B, group: status}]',
            'given twice',
        ),
    ],
)
def test_a_mistake_in_the_manifest_is_named(tmp_path, text, expected):
    (tmp_path / 'm.yaml').write_text(text)
    with pytest.raises(ConfigError, match=expected):
        load_manifest(tmp_path / 'm.yaml')


def test_quality_of_service_is_read_from_old_and_new_bags():
    assert qos_from_rosbag2(Qos(7, durability='transient_local').to_rosbag2()) == Qos(
        7, durability='transient_local'
    )
    old = '- history: 1\n  depth: 5\n  reliability: 2\n  durability: 1\n'
    assert qos_from_profiles(old) == Qos(5, 'best_effort', 'transient_local')
    assert qos_from_profiles([{'history': 3, 'depth': 0}]) == Qos()
    assert qos_from_profiles('') == qos_from_profiles('{') == Qos()
