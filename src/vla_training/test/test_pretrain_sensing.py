"""The sensor encoder's pretraining: simulated windows, and what is learned from them."""

import numpy as np
import pytest
import torch

from vla_policy.checkpoint import load_expert
from vla_sim.oct_signal import BIN_M, IMAGING_DEPTH_M, PROFILE_BINS
from vla_sim.tissue import Surface
from vla_training.pretrain.sensing import (
    SensingModel,
    SensingOptions,
    train_sensing,
    window_statistics,
)
from vla_training.pretrain.windows import WindowSource

torch.set_num_threads(1)


@pytest.fixture(scope='module')
def windows():
    return WindowSource(65, 0).draw(300, np.random.default_rng(0))


def test_windows_have_the_shape_and_units_of_the_live_ones(windows):
    assert windows.values.shape == (300, 65, 1 + PROFILE_BINS)
    assert windows.values.dtype == np.float32
    assert abs(np.median(windows.values[:, :, 0])) < 0.5  # N, without the sensor's offset
    assert 40 < windows.values[:, :, 500:].mean() < 80  # A-scan, as documented


def test_a_hard_surface_echoes_in_the_bin_of_its_distance(windows):
    seen = windows.surface == Surface.HARD
    ahead = seen & (windows.distance_m[:, 1] > 0.0003)
    assert ahead.sum() > 5
    for values, distance_m in zip(windows.values[ahead], windows.distance_m[ahead]):
        for row, expected_m in ((0, distance_m[0]), (-1, distance_m[1])):
            if 0.0003 < expected_m < IMAGING_DEPTH_M - 0.0001:
                brightest = 60 + np.argmax(values[row, 61:])
                assert abs(brightest * BIN_M - expected_m) < 0.00005


def test_what_lies_beyond_the_imaging_depth_is_nothing(windows):
    nothing = windows.surface == Surface.NOTHING
    assert np.isnan(windows.distance_m[nothing]).all()
    assert (windows.distance_m[~nothing, 1] < IMAGING_DEPTH_M).all()
    assert 0.15 < nothing.mean() < 0.45


def test_the_same_generator_draws_the_same_windows():
    first, second = (WindowSource(65, 1).draw(3, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first.values, second.values)


def test_the_encoder_learns_distances_and_nothing_else_changes(nano):
    expert = load_expert(nano)
    expert.normalize_sensor = type(expert.normalize_sensor)(window_statistics(65, 0))
    before = {name: weight.clone() for name, weight in expert.state_dict().items()}
    lines = []
    train_sensing(expert, SensingOptions(steps=40, batch=16, warm_up=5), lines.append)
    after = expert.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed and all(name.startswith('trunk.sensor.') for name in changed)
    assert 'surface right' in lines[-1]


def test_surfaces_that_echo_nothing_have_no_distance_to_be_wrong_about(nano, windows):
    model = SensingModel(load_expert(nano))
    free = np.flatnonzero(windows.surface == Surface.NOTHING)[:4]
    only = type(windows)(windows.values[free], windows.surface[free], windows.distance_m[free])
    loss = model.loss(only)
    assert torch.isfinite(loss)
    loss.backward()
