import numpy as np
import pytest

from vla_core.alignment import InputAligner, oldest
from vla_core.contract import Contract, SensorSpec, ViewSpec
from vla_core.pose_track import is_pose
from vla_core.timebase import NS

MS = NS // 1000
T0 = 1_700_000_000 * NS
CONTRACT = Contract('test', 1, (ViewSpec('view1', 'a'),), sensor=SensorSpec(channels=2))
QUAT = np.array([0, 0.5**0.5, 0, 0.5**0.5])


def fed(until_ns, **settings):
    made = InputAligner(CONTRACT, **settings)
    stamps = np.arange(T0, until_ns, NS // 650)
    made.push_samples(stamps, np.stack([stamps % 1000, stamps % 77], 1).astype(np.float32))
    for stamp_ns in range(T0, until_ns, 100 * MS):
        made.set_joints(stamp_ns, np.full(6, (stamp_ns - T0) / NS))
        made.set_pose(stamp_ns, np.array([0.1, 0.2, 0.3]), QUAT)
    return made


def test_sensor_and_robot_are_told_with_the_stamps_of_their_newest_content():
    aligned = fed(T0 + NS).at(T0 + NS)
    assert aligned.window.fill == 1.0 and aligned.robot_ns == T0 + 900 * MS
    assert aligned.sensor_ns == aligned.window.last_ns


def test_a_robot_that_does_not_change_ages_unless_it_may_stand_still():
    for must_change, stamp_ns in ((True, T0 + 900 * MS), (False, T0 + 1000 * MS)):
        made = fed(T0 + NS, robot_must_change=must_change)
        made.set_joints(T0 + NS, np.full(6, 0.9))
        made.set_pose(T0 + NS, np.array([0.1, 0.2, 0.3]), QUAT)
        assert made.at(T0 + NS).robot_ns == stamp_ns


def test_what_is_no_robot_state_is_counted_and_left_out():
    made = InputAligner(CONTRACT)
    made.set_joints(T0, np.full(6, np.nan))
    made.set_pose(T0, np.zeros(3), np.array([0, 0, 0, 1.5]))
    assert made.counters.get('robot_bad') == 2 and made.at(T0).robot is None
    assert not is_pose(np.full(3, np.inf), QUAT) and is_pose(np.zeros(3), QUAT)


def test_nothing_is_known_after_forget():
    made = fed(T0 + NS)
    made.forget()
    aligned = made.at(T0 + NS)
    assert (aligned.sensor_ns, aligned.robot, aligned.robot_ns) == (None, None, None)
    assert aligned.window.fill == 0


def test_the_state_vector_counts_its_rotation_from_the_reference():
    made = fed(T0 + NS)
    state = made.state(made.at(T0 + NS).robot)
    assert state[:6] == pytest.approx(0.9) and state[9:] == pytest.approx(0, abs=1e-7)
    assert oldest(None, 3, 2) == 2 and oldest(None) is None


def moved(until_ns=T0 + NS):
    """Arm that moves 0.1 m/s along x and turns 0.5 rad/s about z, told every 20 ms."""
    made = InputAligner(CONTRACT)
    for stamp_ns in range(T0, until_ns + 1, 20 * MS):
        seconds = (stamp_ns - T0) / NS
        made.set_joints(stamp_ns, np.full(6, seconds))
        quat = np.array([0.0, 0.0, np.sin(0.25 * seconds), np.cos(0.25 * seconds)])
        made.set_pose(stamp_ns, np.array([0.1 * seconds, 0.0, 0.3]), quat)
    return made, made.at(until_ns).robot


def test_motion_since_a_picture_is_the_way_between_the_poses_at_both_instants():
    made, robot = moved()
    motion = made.motion_since([T0 + 500 * MS, T0 + 765 * MS, T0 + 500 * MS], robot)
    assert motion.dtype == np.float32 and motion.shape == (3, 6)
    for row, seconds in zip(motion, (0.5, 0.235, 0.5)):
        np.testing.assert_allclose(row[:3], [0.1 * seconds, 0, 0], atol=1e-6)
        np.testing.assert_allclose(row[3:], [0, 0, 0.5 * seconds], atol=1e-6)


def test_no_motion_is_known_since_a_picture_that_is_newer_than_the_robot_state():
    made, robot = moved()
    assert not made.motion_since([T0 + NS + 5 * MS], robot).any()


def test_motion_is_unknown_before_the_first_pose_over_a_hole_and_beyond_the_stop_limit():
    made, robot = moved()
    assert np.isnan(made.motion_since([T0 - MS, 0], robot)).all()
    made, robot = moved(T0 + 5 * NS)
    assert np.isnan(made.motion_since([T0 + 1_900 * MS], robot)).all()
    assert np.isfinite(made.motion_since([T0 + 2_100 * MS], robot)).all()
    for stamp_ns in (T0 + 6 * NS, T0 + 6 * NS + 20 * MS):
        made.set_joints(stamp_ns, np.full(6, stamp_ns / NS))
        made.set_pose(stamp_ns, np.array([0.1, 0.2, 0.3]), QUAT)
    assert np.isnan(made.motion_since([T0 + 5_500 * MS], made.at(T0 + 7 * NS).robot)).all()


def test_a_clock_that_was_set_back_leaves_no_poses_of_the_old_time():
    made, _ = moved()
    early = T0 - 100 * NS
    for number in range(5):
        stamp_ns = early + number * 20 * MS
        made.set_joints(stamp_ns, np.full(6, number / 7))
        made.set_pose(stamp_ns, np.array([0.01 * number, 0.0, 0.3]), QUAT)
    robot = made.at(early + 80 * MS).robot
    assert robot.stamp_ns == early + 80 * MS
    motion = made.motion_since([early + 60 * MS], robot)
    np.testing.assert_allclose(motion[0, :3], [0.01, 0, 0], atol=1e-6)
