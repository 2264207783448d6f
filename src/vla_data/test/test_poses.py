from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core.counters import Counters
from vla_core.pose_track import PoseTrack
from vla_core.rotation import apply_rotvec, rotvec_to_quat
from vla_data.samples.poses import ActionPath

MS = 1_000_000
T0 = 1_700_000_000 * 1000 * MS
STEP = 100 * MS
GAP = 250 * MS
VELOCITY = np.array([0.01, -0.02, 0.03])
SPIN = np.array([0.2, 0.1, -0.3])
START = rotvec_to_quat([0.0, np.pi / 2, 0.0])


def pose(stamp_ns):
    """Constant velocity (m/s) and constant spin (rad/s) about an axis of the base frame."""
    seconds = (stamp_ns - T0) / 1e9
    return VELOCITY * seconds, apply_rotvec(SPIN * seconds, START)


def track(stamps_ns):
    made = PoseTrack(Counters())
    for stamp_ns in stamps_ns:
        made.add(stamp_ns, *pose(stamp_ns))
    return made


def action_of(made, tick_ns):
    path = ActionPath(made, 8, STEP, GAP)
    path.advance(tick_ns)
    return path.action()


@settings(max_examples=60, deadline=None)
@given(
    jitter=st.lists(st.integers(0, 90), min_size=40, max_size=40),
    order=st.randoms(use_true_random=False),
    phase_ms=st.floats(0.0, 100.0),
)
def test_the_action_of_steady_motion_is_velocity_times_the_period(jitter, order, phase_ms):
    stamps = [T0 + (number * 100 + late) * MS for number, late in enumerate(jitter)]
    order.shuffle(stamps)
    action, mask = action_of(track(stamps), T0 + 1000 * MS + round(phase_ms * MS))
    assert mask.all()
    assert action[:, :3] == pytest.approx(np.tile(VELOCITY * 0.1, (8, 1)), abs=1e-9)
    assert action[:, 3:] == pytest.approx(np.tile(SPIN * 0.1, (8, 1)), abs=1e-9)


def test_the_action_does_not_depend_on_the_frame_the_tool_is_turned_to():
    made = track(range(T0, T0 + 2000 * MS, 10 * MS))
    action, _ = action_of(made, T0)
    later, _ = action_of(made, T0 + 1000 * MS)
    assert action == pytest.approx(later, abs=1e-9)


def test_steps_beyond_the_last_pose_are_masked_and_zero():
    action, mask = action_of(track(range(T0, T0 + 451 * MS, 10 * MS)), T0)
    assert mask.tolist() == [True] * 4 + [False] * 4
    assert (action[4:] == 0).all() and (action[:4, :3] != 0).all()


def test_steps_into_a_hole_of_the_path_are_masked():
    stamps = [*range(T0, T0 + 301 * MS, 10 * MS), *range(T0 + 560 * MS, T0 + 2000 * MS, 10 * MS)]
    _, mask = action_of(track(stamps), T0)
    assert mask.tolist() == [True, True, True, False, False, False, True, True]


def test_an_empty_path_masks_everything():
    action, mask = action_of(PoseTrack(Counters()), T0)
    assert not mask.any() and not action.any() and action.shape == (8, 6)


def test_bad_and_double_poses_are_counted_and_change_nothing():
    counters = Counters()
    made = PoseTrack(counters)
    made.add(T0, *pose(T0))
    made.add(T0, np.ones(3), START)
    made.add(T0 + MS, np.full(3, np.nan), START)
    made.add(T0 + MS, np.zeros(3), np.zeros(4))
    assert counters.snapshot() == {'pose_bad': 2, 'pose_duplicates': 1} and len(made) == 1
    assert made.at(T0, GAP)[:3].tolist() == [0, 0, 0]


def test_forgetting_keeps_what_is_as_new_as_asked_for():
    made = track([T0, T0 + STEP, T0 + 2 * STEP])
    made.forget_before(T0 + STEP)
    assert len(made) == 2 and made.last_ns == T0 + 2 * STEP


def test_ticks_one_after_the_other_give_what_each_gives_alone():
    made = track(range(T0, T0 + 3000 * MS, 30 * MS))
    path = ActionPath(made, 8, STEP, GAP)
    for tick_ns in range(T0, T0 + 2500 * MS, STEP):
        path.advance(tick_ns)
        for mine, alone in zip(path.action(), action_of(made, tick_ns)):
            assert mine.tobytes() == alone.tobytes()


def test_a_pose_that_comes_after_it_was_needed_changes_no_later_tick():
    made = track(range(T0, T0 + 3000 * MS, 200 * MS))
    path = ActionPath(made, 8, STEP, GAP)
    path.advance(T0)
    before = path.action()[0]
    made.add(T0 + 500 * MS, np.ones(3), START)
    path.advance(T0 + STEP)
    assert path.action()[0][:-1] == pytest.approx(before[1:], abs=0)
