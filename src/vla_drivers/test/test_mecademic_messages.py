"""Messages of a Mecademic robot: cycles put together, status and errors as a report."""

from hypothesis import given
from hypothesis import strategies as st
from mecademicpy.mx_robot_def import MxRobotStatusCode, MxStopState
from mecademicpy.robot_classes import RobotSafetyStatus, RobotStatus
import numpy as np
import pytest

from vla_core.counters import Counters
from vla_drivers.devices.mecademic_cycle import CYCLE_END, CycleAssembler, JOINTS, POSE, SPEEDS
from vla_drivers.devices.mecademic_recovery import wire_velocity
from vla_drivers.devices.mecademic_status import ErrorMemory, report_of

finite = st.floats(-1e4, 1e4)


def line(stamp_us, values):
    return ','.join(f'{value}' for value in (stamp_us, *values))


POSE_MM_DEG = (100.0, 0.0, 300.0, 0.0, 90.0, 0.0)


def cycle(assembler, stamp_us=5_000, joints=(1.0,) * 6, pose=POSE_MM_DEG, speeds=None):
    assembler.take(JOINTS, line(stamp_us, joints), 0)
    assembler.take(POSE, line(stamp_us, pose), 0)
    if speeds is not None:
        assembler.take(SPEEDS, line(stamp_us, speeds), 0)
    return assembler.take(CYCLE_END, f'{stamp_us}', 77)


@given(
    st.integers(0, 2**45),
    st.lists(finite, min_size=6, max_size=6),
    st.lists(finite, min_size=6, max_size=6),
    st.lists(finite, min_size=6, max_size=6),
)
def test_a_cycle_becomes_one_state_in_si_units(stamp_us, joints, pose, speeds):
    reading = cycle(CycleAssembler(Counters()), stamp_us, joints, pose, speeds)
    assert reading.state.origin_ns == stamp_us * 1000
    assert reading.receive_ns == 77
    assert np.allclose(np.degrees(reading.state.joint_rad), joints)
    assert np.allclose(reading.state.position_m * 1e3, pose[:3])
    assert np.allclose(np.degrees(reading.state.euler_rad), pose[3:])
    assert np.allclose(np.degrees(reading.joint_rad_s), speeds)


def test_without_joint_speeds_there_is_still_a_state():
    assert cycle(CycleAssembler(Counters())).joint_rad_s is None


@given(st.sampled_from([JOINTS, POSE, SPEEDS, CYCLE_END]), st.text())
def test_no_text_from_the_robot_raises(code, data):
    CycleAssembler(Counters()).take(code, data, 0)


@pytest.mark.parametrize(
    'data', ['', '5000', '5000,1,2,3', '5000,1,2,3,4,5,nan', 'x,1,2,3,4,5,6', 'inf,1,2,3,4,5,6']
)
def test_bad_values_are_counted_and_their_cycle_gives_no_state(data):
    counters = Counters()
    assembler = CycleAssembler(counters)
    assembler.take(JOINTS, data, 0)
    assembler.take(POSE, line(5000, (0,) * 6), 0)
    assert assembler.take(CYCLE_END, '5000', 0) is None
    assert counters.snapshot() == {'bad_values': 1, 'incomplete_cycles': 1}
    assert cycle(assembler) is not None


def test_values_of_one_cycle_are_not_used_in_the_next():
    assembler = CycleAssembler(Counters())
    cycle(assembler)
    assembler.take(POSE, line(15_000, (0,) * 6), 0)
    assert assembler.take(CYCLE_END, '15000', 0) is None


@given(st.lists(st.floats(-1.0, 1.0), min_size=6, max_size=6))
def test_velocities_are_written_without_an_exponent_and_to_a_tenth_of_a_micrometre(velocity):
    written = wire_velocity(velocity)
    assert all('e' not in str(value) for value in written)
    assert np.allclose(np.array(written[:3]) / 1e3, velocity[:3], atol=1e-7)
    assert np.allclose(np.radians(written[3:]), velocity[3:], atol=1e-6)


def test_zero_velocity_is_written_as_plain_zero():
    assert [str(value) for value in wire_velocity([-1e-9, 0.0, -0.0, 0, 0, 0])] == ['0.0'] * 6


def status(**values):
    return RobotStatus(**{'activation_state': True, 'homing_state': True, **values})


def report(robot=None, safety=None, errors=None, needed=False, reason=''):
    return report_of(
        robot or status(), safety or RobotSafetyStatus(), errors or ErrorMemory(), needed, reason
    )


def test_a_robot_that_is_well_is_ready():
    assert report().ready
    assert report().detail == 'ready'


@pytest.mark.parametrize(
    ('values', 'text'),
    [
        ({'activation_state': False, 'homing_state': False}, 'motors are off'),
        ({'homing_state': False}, 'not homed'),
        ({'pause_motion_status': True}, 'paused'),
        ({'error_status': True}, 'robot error'),
    ],
)
def test_every_state_that_is_not_ready_says_which_and_names_recover(values, text):
    seen = report(status(**values))
    assert not seen.ready
    assert text in seen.detail
    assert 'robot/recover' in seen.detail


def test_the_error_that_the_robot_told_is_in_the_report_with_its_code():
    errors = ErrorMemory()
    assert errors.take(int(MxRobotStatusCode.MX_ST_ERROR_MOTION), 'Following error')
    assert not errors.take(int(MxRobotStatusCode.MX_ST_GET_STATUS_ROBOT), '1,1,0,0')
    seen = report(status(error_status=True), errors=errors)
    assert seen.error_code == int(MxRobotStatusCode.MX_ST_ERROR_MOTION)
    assert 'Following error' in seen.error
    errors.forget()
    assert report(status(error_status=True), errors=errors).error


@pytest.mark.parametrize(('stop', 'word'), [('estop', 'emergency'), ('pstop2', 'protective')])
def test_a_safety_stop_says_whether_it_is_still_pressed(stop, word):
    safety = RobotSafetyStatus()
    press = getattr(safety, f'set_{stop}_state')
    press(MxStopState.MX_STOP_STATE_ACTIVE)
    seen = report(safety=safety, needed=True)
    assert seen.emergency_stop and not seen.ready
    assert word in seen.error and 'release' in seen.detail
    press(MxStopState.MX_STOP_STATE_RESETTABLE)
    assert 'was released' in report(safety=safety, needed=True).detail
    press(MxStopState.MX_STOP_STATE_RESET)
    assert not report(safety=safety).emergency_stop


def test_a_latched_reason_keeps_a_well_robot_from_being_ready():
    seen = report(needed=True, reason='silent for 1.0 s')
    assert not seen.ready
    assert 'silent for 1.0 s' in seen.detail
