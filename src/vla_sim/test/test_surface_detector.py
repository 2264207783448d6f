"""The detector of vla_core finds the surfaces of the simulated sensor."""

import math

import numpy as np
import pytest

from vla_core.surface import surface_distance_m, SurfaceSettings
from vla_sim.oct_signal import BIN_M, OctSignal, PROFILE_BINS
from vla_sim.tissue import FAR_M, Surface

SETTINGS = SurfaceSettings()


def detected(surface, distance_m, count=60):
    signal = OctSignal(3)
    _, profiles = signal.synthesise(
        np.arange(count),
        np.arange(count) / 650,
        np.full(count, distance_m),
        np.full(count, int(surface)),
        np.zeros(count),
    )
    return np.array([surface_distance_m(profile, SETTINGS) for profile in profiles])


@pytest.mark.parametrize('surface', [Surface.VALVE, Surface.TISSUE, Surface.HARD])
@pytest.mark.parametrize('distance_mm', [0.2, 1.0, 2.0, 3.4])
def test_every_sample_shows_the_distance(surface, distance_mm):
    found = detected(surface, distance_mm * 1e-3)
    assert np.abs(found - distance_mm * 1e-3).max() < 40e-6


def test_nothing_ahead_gives_nan_in_every_sample():
    assert all(math.isnan(d) for d in detected(Surface.NOTHING, FAR_M, 300))


def test_depth_per_bin_is_that_of_the_simulated_sensor():
    assert pytest.approx(BIN_M) == SETTINGS.depth_per_bin_m
    assert PROFILE_BINS == 1025
