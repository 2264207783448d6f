"""Force and A-scan against distance and contact."""

import numpy as np
import pytest

from vla_sim import oct_signal
from vla_sim import scene as sc
from vla_sim.oct_signal import BIN_M, OctSignal, PROFILE_BINS
from vla_sim.tissue import FAR_M, Surface, Tissue, TISSUE_PUNCTURE_N, VALVE_DEPTH_M

STRAIGHT = (0.0, 0.0, 1.0)


def sample(signal, distance_m, surface, index=0, force_n=0.0):
    force, profile = signal.synthesise(
        np.array([index]),
        np.array([index / 650]),
        np.array([distance_m]),
        np.array([int(surface)]),
        np.array([force_n]),
    )
    return force[0], profile[0]


def drive(tissue, depths, speed=0.004):
    return [tissue.update((0.0, 0.0, float(depth)), STRAIGHT, speed) for depth in depths]


@pytest.fixture(scope='module')
def signal():
    return OctSignal(0)


@pytest.mark.parametrize('distance_mm', [0.2, 0.5, 1.0, 2.0, 3.0, 3.6])
@pytest.mark.parametrize('surface', [Surface.VALVE, Surface.TISSUE, Surface.HARD])
def test_surface_peak_sits_at_the_distance(signal, surface, distance_mm):
    found = []
    for index in range(9):
        _, profile = sample(signal, distance_mm * 1e-3, surface, index * 20)
        skip = 20  # the fibre's own reflection
        found.append(int(np.argmax(profile[skip:])) + skip)
    assert np.median(found) * BIN_M * 1e3 == pytest.approx(distance_mm, abs=0.05)


def test_nothing_echoes_beyond_the_imaging_depth(signal):
    _, far = sample(signal, 0.005, Surface.HARD)
    _, none = sample(signal, FAR_M, Surface.NOTHING)
    np.testing.assert_array_equal(far, none)


def test_echo_fades_with_depth_in_tissue(signal):
    profiles = [sample(signal, 0.001, Surface.TISSUE, index * 17)[1] for index in range(40)]
    mean = np.mean(profiles, axis=0)
    shallow, deep = (mean[int(d / BIN_M) :][:80].mean() for d in (0.0015, 0.0030))
    assert shallow > deep + 5
    assert deep == pytest.approx(oct_signal.NOISE_MEAN, abs=8)


def test_tip_in_the_tissue_sees_tissue_from_the_first_bin(signal):
    inside = np.mean(
        [sample(signal, -0.0002, Surface.TISSUE, i * 17)[1] for i in range(20)], axis=0
    )
    outside = np.mean(
        [sample(signal, 0.002, Surface.TISSUE, i * 17)[1] for i in range(20)], axis=0
    )
    assert inside[20:150].mean() > outside[20:150].mean() + 20


def test_speckle_and_noise_change_from_sample_to_sample(signal):
    _, first = sample(signal, 0.001, Surface.TISSUE, 0)
    _, second = sample(signal, 0.001, Surface.TISSUE, 1)
    assert np.mean(first != second) > 0.99


def test_levels_are_those_of_the_real_sensor(signal):
    force, profile = sample(signal, FAR_M, Surface.NOTHING)
    assert profile.shape == (PROFILE_BINS,) and profile.dtype == np.float32
    assert profile.mean() == pytest.approx(50, abs=5)
    assert force == pytest.approx(1.0, abs=0.05)


def test_same_index_gives_the_same_sample_whatever_the_batch():
    index = np.arange(100, 110)
    arguments = (index / 650, np.full(10, 0.001), np.full(10, 2), np.zeros(10))
    force, profile = OctSignal(3).synthesise(index, *arguments)
    part_force, part = OctSignal(3).synthesise(index[4:6], *(a[4:6] for a in arguments))
    np.testing.assert_array_equal(profile[4:6], part)
    np.testing.assert_array_equal(force[4:6], part_force)
    assert not np.array_equal(profile, OctSignal(4).synthesise(index, *arguments)[1])


def test_distance_counts_down_to_the_valve_and_then_to_the_tissue():
    scene = sc.draw_scene(0)
    tissue = Tissue(scene)
    depths = np.arange(-0.010, scene.tissue_depth_m - 0.001, 1e-5)
    contacts = drive(tissue, depths)
    before = contacts[500]
    assert before.surface is Surface.VALVE
    assert before.distance_m == pytest.approx(VALVE_DEPTH_M - depths[500])
    assert contacts[-1].surface is Surface.TISSUE
    assert contacts[-1].distance_m == pytest.approx(scene.tissue_depth_m - depths[-1])
    assert before.force_n == 0.0


def test_force_rises_on_contact_drops_at_puncture_and_rubs_inside():
    scene = sc.draw_scene(1)
    tissue = Tissue(scene)
    forces = np.array([c.force_n for c in drive(tissue, np.arange(0.0, 0.012, 1e-5))])
    top = int(np.argmax(forces))
    assert forces[top] == pytest.approx(scene.puncture_n, rel=0.1)
    assert (np.diff(forces[101 : top + 1]) > 0).all(), 'rises up to the puncture'
    assert forces[top + 1] < 0.5 * forces[top], 'drops at the puncture'
    assert tissue.punctures == 1 and tissue.valve_open
    assert 0.02 < forces[-1] < 0.2 and forces[-1] > forces[top + 1], 'friction grows with depth'


def test_friction_turns_round_when_the_needle_retracts():
    scene = sc.draw_scene(1)
    tissue = Tissue(scene)
    drive(tissue, np.arange(0.0, 0.010, 1e-5))
    assert tissue.update((0, 0, 0.010), STRAIGHT, -0.004).force_n < -0.02
    assert tissue.update((0, 0, 0.010), STRAIGHT, 0.0).force_n == pytest.approx(0.0)


def test_pressing_on_the_tissue_is_felt_and_pierces_it_in_the_end():
    scene = sc.draw_scene(2)
    tissue = Tissue(scene)
    drive(tissue, np.arange(0.0, scene.tissue_depth_m, 1e-5), speed=0.0)
    contacts = drive(tissue, scene.tissue_depth_m + np.arange(0, 0.003, 1e-5), speed=0.0)
    assert max(c.force_n for c in contacts) == pytest.approx(TISSUE_PUNCTURE_N, rel=0.1)
    assert tissue.tissue_punctured
    assert contacts[-1].distance_m < 0


def test_valve_closes_again_after_the_needle_has_left():
    tissue = Tissue(sc.draw_scene(1))
    drive(tissue, np.arange(0.0, 0.010, 1e-5))
    drive(tissue, np.arange(0.010, -0.002, -1e-5), speed=-0.004)
    assert not tissue.valve_open
    drive(tissue, np.arange(0.0, 0.010, 1e-5))
    assert tissue.punctures == 2


def test_needle_beside_the_opening_meets_something_hard():
    tissue = Tissue(sc.draw_scene(0))
    aside = 0.004
    above = tissue.update((aside, 0.0, -0.004), STRAIGHT, 0.004)
    assert above.surface is Surface.HARD and above.distance_m < 0.008
    pressed = [tissue.update((aside, 0.0, z), STRAIGHT, 0.004) for z in np.arange(0, 0.006, 1e-4)]
    assert pressed[-1].force_n > 1.0
    assert not tissue.inside
