"""The scripted expert in closed loop, in the headless lab and against states it did not choose."""

import numpy as np
import pytest
from scripted_tools import Driver, sight_of

from vla_core.arms import meca500 as kin
from vla_core.rotation import apply_rotvec, euler_to_quat, quat_inverse, relative_rotvec, rotate
from vla_sim.disturbance import Disturber
from vla_sim.lab import Lab
from vla_sim.scripted import ScriptedExpert, start_pose
from vla_sim.scripted_motion import Pace, Smoother
from vla_sim.scripted_values import (
    BESIDE_A_LEARNER,
    Goal,
    PERIOD_S,
    Phase,
    Settings,
    Sight,
    STEPS,
)
from vla_sim.tissue import BORE_RADIUS_M

INSERTIONS = range(20)


@pytest.fixture(scope='module')
def lab():
    lab = Lab(0)
    yield lab
    lab.close()


def hold_error_m(lab):
    return lab.truth().depth_m - (lab.scene.tissue_depth_m - Settings().above_tissue_m)


@pytest.mark.parametrize('seed', INSERTIONS)
def test_insertion_ends_above_the_tissue_without_touching_the_rim(lab, seed):
    lab.reset(seed)
    trip = Driver(lab).run(ScriptedExpert(seed), Goal.INSERT, 25.0)
    assert trip.plans[-1].phase is Phase.HOLD and trip.plans[-1].done
    assert abs(hold_error_m(lab)) < 0.2e-3
    assert max(t.depth_m for t in trip.truths) - lab.scene.tissue_depth_m < -0.7e-3
    assert not trip.rim and not lab.truth().tissue_punctured and lab.truth().valve_open
    entered = [t for t in trip.truths if t.depth_m > -0.002]
    assert max(t.radial_m for t in entered) < 0.3e-3
    assert np.degrees(max(t.angle_rad for t in entered)) < 1.0
    assert 9.0 < len(trip.plans) * PERIOD_S < 20.0
    assert np.degrees(np.array(trip.joints)[:, 4].min()) > 5.0, 'too near the wrist singularity'
    assert max(trip.forces) < 0.5


@pytest.mark.parametrize('seed', range(2))
def test_retraction_leaves_straight_and_ends_at_the_drawn_start_pose(lab, seed):
    lab.reset(seed)
    expert, driver = ScriptedExpert(seed), Driver(lab)
    driver.run(expert, Goal.INSERT, 25.0)
    trip = driver.run(expert, Goal.RETRACT, 25.0)
    assert trip.plans[-1].phase is Phase.REST and trip.plans[-1].done and not trip.rim
    inside = [t for t in trip.truths if t.depth_m > 0]
    assert max(t.radial_m for t in inside) < 0.1e-3
    tip, quat = start_pose(seed, 1)
    assert np.linalg.norm(lab.truth().tip_m - tip) < 1e-3
    assert np.linalg.norm(relative_rotvec(sight_of(lab).tip_xyzw, quat)) < 0.02


def test_two_episodes_start_from_different_poses(lab):
    poses = [start_pose(4, episode)[0] for episode in range(3)]
    assert np.linalg.norm(poses[0] - poses[1]) > 1e-3
    assert np.linalg.norm(poses[1] - poses[2]) > 1e-3


def test_progress_grows_from_nothing_to_one(lab):
    lab.reset(5)
    plans = Driver(lab).run(ScriptedExpert(5), Goal.INSERT, 25.0).plans
    progress = [plan.progress for plan in plans]
    assert progress[0] == 0.0 and progress[-1] == 1.0
    assert min(np.diff(progress)) > -0.02


@pytest.mark.parametrize('seed', range(2))
def test_needle_follows_an_eye_that_moves(lab, seed):
    lab.reset(seed)

    def moving(lab):  # 0.5 mm at 0.15 Hz
        t = lab.time_s
        return sight_of(lab, np.array([0.0005 * np.sin(2 * np.pi * 0.15 * t), 0.0, 0.0]))

    driver, expert = Driver(lab), ScriptedExpert(seed)
    driver.run(expert, Goal.INSERT, 14.0, until_done=False, see=moving)
    errors = []
    for _ in range(30):
        driver.run(expert, Goal.INSERT, PERIOD_S, until_done=False, see=moving)
        sight = moving(lab)
        offset = rotate(sight.trocar_xyzw * (-1, -1, -1, 1), sight.tip_m - sight.opening_m)
        errors.append(np.linalg.norm(offset[:2]))
    assert max(errors) < 0.25e-3


