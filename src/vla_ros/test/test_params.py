"""Parameters: sources of values, types, ranges, unknown names."""

from dataclasses import dataclass

import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter

from vla_core.errors import ConfigError
from vla_ros import params
from vla_ros.params import param


@dataclass(frozen=True)
class Example:
    port: int = param('a port', low=1, high=65535)
    rate_hz: float = param('a rate', low=0.1, high=100.0)
    clock: str = param('a clock', one_of=('trusted', 'estimated'))
    names: list[str] = param('names')
    shout: bool = param('loud', default=False, read_only=True)


CONFIGURED = {'port': 1, 'rate_hz': 5.0, 'clock': 'trusted', 'names': ['a', 'b']}


@pytest.fixture
def make(ros, monkeypatch):
    nodes = []

    def make(configured=CONFIGURED, **overrides):
        monkeypatch.setattr(params, 'configured_values', lambda config: dict(configured))
        given = [Parameter(name, value=value) for name, value in overrides.items()]
        nodes.append(Node('example', parameter_overrides=given))
        params.declare(nodes[-1], Example, 'example')
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


def test_values_come_from_the_configured_file(make):
    values = params.read(make(), Example)
    assert values == Example(port=1, rate_hz=5.0, clock='trusted', names=['a', 'b'], shout=False)


def test_an_override_beats_the_file(make):
    assert params.read(make(port=7, names=['c']), Example).port == 7


def test_a_whole_number_is_a_good_number(make):
    assert params.read(make(rate_hz=3), Example).rate_hz == 3.0


def test_an_unknown_name_is_refused_with_the_nearest_one(make):
    with pytest.raises(ConfigError, match='no such parameter; did you mean port'):
        make(prot=3)


def test_an_unknown_name_in_the_file_is_refused(make):
    with pytest.raises(ConfigError, match=r'example\.yaml.*rate_herz.*did you mean rate_hz'):
        make(configured={**CONFIGURED, 'rate_herz': 1.0})


@pytest.mark.parametrize(
    ('name', 'value', 'text'),
    [
        ('port', 0, 'from 1 to 65535'),
        ('port', 'many', 'an integer'),
        ('port', True, 'an integer'),
        ('rate_hz', float('nan'), 'from 0.1 to 100'),
        ('clock', 'trustd', 'did you mean trusted'),
        ('names', ['a'][0], 'a list of texts'),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(make, name, value, text):
    with pytest.raises(ConfigError, match=text):
        make(**{name: value})


def test_a_value_that_is_nowhere_names_the_ways_to_give_it(make):
    with pytest.raises(ConfigError, match='--params-file'):
        make(configured={})


def test_every_parameter_is_described_with_range_and_read_only(make):
    node = make()
    port, shout = node.describe_parameters(['port', 'shout'])
    assert port.description == 'a port'
    assert (port.integer_range[0].from_value, port.integer_range[0].to_value) == (1, 65535)
    assert shout.read_only


def test_a_change_outside_the_allowed_is_refused_while_running(make):
    node = make()
    assert not node.set_parameters([Parameter('clock', value='wrong')])[0].successful
    assert node.set_parameters([Parameter('clock', value='estimated')])[0].successful
    assert params.read(node, Example).clock == 'estimated'


def test_a_file_may_nest_keys_and_must_hold_one_node(tmp_path):
    path = tmp_path / 'a.yaml'
    path.write_text('/**/a:\n  ros__parameters:\n    x: {y: 1}\n    z: 2\n')
    assert params.yaml_values(path) == {'x.y': 1, 'z': 2}
    path.write_text('a: 1\nb: 2\n')
    with pytest.raises(ConfigError, match='one node name'):
        params.yaml_values(path)
