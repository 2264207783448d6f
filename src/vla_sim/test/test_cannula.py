"""The eye gives way to a needle that leans on its trocar."""

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_sim.cannula import CANNULA_M, EYE_N_M, giving_way
from vla_sim.lab import Lab
from vla_sim.shared import COLUMNS, WIDTH
from vla_sim.tissue import BORE_RADIUS_M

STRAIGHT = (0.0, 0.0, 1.0)
mm = st.floats(-0.008, 0.008)


def tilted(degrees, towards=0.0):
    angle = math.radians(degrees)
    across = math.sin(angle)
    return (across * math.cos(towards), across * math.sin(towards), math.cos(angle))


def test_a_needle_in_the_bore_moves_nothing_and_one_beside_it_takes_the_eye_along():
    assert giving_way((0.001, 0.0, 0.01), STRAIGHT) == (0.0, 0.0)
    x, y = giving_way((0.003, 0.0, 0.01), STRAIGHT)
    assert x == pytest.approx(0.003 - BORE_RADIUS_M) and y == 0.0
    assert 20.0 < EYE_N_M < 40.0  # N/m: half a gram-force a degree, some more


def test_a_tilt_about_the_opening_is_free_and_one_about_the_tip_is_not():
    """The bore is wide for its length: 12 degrees fit, while the tip may be anywhere below."""
    along, depth = tilted(10.0), 0.017
    at_opening = depth * math.tan(math.radians(10.0))
    assert giving_way((at_opening, 0.0, depth), along)[0] < 1e-5
    assert math.hypot(*giving_way((0.0, 0.0, depth), along)) > 0.0015


@given(x=mm, y=mm, depth=st.floats(1e-4, 0.025), degrees=st.floats(0, 8), towards=st.floats(0, 6))
def test_afterwards_the_needle_is_within_the_bore_from_end_to_end(x, y, depth, degrees, towards):
    along = tilted(degrees, towards)
    way = giving_way((x, y, depth), along)
    for at in (0.0, min(depth, CANNULA_M)):
        back = (depth - at) / along[2]
        shaft = x - back * along[0] - way[0], y - back * along[1] - way[1]
        assert math.hypot(*shaft) < BORE_RADIUS_M + 4e-4


def test_the_lab_moves_the_eye_with_the_needle_and_tells_the_force():
    """The arm's base turns by a few millimetres at the needle while it is inside."""
    lab = Lab(3)
    while not (lab.truth().inside and lab.truth().depth_m > 0.012):
        lab.follow_expert(25)
    assert lab.contact.side_n == 0.0 and np.array_equal(lab.opening_m, lab.scene.opening_m)
    start, state = lab.joint_rad, np.zeros(WIDTH)
    for turned in np.linspace(0.0, 0.02, 300):
        lab.command(start + np.array([turned, 0, 0, 0, 0, 0]))
        lab.step()
    lab.step(200)
    truth, went_m = lab.truth(), lab.opening_m - lab.scene.opening_m
    assert 0.001 < np.linalg.norm(went_m) < 0.006
    assert truth.contact.side_n == pytest.approx(EYE_N_M * np.linalg.norm(went_m), rel=1e-6)
    lab.write_state(state, scripted=False)
    assert state[COLUMNS.side] == truth.contact.side_n
    moved = state[COLUMNS.phantom_position] - lab.scene.phantom_position_m
    np.testing.assert_allclose(moved, went_m, atol=1e-12)
    local = lab.trocar_rotation.T @ (truth.tip_m - lab.opening_m)
    assert local[2] == pytest.approx(truth.depth_m) and truth.inside
    assert np.hypot(*local[:2]) == pytest.approx(truth.radial_m)
    lab.close()
