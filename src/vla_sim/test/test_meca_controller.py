"""The emulated Meca500's controller in emulated time, without sockets."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_core.arms import meca500 as kin
from vla_core.arms.meca500_links import joint_speeds_of, links_of
from vla_sim.expert import Expert
from vla_sim.meca.codes import Code
from vla_sim.meca.commands import receive
from vla_sim.meca.controller import Controller
from vla_sim.meca.frames import Frames, pose_of
from vla_sim.meca.motions import LEVER_M, SINGULAR, twist_to_joints
from vla_sim.scene import draw_scene

STEP_S = 0.002


def ready_robot(*commands):
    """An activated, homed robot at a start pose, with the needle's tip as tool."""
    robot = Controller(Expert(draw_scene(0)).start_joints(0))
    for line in ('ActivateRobot', 'Home'):
        receive(robot, line)
    run(robot, 0.7)
    for line in ('SetTrf(0,0,95,0,0,0)', *commands):
        receive(robot, line)
    robot.replies.clear()
    return robot


def run(robot, seconds):
    """Step; return the joints after every step (N, 6)."""
    path = []
    for _ in range(round(seconds / STEP_S)):
        robot.step(STEP_S)
        path.append(robot.arm.joint_rad)
    return np.array(path)


def codes(robot):
    """Codes of the replies so far, and forget them."""
    found = [int(reply[1:5]) for reply in robot.replies]
    robot.replies.clear()
    return found


def tip(robot):
    return kin.forward(robot.arm.joint_rad)[0]


def time_to_rest(robot):
    """Seconds until the commanded joints stand still."""
    for step in range(1000):
        if robot.arm.at_rest:
            return step * STEP_S
        robot.step(STEP_S)
    raise AssertionError('still moving after 2 s')


def test_motion_needs_activation_then_homing():
    robot = Controller(np.zeros(6))
    receive(robot, 'MoveJoints(0,0,0,0,0,0)')
    assert codes(robot) == [Code.NOT_ACTIVATED]
    receive(robot, 'Home')
    assert codes(robot) == [Code.NOT_ACTIVATED]
    receive(robot, 'ActivateRobot')
    run(robot, 0.4)
    receive(robot, 'MoveJoints(0,0,0,0,0,0)')
    assert codes(robot) == [Code.ACTIVATED, Code.NOT_HOMED]
    receive(robot, 'Home')
    run(robot, 0.4)
    assert codes(robot) == [Code.HOME_DONE]


def test_a_velocity_moves_the_tip_along_and_stops_by_itself():
    robot = ready_robot('SetVelTimeout(0.1)')
    before = tip(robot)
    receive(robot, 'MoveLinVelWrf(10,0,-5,0,0,0)')
    run(robot, 0.1)
    assert np.abs(robot.arm.joint_rad_s).max() > 0.01
    assert time_to_rest(robot) <= 0.01
    moved = tip(robot) - before
    assert moved == pytest.approx([0.001, 0.0, -0.0005], abs=5e-5)


def test_a_new_velocity_replaces_the_one_before_at_once():
    robot = ready_robot('SetVelTimeout(1)')
    receive(robot, 'MoveLinVelWrf(10,0,0,0,0,0)')
    run(robot, 0.1)
    receive(robot, 'MoveLinVelWrf(0,0,0,0,0,0)')
    assert time_to_rest(robot) <= 0.01
    assert robot.counts['velocity_while_paused'] == 0


def test_a_burst_of_velocities_before_the_next_cycle_leaves_only_the_last():
    robot = ready_robot('SetVelTimeout(1)', 'MoveLinVelWrf(10,0,0,0,0,0)')
    for speed in (-10, 20, 0):
        receive(robot, f'MoveLinVelWrf({speed},0,0,0,0,0)')
    before = tip(robot)
    run(robot, 0.1)
    assert tip(robot) == pytest.approx(before, abs=1e-6)


def test_velocity_in_the_tool_frame_goes_along_the_needle():
    robot = ready_robot('SetVelTimeout(0.2)')
    before, along = tip(robot), kin.forward(robot.arm.joint_rad)[1][:, 2]
    receive(robot, 'MoveLinVelTrf(0,0,20,0,0,30)')
    run(robot, 0.3)
    assert tip(robot) - before == pytest.approx(along * 0.004, abs=1e-4)