@pytest.mark.parametrize('seed', range(3))
def test_disturbed_demonstrations_recover_and_touch_nothing(lab, seed):
    lab.reset(seed)
    disturber = Disturber(np.random.default_rng(seed))
    labels, executed = [], []

    def alter(plan):
        delta = disturber.disturb(plan, sight_of(lab))
        labels.append(plan.delta[0])
        executed.append(delta[0])
        return delta

    trip = Driver(lab).run(ScriptedExpert(seed), Goal.INSERT, 40.0, alter=alter)
    assert trip.plans[-1].done and not trip.rim
    assert disturber.pushes >= 2
    assert np.abs(np.array(executed) - labels)[:, :3].max() > 0.2e-3, 'no push to recover from'
    entered = [t for t in trip.truths if t.depth_m > 0]
    assert max(t.radial_m for t in entered) < BORE_RADIUS_M / 2
    assert abs(hold_error_m(lab)) < 0.5e-3


def test_disturbances_are_the_same_for_the_same_seed(lab):
    lab.reset(0)
    sight = sight_of(lab)
    plan = ScriptedExpert(0).plan(sight, Goal.INSERT)
    runs = []
    for _ in range(2):
        disturber = Disturber(np.random.default_rng(3))
        runs.append([disturber.disturb(plan, sight) for _ in range(80)])
    assert np.array_equal(*runs)
    assert max(np.abs(delta - plan.delta).max() for delta in runs[0]) > 1e-4


# Without physics: perfect execution, any state ------------------------------------------------


class Ideal:
    """A tool that does exactly what step 0 says."""

    def __init__(self, tip_m, tip_xyzw, opening_m, trocar_xyzw, tissue_depth_m=0.018):
        self.state = [tip_m, tip_xyzw]
        self.rest = (opening_m, trocar_xyzw, tissue_depth_m)
        self.tick = 0

    def sight(self):
        return Sight(self.tick * 100_000_000 + 1, *self.state, *self.rest)

    def local(self):
        opening, quat, _ = self.rest
        return rotate(quat * (-1, -1, -1, 1), self.state[0] - opening)

    def do(self, step):
        self.state = [self.state[0] + step[:3], apply_rotvec(step[3:], self.state[1])]
        self.tick += 1


def in_scene(local_m, turn_rad=(0.0, 0.0, 0.0)):
    """An ideal tool at a place in the trocar frame, turned by a base-frame rotation vector."""
    trocar = euler_to_quat(kin.euler_rad(kin.frame_along(np.array([0.47, 0.05, -0.88]))))
    opening = np.array([0.23, 0.01, 0.1])
    tip = opening + rotate(trocar, np.asarray(local_m, float))
    return Ideal(tip, apply_rotvec(np.asarray(turn_rad), trocar), opening, trocar)


BAD_STARTS = [
    ((0.006, 0.0, -0.0035), (0.0, 0.0, 0.0)),  # beside the opening, nearly touching
    ((0.0012, -0.0006, -0.002), (0.05, 0.0, 0.02)),
    ((0.03, 0.02, -0.012), (0.3, 0.2, 0.0)),
    ((0.0, 0.0, -0.004), (0.0, 0.09, 0.0)),  # on the axis, but askew
    ((0.0002, 0.0003, 0.006), (0.01, 0.0, 0.0)),  # already inside
    ((-0.02, 0.03, -0.06), (-0.3, 0.1, 0.5)),
]


