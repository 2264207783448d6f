"""What an operator should do about each kind of intervention, in one line.

Used by the gate's refusals (`enable`, `reset`) and by whoever shows an intervention to a person.
"""

from vla_core.safety.values import Intervention

ADVICE = {
    'robot_error': 'clear it at the robot, then call recover',
    'robot_not_ready': 'the robot must be activated, homed and not paused: call recover',
    'state_age': 'no fresh state of the robot: check its connection',
    'pose_mismatch': "joints and tool pose disagree: set the robot's tool frame to the needle tip",
    'singular': 'the arm is near a singularity: move it away by hand or with its own interface',
    'sensor_age': 'no fresh force: check the sensor and its driver',
    'force_limit': 'the needle is loaded: relieve it, or set force_zero_n if nothing touches it',
    'force_slope': 'the force on the needle is rising: relieve it',
    'dead_man': 'hold the dead-man switch down',
    'workspace': 'the needle tip is outside the workspace box: bring it in, or set the box',
    'joint_limit': 'a joint is at its limit: move the arm away from it',
    'emergency_stop': 'release the emergency stop',
    'tracking': 'the robot did not follow what was sent: check what blocks it, then recover',
}


def explain(what: Intervention) -> str:
    """One intervention for a person: kind, numbers, what to do."""
    numbers = ''
    if what.value == what.value:  # not NaN
        numbers = f' {what.value:.3g}'
        if what.limit == what.limit:
            numbers += f' (limit {what.limit:.3g})'
    advice = ADVICE.get(what.kind)
    return f'{what.kind}{numbers}' + (f': {advice}' if advice else '')