@pytest.mark.parametrize(
    'command', ['MoveJointsVel(0,100,0,0,0,0)', 'MoveLinVelWrf(200,0,0,0,0,0)']
)
def test_a_velocity_halts_before_a_limit_or_singularity_without_an_error(command):
    robot = ready_robot('SetVelTimeout(1)')
    for _ in range(6):
        receive(robot, command)
        path = run(robot, 0.5)
    assert np.all(kin.within_limits(path))
    assert robot.error is None
    run(robot, 1.0)
    assert robot.arm.at_rest


def test_lines_are_straight_and_end_where_they_should():
    robot = ready_robot()
    before = tip(robot)
    receive(robot, 'MoveLinRelWrf(10,-5,-20,0,0,0)')
    path = run(robot, 2.0)
    points = kin.forward(path)[0] - before
    goal = np.array([0.010, -0.005, -0.020])
    assert points[-1] == pytest.approx(goal, abs=1e-6)
    across = np.cross(points, goal / np.linalg.norm(goal))
    assert np.abs(across).max() < 5e-6


def test_a_line_on_the_other_branch_of_the_wrist_is_followed_too():
    robot = ready_robot()
    robot.arm.joint_rad = np.radians([10.0, 0.0, 10.0, 20.0, -50.0, 30.0])
    before = tip(robot)
    receive(robot, 'MoveLinRelWrf(0,0,-10,0,0,0)')
    run(robot, 2.0)
    assert robot.error is None
    assert tip(robot) - before == pytest.approx([0, 0, -0.010], abs=1e-6)


@pytest.mark.parametrize(
    ('command', 'code'),
    [
        ('MoveJoints(0,0,0,0,0,500)', Code.JOINT_OVER_LIMIT),
        ('MovePose(900,0,100,0,90,0)', Code.OUT_OF_REACH),
        ('MoveLin(900,0,100,0,90,0)', Code.OUT_OF_REACH),
        ('MoveLinRelTrf(0,0,0,0,0,720)', None),
        ('MoveJoints(1,2,3)', Code.ARG_ERR),
        ('MoveJoints(nan,0,0,0,0,0)', Code.ARG_ERR),
        ('MoveLinVelWrf(2000,0,0,0,0,0)', Code.ARG_ERR),
        ('SetVelTimeout(2)', Code.ARG_ERR),
        ('Fly(1)', Code.UNKNOWN_CMD),
        ('MoveJoints(1,2', Code.SYNTAX_ERR),
        (None, Code.CMD_TOO_LONG),
    ],
)
def test_wrong_commands_are_answered_with_the_vendors_code(command, code):
    robot = ready_robot()
    receive(robot, command)
    run(robot, 1.0)
    errors = [found for found in codes(robot) if found not in (Code.EOB,)]
    assert (errors or [None])[0] in (
        code,
        Code.SINGULARITY_ERR if code == Code.OUT_OF_REACH else code,
    )
    assert np.all(kin.within_limits(robot.arm.joint_rad))


def test_an_error_stops_everything_until_reset_and_resume():
    robot = ready_robot('MoveJoints(0,0,0,0,500,0)')
    run(robot, 0.1)
    assert robot.status.error and robot.status.paused
    codes(robot)
    receive(robot, 'MoveJoints(0,0,0,0,20,0)')
    receive(robot, 'ResumeMotion')
    assert codes(robot) == [Code.ALREADY_ERR, Code.NOT_ALLOWED_NOW]
    receive(robot, 'ResetError')
    receive(robot, 'ResetError')
    assert codes(robot) == [Code.ERROR_RESET, Code.NO_ERROR_RESET]
    before = robot.arm.joint_rad
    receive(robot, 'MoveJoints(0,0,0,0,20,0)')
    run(robot, 0.2)
    np.testing.assert_array_equal(robot.arm.joint_rad, before)
    receive(robot, 'ResumeMotion')
    run(robot, 3.0)
    assert np.degrees(robot.arm.joint_rad) == pytest.approx([0, 0, 0, 0, 20, 0], abs=1e-6)


