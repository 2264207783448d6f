"""The recorder's parameter file against what the node declares."""

from pathlib import Path
from xml.etree import ElementTree

from rclpy.parameter import Parameter

from vla_recorder.common import software_version, VERSION
from vla_recorder.nodes.recorder_node import Parameters, RecorderNode
from vla_ros.params import specs, yaml_values

PACKAGE = Path(__file__).resolve().parents[1]
FILE = PACKAGE.parents[1] / 'launch' / 'config' / 'recorder_node.yaml'


def test_the_file_holds_exactly_the_declared_parameters_with_good_values():
    declared, configured = specs(Parameters), yaml_values(FILE)
    assert set(configured) == set(declared)
    for key, spec in declared.items():
        spec.check(configured[key], 'recorder_node')
    assert all(spec.default is None for spec in declared.values())
    assert FILE.read_text().count('/**/recorder_node:') == 1


def test_what_kill_may_cost_stays_below_the_second_that_is_promised():
    from vla_data.recording.recording import WAKE_S

    values = yaml_values(FILE)
    assert values['poll_s'] + WAKE_S + values['flush_s'] < 0.8


def test_every_parameter_is_described(ros):
    node = RecorderNode(parameter_overrides=[Parameter('autostart', value=False)])
    for key, spec in specs(Parameters).items():
        described = node.describe_parameter(key)
        assert described.description and described.type == spec.ros_type.value
    node.destroy_node()


def test_the_version_is_that_of_the_package():
    assert ElementTree.parse(PACKAGE / 'package.xml').findtext('version') == VERSION
    assert software_version().startswith(VERSION)