@pytest.mark.parametrize(('local_m', 'turn_rad'), BAD_STARTS)
def test_any_start_leads_in_without_crossing_the_rim(local_m, turn_rad):
    tool, expert = in_scene(local_m, turn_rad), ScriptedExpert(0)
    for _ in range(400):
        plan = expert.plan(tool.sight(), Goal.INSERT)
        tool.do(plan.delta[0])
        x, y, depth = tool.local()
        radial = np.hypot(x, y)
        assert depth < 0.0 or radial < BORE_RADIUS_M / 2, 'crossed the rim'
        assert depth < -0.002 or radial < 0.0015, 'too near the hub sideways'
        if plan.done:
            break
    assert plan.done
    assert abs(depth - 0.017) < 0.2e-3 and radial < 0.1e-3


def test_an_eye_that_turns_is_followed_until_the_needle_is_in():
    """0.02 rad/s (1.1 deg/s) about the opening: within half the tolerance, without waiting."""
    tool, expert, off_rad = in_scene((0.0, 0.0, -0.030)), ScriptedExpert(0), []
    for _ in range(200):
        opening, trocar, tissue = tool.rest
        tool.rest = opening, apply_rotvec(np.array([0.0, 0.02 * PERIOD_S, 0.0]), trocar), tissue
        plan = expert.plan(tool.sight(), Goal.INSERT)
        tool.do(plan.delta[0])
        off_rad.append(np.linalg.norm(relative_rotvec(tool.state[1], tool.rest[1])))
        if plan.done:
            break
    assert plan.done and max(off_rad[20:]) < Settings().axis_rad / 2


def test_a_jump_of_the_eye_on_the_way_in_does_not_begin_the_insertion_anew():
    tool, expert, depths, jumped = in_scene((0.0, 0.0, -0.013)), ScriptedExpert(0), [], False
    for _ in range(200):
        plan = expert.plan(tool.sight(), Goal.INSERT)
        tool.do(plan.delta[0])
        depths.append(tool.local()[2])
        if depths[-1] > -0.004 and not jumped:
            jumped, after = True, len(depths)
            tool.rest = (tool.rest[0] + np.array([0.0, 0.0013, 0.0]), *tool.rest[1:])
        if plan.done:
            break
    assert jumped and plan.done and min(depths[after:]) > -0.006


def watched(expert, local_m, ticks=12):
    """Its phase and velocity (3,) in the trocar frame when the needle has stood there a while."""
    tool = in_scene(local_m)
    for _ in range(ticks):
        plan = expert.plan(tool.sight(), Goal.INSERT)
        tool.tick += 1
    to_local = quat_inverse(tool.rest[1])
    return plan.phase, rotate(to_local, plan.delta[2, :3]) / PERIOD_S


@pytest.mark.parametrize('local_m', [(0.0009, 0.0, -0.0119), (0.0, 0.0007, -0.008)])
def test_beside_a_learner_nobody_is_called_back_to_the_stand_off(local_m):
    phase, velocity = watched(ScriptedExpert(0, BESIDE_A_LEARNER), local_m)
    assert phase is Phase.INSERT and velocity[2] > 0.002
    phase, velocity = watched(ScriptedExpert(0), local_m)
    assert phase < Phase.INSERT and velocity[2] < 0.001


def test_beside_a_learner_what_it_says_follows_from_where_the_needle_is_alone():
    """Not from what was before: nothing that the learner cannot see may change the answer."""
    late, known = ScriptedExpert(0, BESIDE_A_LEARNER), ScriptedExpert(0, BESIDE_A_LEARNER)
    watched(known, (0.0, 0.0, -0.012), ticks=30)
    where = (0.0006, -0.0005, -0.007)
    (phase, velocity), (other_phase, other) = watched(late, where), watched(known, where)
    assert phase is other_phase is Phase.INSERT
    np.testing.assert_allclose(velocity, other, atol=2e-4)


def test_beside_the_bore_it_backs_off_at_once_and_within_it_goes_on():
    beside, within = 1.6 * BORE_RADIUS_M, 0.6 * BORE_RADIUS_M
    for depth_m in (-0.002, -0.0004):
        _, velocity = watched(ScriptedExpert(0, BESIDE_A_LEARNER), (beside, 0.0, depth_m))
        assert velocity[2] < 0.0 and velocity[0] < -0.0005
        _, velocity = watched(ScriptedExpert(0, BESIDE_A_LEARNER), (within, 0.0, depth_m))
        assert velocity[2] > 0.003


