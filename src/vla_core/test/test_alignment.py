import numpy as np
import pytest

from vla_core.alignment import InputAligner, is_pose, oldest
from vla_core.contract import Contract, SensorSpec, ViewSpec
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
