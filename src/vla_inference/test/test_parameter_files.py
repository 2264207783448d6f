from pathlib import Path

import pytest

from vla_inference.nodes.parameters import ExpertParameters, VlmParameters
from vla_ros.params import specs, yaml_values

CONFIG = Path(__file__).resolve().parents[3] / 'launch' / 'config'
NODES = [('vlm_node', VlmParameters), ('action_expert_node', ExpertParameters)]


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
    vlm, expert = (yaml_values(CONFIG / f'{name}.yaml') for name, _ in NODES)
    assert vlm['task'] == expert['task']
