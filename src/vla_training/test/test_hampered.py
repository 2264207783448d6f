"""The demonstrator with a learner's eyes: what it sees, and what it does before the hub."""

from dataclasses import replace

import numpy as np
import pytest

from vla_core.rotation import euler_to_quat, rotate
from vla_sim.oct_signal import IMAGING_DEPTH_M
from vla_sim.scripted import ScriptedExpert
from vla_sim.scripted_values import BESIDE_A_LEARNER, Goal, Sight
from vla_sim.tissue import BORE_RADIUS_M, HUB_RADIUS_M
from vla_training.dagger.hampered import before_the_hub, HamperedDemonstrator, SEEN_M

TROCAR = euler_to_quat(np.array([0.3, 0.2, 0.1]))
OPENING_M = np.array([0.2, 0.01, 0.1])


def sight(tip_m, tick=0, opening_m=OPENING_M):
    """The needle along the axis, its tip in the trocar's frame."""
    tip = opening_m + rotate(TROCAR, np.asarray(tip_m))
    return Sight(tick * 100_000_000, tip, TROCAR, opening_m, TROCAR, 0.02)


def forward(delta):
    """Step of the chunk's last row along the trocar's axis, m."""
    return delta[-1, :3] @ rotate(TROCAR, np.array([0.0, 0.0, 1.0]))


@pytest.mark.parametrize(
    ('radial_m', 'depth_m', 'seen'),
    [
        (1.2 * BORE_RADIUS_M, -0.002, True),
        (0.8 * BORE_RADIUS_M, -0.002, False),  # the valve in the bore
        (1.2 * HUB_RADIUS_M, -0.002, False),  # past the hub
        (1.2 * BORE_RADIUS_M, -1.1 * IMAGING_DEPTH_M, False),  # too far for the OCT
        (1.2 * BORE_RADIUS_M, 0.001, False),  # inside
    ],
)
def test_the_hub_is_seen_where_the_oct_sees_it(radial_m, depth_m, seen):
    assert before_the_hub(sight((0.0, radial_m, depth_m))) is seen


def test_before_the_hub_it_never_goes_forward_and_backs_off_where_it_is_close():
    for depth_m, least in ((-0.0035, -1e-9), (-0.002, 1e-4)):
        driver = HamperedDemonstrator(3)
        for tick in range(8):
            delta = driver.drive(sight((0.0015, 0.0, depth_m), tick), 0.5)
            assert forward(delta) <= -least


def test_it_aims_at_where_the_trocar_was_in_the_pictures():
    driver, shift_m = HamperedDemonstrator(3), np.array([0.0, 0.0, 0.02])
    for tick in range(20):  # the eye has moved far since; the pictures are from before
        moved = sight((0.0, 0.0, -0.05), tick)
        if tick >= 12:
            moved = replace(moved, opening_m=OPENING_M + shift_m)
        delta = driver.drive(moved, 0.9 + 0.1 * (tick % 4))  # a pass every 0.4 s
    told = ScriptedExpert(3, BESIDE_A_LEARNER)
    for tick in range(20):
        wanted = told.plan(sight((0.0, 0.0, -0.05), tick), Goal.INSERT).delta
    off_m = np.linalg.norm(delta[-1, :3] - wanted[-1, :3])
    assert off_m < 0.25 * np.linalg.norm(wanted[-1, :3])


def test_a_pass_is_wrong_in_its_own_way_and_stays_so():
    driver = HamperedDemonstrator(3)
    wrong_m = []
    for tick in range(12):
        driver.drive(sight((0.0, 0.0, -0.05), tick), 0.1 * (tick % 4))
        wrong_m.append(driver._wrong_m.copy())
    assert all(np.array_equal(wrong_m[i], wrong_m[i - i % 4]) for i in range(12))
    assert len({tuple(wrong) for wrong in wrong_m}) == 3
    assert 0.0 < np.abs(wrong_m).max() < 5 * SEEN_M
    other = HamperedDemonstrator(4)
    other.drive(sight((0.0, 0.0, -0.05)), 0.0)
    assert not np.array_equal(other._wrong_m, wrong_m[0])
