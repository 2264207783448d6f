"""Statistics of sensor, state and action as JSON."""

import json

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
import torch

from vla_policy.errors import CheckpointError
from vla_policy.normalization import (
    load_normalization,
    Normalizer,
    save_normalization,
    Statistics,
)

numbers = st.floats(-1e3, 1e3)


@given(
    st.lists(st.tuples(numbers, st.floats(1e-3, 1e3)), min_size=1, max_size=5),
    st.sampled_from(['mean_std', 'min_max']),
)
def test_normalising_and_back_changes_nothing(pairs, method):
    first = np.array([a for a, _ in pairs])
    second = np.array([b if method == 'mean_std' else a + b for a, b in pairs])
    normalizer = Normalizer(Statistics(method, first, second)).double()
    values = torch.from_numpy(first + 0.3)
    assert torch.allclose(normalizer.invert(normalizer(values)), values)


def test_min_and_max_become_minus_one_and_one():
    normalizer = Normalizer(Statistics('min_max', np.array([2.0]), np.array([6.0])))
    assert normalizer(torch.tensor([[2.0], [6.0]])).flatten().tolist() == [-1.0, 1.0]


def test_measured_statistics_give_mean_zero_and_deviation_one_and_keep_constants():
    values = np.random.default_rng(0).normal(5, 3, (1000, 3))
    values[:, 2] = 1.0
    normalised = Normalizer(Statistics.mean_std(values))(torch.from_numpy(values).float())
    assert torch.allclose(normalised.mean(0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(normalised[:, :2].std(0), torch.ones(2), atol=1e-2)
    assert normalised[:, 2].abs().max() == 0


def test_file_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / 'n.json'
    statistics = Statistics('min_max', np.array([0.1, -2.0]), np.array([0.7, 3.0]))
    save_normalization(path, {'state': statistics})
    found = load_normalization(path, {'state': 2})['state']
    assert np.array_equal(found.first, statistics.first)
    assert np.array_equal(found.second, statistics.second)


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        ({}, 'expected the keys'),
        ([], 'expected the keys'),
        ({'state': {'method': 'mean_std', 'mean': [0, 0], 'std': [1, 0]}}, 'above 0'),
        ({'state': {'method': 'mean_std', 'mean': [0, 0], 'std': [1, float('nan')]}}, 'finite'),
        ({'state': {'method': 'mean_std', 'mean': [0], 'std': [1]}}, 'has 1 numbers, not 2'),
        ({'state': {'method': 'median', 'mean': [0, 0], 'std': [1, 1]}}, 'found'),
        ({'state': {'method': 'mean_std', 'mean': [0, 0]}}, 'found'),
        ({'state': 3}, 'state'),
    ],
)
def test_wrong_statistics_name_the_file_and_the_key(tmp_path, data, message):
    path = tmp_path / 'n.json'
    path.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_normalization(path, {'state': 2})
    assert str(path) in str(caught.value)