def test_a_pause_halts_on_the_path_and_a_resume_finishes_it():
    robot = ready_robot('SetJointVel(10)', 'MoveJoints(0,0,0,0,20,0)')
    run(robot, 0.2)
    receive(robot, 'PauseMotion')
    assert time_to_rest(robot) <= 0.1
    held = run(robot, 0.3)
    np.testing.assert_array_equal(held[0], held[-1])
    receive(robot, 'ResumeMotion')
    run(robot, 5.0)
    assert np.degrees(robot.arm.joint_rad) == pytest.approx([0, 0, 0, 0, 20, 0], abs=1e-6)
    assert codes(robot)[-1] == Code.EOB


def test_clearing_discards_the_queue_and_its_checkpoints():
    robot = ready_robot('MoveJoints(0,0,0,0,20,0)', 'SetCheckpoint(5)', 'MoveJoints(0,0,0,0,0,0)')
    run(robot, 0.2)
    receive(robot, 'ClearMotion')
    run(robot, 0.2)
    found = codes(robot)
    assert Code.CHECKPOINT_DISCARDED in found and Code.CLEAR_MOTION in found
    assert robot.pending == 0 and robot.arm.at_rest and robot.paused


def test_settings_hold_from_their_place_in_the_queue():
    robot = ready_robot('SetJointVel(1)', 'MoveJoints(0,0,0,0,60,0)', 'SetJointVel(100)')
    run(robot, 0.3)
    assert robot.settings.joint_vel == 1
    assert np.abs(robot.arm.joint_rad_s).max() <= 0.011 * kin.JOINT_MAX_RAD_S.max()


def test_world_frame_and_tool_frame_change_the_pose_and_the_velocity():
    robot = ready_robot('SetWrf(100,0,0,0,0,90)')
    run(robot, 0.01)
    receive(robot, 'GetPose')
    x, y, *_ = (float(value) for value in robot.replies[-1][7:-2].split(b','))
    base = tip(robot) * 1000
    assert (x, y) == pytest.approx((base[1], -(base[0] - 100)), abs=1e-3)
    before = tip(robot)
    receive(robot, 'SetVelTimeout(0.2)')
    receive(robot, 'MoveLinVelWrf(10,0,0,0,0,0)')
    run(robot, 0.3)
    assert tip(robot) - before == pytest.approx([0, 0.002, 0], abs=1e-4)


def test_an_emergency_stop_cuts_power_and_activation_waits_for_its_release():
    robot = ready_robot('MoveJoints(0,0,0,0,20,0)')
    run(robot, 0.2)
    robot.set_estop(True)
    assert time_to_rest(robot) <= 0.1
    receive(robot, 'ActivateRobot')
    assert codes(robot)[-1] == Code.ACTIVATION_ERR
    assert not robot.activated and not robot.homed
    robot.set_estop(False)
    receive(robot, 'ActivateRobot')
    run(robot, 0.4)
    assert robot.activated


def test_a_protective_stop_needs_reset_and_resume():
    robot = ready_robot('SetVelTimeout(1)', 'MoveLinVelWrf(10,0,0,0,0,0)')
    run(robot, 0.1)
    robot.set_pstop2(True)
    assert time_to_rest(robot) <= 0.02
    receive(robot, 'ResetPStop2')
    receive(robot, 'ResumeMotion')
    assert codes(robot)[-2:] == [Code.IMPOSSIBLE_RESET_ERR, Code.NOT_ALLOWED_NOW]
    robot.set_pstop2(False)
    for line in ('ResetPStop2', 'ResumeMotion'):
        receive(robot, line)
    assert codes(robot)[-1] == Code.RESUME_MOTION and robot.activated


def test_losing_the_client_stops_the_arm_and_keeps_it_paused():
    robot = ready_robot('SetVelTimeout(1)', 'MoveLinVelWrf(20,0,0,0,0,0)')
    run(robot, 0.1)
    robot.connection_lost()
    assert time_to_rest(robot) <= 0.02
    receive(robot, 'MoveLinVelWrf(20,0,0,0,0,0)')
    run(robot, 0.1)
    assert robot.arm.at_rest and robot.counts['velocity_while_paused'] == 1


