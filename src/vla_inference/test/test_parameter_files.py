from pathlib import Path

import pytest

from vla_inference.nodes.parameters import ExpertParameters, VlmParameters
from vla_inference.nodes.task_parameters import ScriptedParameters, TaskParameters
from vla_ros.params import specs, yaml_values

CONFIG = Path(__file__).resolve().parents[3] / 'launch' / 'config'
MODEL = [('vlm_node', VlmParameters), ('action_expert_node', ExpertParameters)]
NODES = [
    *MODEL,
    ('task_node', TaskParameters),
    ('scripted_expert_node', ScriptedParameters),
]


@pytest.mark.parametrize(('name', 'parameters'), NODES)
def test_the_yaml_names_exactly_the_declared_parameters(name, parameters):
    values, declared = yaml_values(CONFIG / f'{name}.yaml'), specs(parameters)
    assert sorted(values) == sorted(declared)
    for key, spec in declared.items():
        spec.check(values[key], name)
        assert spec.description


@pytest.mark.parametrize(('name', 'parameters'), NODES)
def test_numbers_have_ranges(name, parameters):
    for spec in specs(parameters).values():
        if spec.type in (int, float):
            assert None not in (spec.low, spec.high), spec.name


def test_both_nodes_start_with_the_same_task():
    vlm, expert = (yaml_values(CONFIG / f'{name}.yaml') for name, _ in MODEL)
    assert vlm['task'] == expert['task']


def test_task_node_and_gate_subtract_the_same_zero_of_the_force():
    values = [yaml_values(CONFIG / f'{name}.yaml') for name in ('task_node', 'robot_driver')]
    assert values[0]['force_zero_n'] == values[1]['force_zero_n']
