import math

import numpy as np
import pytest

from vla_core.surface import surface_distance_m, SurfaceSettings

SETTINGS = SurfaceSettings()
BINS = 1025


def profile(distance_m=None, height=160.0, seed=0, scatter=70.0):
    """Noise floor, the fibre's reflection, and a surface with speckle behind it."""
    rng = np.random.default_rng(seed)
    depth = np.arange(BINS) * SETTINGS.depth_per_bin_m
    values = 46.0 + 3.5 * rng.standard_normal(BINS) + 70.0 * np.exp(-((np.arange(BINS) / 3) ** 2))
    if distance_m is not None:
        behind = depth - distance_m
        decay = np.exp(-behind.clip(0) / 0.0007)
        values += (behind >= 0) * scatter * decay * rng.exponential(1.0, BINS)
        values += height * np.exp(-((behind / 10e-6) ** 2))
    return values


@pytest.mark.parametrize('distance_mm', [0.1, 0.3, 0.7, 1.0, 1.5, 2.5, 3.5])
@pytest.mark.parametrize('seed', range(5))
def test_distance_is_that_of_the_first_surface(distance_mm, seed):
    found = surface_distance_m(profile(distance_mm * 1e-3, seed=seed), SETTINGS)
    assert found == pytest.approx(distance_mm * 1e-3, abs=30e-6)


@pytest.mark.parametrize('seed', range(50))
def test_noise_alone_is_no_surface(seed):
    assert math.isnan(surface_distance_m(profile(seed=seed), SETTINGS))


def test_offset_and_drift_of_the_floor_do_not_matter():
    assert surface_distance_m(profile(1e-3) + 500.0, SETTINGS) == pytest.approx(1e-3, abs=30e-6)


def test_the_reflection_of_the_fibre_is_no_surface():
    assert math.isnan(surface_distance_m(profile(height=0.0, scatter=0.0), SETTINGS))


@pytest.mark.parametrize(
    'bad', [[], [1.0, 2.0], np.full(BINS, np.nan), np.zeros((3, BINS)), np.zeros(BINS)]
)
def test_a_profile_that_says_nothing_gives_nan(bad):
    assert math.isnan(surface_distance_m(bad, SETTINGS))


@pytest.mark.parametrize(
    ('name', 'value'),
    [('depth_per_bin_m', 0.0), ('contrast', -1.0), ('peak_width_m', math.nan), ('blind_m', -1.0)],
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        SurfaceSettings(**{name: value})
