"""Parameter files of the drivers against what the nodes declare."""

from pathlib import Path

import pytest
from rclpy.parameter import Parameter

from vla_core.errors import ConfigError
from vla_core.safety.limits import SafetyLimits
from vla_drivers.camera_stream import parse_assignments
from vla_drivers.nodes import camera_driver, robot_driver, robot_parameters, sensor_driver
from vla_ros.params import specs, yaml_values

CONFIG = Path(__file__).resolve().parents[3] / 'launch' / 'config'
NODES = {
    'robot_driver': (robot_driver.RobotDriver, robot_driver.Parameters),
    'camera_driver': (camera_driver.CameraDriver, camera_driver.Parameters),
    'sensor_driver': (sensor_driver.SensorDriver, sensor_driver.Parameters),
}


@pytest.mark.parametrize('name', NODES)
def test_the_file_holds_exactly_the_declared_parameters_with_good_values(name):
    declared, configured = specs(NODES[name][1]), yaml_values(CONFIG / f'{name}.yaml')
    assert set(configured) == set(declared)
    for key, spec in declared.items():
        spec.check(configured[key], name)


@pytest.mark.parametrize('name', NODES)
def test_no_value_lives_in_the_code(name):
    assert all(spec.default is None for spec in specs(NODES[name][1]).values())


@pytest.mark.parametrize('name', NODES)
def test_the_file_applies_in_any_namespace(name):
    assert (CONFIG / f'{name}.yaml').read_text().count(f'/**/{name}:') == 1


@pytest.mark.parametrize('name', NODES)
def test_every_parameter_is_described(ros, name):
    make, parameters = NODES[name]
    node = make(parameter_overrides=[Parameter('autostart', value=False)], namespace='lab')
    for key, spec in specs(parameters).items():
        described = node.describe_parameter(key)
        assert described.description
        assert described.type == spec.ros_type.value
    node.destroy_node()


def test_the_cameras_of_the_lab_cover_five_views_old_and_new():
    cameras = yaml_values(CONFIG / 'camera_driver.yaml')['cameras']
    names = parse_assignments(cameras, 'cameras')
    assert list(names) == ['view1', 'view2', 'view3', 'view4', 'view5']
    assert all(len(spellings) == 2 for spellings in names.values())


def good(**changes):
    values = yaml_values(CONFIG / 'robot_driver.yaml')
    return robot_parameters.Parameters(**{**values, **changes})


def test_the_robots_file_has_every_safety_limit_with_the_value_that_is_explained_in_the_code():
    params, limits = good(), SafetyLimits()
    for name in robot_parameters.LIMIT_NAMES:
        value = getattr(params, name)
        assert (tuple(value) if isinstance(value, list) else value) == getattr(limits, name), name


def test_the_robots_file_is_consistent():
    robot_parameters.check(good())


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'velocity_timeout_s': 0.02}, 'periods of command_rate_hz'),
        ({'velocity_timeout_s': 0.3}, 'at least velocity_timeout_s'),
        ({'box_min_m': [0.1, 0.2]}, 'expected three numbers'),
        ({'box_min_m': [0.5, 0.0, 0.0]}, 'must be below'),
        ({'chunk_stop_s': 0.1}, 'chunk_stop_s'),
        ({'joint_names': ['a']}, 'expected 6 names'),
    ],
)
def test_values_that_do_not_fit_each_other_are_refused_with_the_key(changes, text):
    with pytest.raises(ConfigError, match=text):
        robot_parameters.check(good(**changes))