VELOCITY = st.builds(
    lambda name, values: f'{name}({",".join(f"{value:.3f}" for value in values)})',
    st.sampled_from(['MoveLinVelWrf', 'MoveLinVelTrf', 'MoveJointsVel']),
    st.lists(st.floats(-150, 150), min_size=6, max_size=6),
)
OTHER = st.sampled_from([
    'PauseMotion', 'ResumeMotion', 'ClearMotion', 'MoveJoints(0,0,0,0,30,0)', 'SetCheckpoint(1)',
    'MoveLinRelTrf(0,0,10,0,0,40)', 'SetJointVel(100)', 'Delay(0.01)', 'ResetError', 'Bad(',
])  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.one_of(VELOCITY, OTHER), st.integers(1, 40)), max_size=12))
def test_no_sequence_of_commands_breaks_the_joint_limits(sequence):
    robot = ready_robot('SetVelTimeout(0.1)')
    for line, steps in sequence:
        receive(robot, line)
        for _ in range(steps):
            robot.step(STEP_S)
            assert np.all(kin.within_limits(robot.arm.joint_rad, -1e-9))
            assert np.all(np.abs(robot.arm.joint_rad_s) <= kin.JOINT_MAX_RAD_S * (1 + 1e-9))
    robot.connection_lost()
    time_to_rest(robot)


def test_power_comes_back_to_the_same_arm_where_it_stood_and_nothing_else_is_left():
    robot = ready_robot('MoveLinVelWrf(0,0,5,0,0,0)', 'SetJointVelLimit(30)')
    run(robot, 0.03)
    robot.measured_rad = robot.arm.joint_rad.copy()
    there, arm = robot.measured_rad.copy(), robot.arm
    robot.set_estop(True)
    robot.reboot()
    assert robot.arm is not arm and robot.arm.at_rest and robot.arm.speed_share == 1.0
    np.testing.assert_array_equal(robot.arm.joint_rad, there)
    assert vars(robot).keys() == vars(Controller(there)).keys()
    assert robot.status == Controller(there).status and robot.time_s == 0.0
    assert not robot.replies and not robot.counts and robot.estop == 0


TOOLS = [(0, 0, 0), (0, 0, 95), (0, 0, -30), (5, -3, 60)]  # mm


@pytest.mark.parametrize('tool', TOOLS)
def test_a_singular_arm_halts_and_any_other_moves_as_told(tool):
    frames = Frames(trf=pose_of((*tool, 0, 0, 0)))
    rng = np.random.default_rng(5)
    joints = list(rng.uniform(kin.JOINT_MIN_RAD, kin.JOINT_MAX_RAD, (300, 6)))
    wrist = [np.radians([10, 20, 10, 5, bent, 3]) for bent in np.linspace(0, 12, 200)]
    stretched = [np.radians([10, 20, elbow, 5, 40, 3]) for elbow in np.linspace(-80, -66, 200)]
    seen = set()
    for joint_rad in (*joints, *wrist, *stretched):
        jacobian = frames.jacobian(joint_rad)
        scaled = np.concatenate([jacobian[:3], jacobian[3:] * LEVER_M])
        least = np.linalg.svd(scaled, compute_uv=False)[-1]
        twist = rng.normal(size=6)
        speeds = twist_to_joints(frames, joint_rad, twist)
        assert (speeds is None) == (least < SINGULAR * LEVER_M)
        seen.add(speeds is None)
        if speeds is not None:
            np.testing.assert_allclose(jacobian @ speeds, twist, rtol=0, atol=1e-11)
    assert seen == {True, False}


def test_distance_from_a_singularity_is_never_overstated():
    rng = np.random.default_rng(6)
    close = 0
    for joint_rad in rng.uniform(kin.JOINT_MIN_RAD, kin.JOINT_MAX_RAD, (500, 6)):
        jacobian = kin.jacobian(joint_rad)
        scaled = np.concatenate([jacobian[:3], jacobian[3:] * LEVER_M])
        least = np.linalg.svd(scaled, compute_uv=False)[-1]
        found = joint_speeds_of(
            links_of(joint_rad), kin.FLANGE_M + kin.TOOL_TIP_M, (1, 0, 0), (0, 0, 0), LEVER_M
        )
        assert found is not None and 1 / found.gain <= least * (1 + 1e-9)
        close += 20 / found.gain > least
    assert close > 400, 'a bound that never holds would save nothing'