@pytest.mark.parametrize(('local_m', 'turn_rad'), BAD_STARTS[1::2])
def test_speed_and_acceleration_stay_bounded(local_m, turn_rad):
    tool, expert, settings = in_scene(local_m, turn_rad), ScriptedExpert(0), Settings()
    before = np.zeros(6)
    for tick in range(240):
        plan = expert.plan(tool.sight(), Goal.INSERT if tick < 160 else Goal.RETRACT)
        path = np.concatenate([before[None], plan.delta])
        speed, change = plan.delta / PERIOD_S, np.diff(path, axis=0) / PERIOD_S**2
        assert np.linalg.norm(speed[:, :3], axis=1).max() < 1.02 * settings.approach.speed
        assert np.linalg.norm(speed[:, 3:], axis=1).max() < 1.02 * settings.turn.speed
        assert np.linalg.norm(change[:, :3], axis=1).max() < 1.01 * settings.acceleration_m_s2
        assert np.linalg.norm(change[:, 3:], axis=1).max() < 1.01 * settings.acceleration_rad_s2
        before = plan.delta[0]
        tool.do(before)


def test_chunk_tells_what_the_next_ones_will_do():
    tool, expert = in_scene((0.01, 0.0, -0.05)), ScriptedExpert(0)
    for _ in range(20):
        tool.do(expert.plan(tool.sight(), Goal.INSERT).delta[0])
    said = expert.plan(tool.sight(), Goal.INSERT).delta
    done = []
    tool.do(said[0])
    for _ in range(STEPS - 1):
        done.append(expert.plan(tool.sight(), Goal.INSERT).delta[0])
        tool.do(done[-1])
    np.testing.assert_allclose(said[1:], done, atol=2e-5)


def test_robot_that_was_held_is_started_gently_again():
    tool, expert = in_scene((0.0, 0.0, -0.06)), ScriptedExpert(0)
    for _ in range(20):
        tool.do(expert.plan(tool.sight(), Goal.INSERT).delta[0])
    for _ in range(6):  # the gate holds: nothing is executed
        plan = expert.plan(tool.sight(), Goal.INSERT)
        tool.tick += 1
    assert np.linalg.norm(plan.delta[0, :3]) / PERIOD_S < 0.005
    assert np.linalg.norm(plan.delta[-1, :3]) / PERIOD_S > 0.010


def test_retraction_of_a_misaligned_needle_goes_out_before_it_turns():
    tool, expert = in_scene((0.0003, 0.0, 0.012), (0.02, 0.0, 0.0)), ScriptedExpert(0)
    while tool.local()[2] > -0.010:
        tool.do(expert.plan(tool.sight(), Goal.RETRACT).delta[0])
        x, y, depth = tool.local()
        assert depth < 0 or np.hypot(x, y) < BORE_RADIUS_M / 2
        assert tool.tick < 100


def test_pace_falls_smoothly_to_nothing_at_the_target():
    pace = Pace(0.02, 0.015, 2.0)
    distance = np.linspace(0, 0.05, 2001)
    speed = np.array([pace.at(d) for d in distance])
    assert speed[0] == 0.0 and speed.max() == 0.02
    assert (np.diff(speed) >= 0).all()
    slope = np.diff(speed)[distance[1:] < 0.01] / np.diff(distance)[0]
    assert np.abs(np.diff(slope)).max() < 0.05  # no kink where the pieces meet
    assert (pace.towards(np.zeros(3)) == 0).all()


def test_smoother_bounds_acceleration_and_jerk():
    smoother, dt_s = Smoother(0.04, 0.25), 0.025
    velocity, acceleration = [], []
    for tick in range(200):
        smoother.follow(np.array([0.02 if tick < 100 else -0.02, 0.0, 0.0]), dt_s)
        velocity.append(smoother.velocity[0])
        acceleration.append(smoother.acceleration[0])
    assert np.abs(acceleration).max() <= 0.04 + 1e-12
    assert np.abs(np.diff(acceleration)).max() <= 0.25 * dt_s + 1e-12
    assert abs(velocity[99] - 0.02) < 1e-4 and abs(velocity[-1] + 0.02) < 1e-4
