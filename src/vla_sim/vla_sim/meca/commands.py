"""The commands that the emulated Meca500 understands: name, arguments, effect.

The server calls `receive`. A command is either a request, done at once, or goes into the
motion queue, which needs an activated, homed robot without an error. Deliberately only the arm's
own commands; anything else is answered as unknown.
"""

from collections.abc import Callable
import time

import numpy as np

from vla_core.arms import meca500 as kin
from vla_sim.meca import monitoring
from vla_sim.meca.codes import Code
from vla_sim.meca.controller import Checkpoint, Controller
from vla_sim.meca.frames import values_of
from vla_sim.meca.moves import MOVES, SETTINGS
from vla_sim.meca.protocol import Command, message, numbers, parse_command, SyntaxProblem

ROBOT_NAME = 'm500'
PRODUCT = 'Meca500'
SERIAL = 'M500-0000'
FIRMWARE = '10.2.1'
BANNER = f'Connected to {PRODUCT} R3-virtual v{FIRMWARE}'

Request = Callable[[Controller, tuple[float, ...]], None]


def receive(robot: Controller, line: str | None) -> None:
    """Take one line of the control client; None: one that was too long."""
    robot.counts['commands'] += 1
    if line is None:
        robot.refuse(Code.CMD_TOO_LONG, 'Command is too long.')
        return
    try:
        command = parse_command(line)
    except SyntaxProblem:
        robot.refuse(Code.SYNTAX_ERR, f'Syntax error, symbol missing. - Command: "{line[:200]}"')
        return
    _execute(robot, command)


def _execute(robot: Controller, command: Command) -> None:
    name = command.name.lower()
    if name in _TEXT_REQUESTS:
        _TEXT_REQUESTS[name](robot, command)
        return
    if name in _REQUESTS:
        counts, act = _REQUESTS[name]
    elif name in MOVES or name in SETTINGS:
        counts, act = (MOVES.get(name) or SETTINGS[name])[:2]
    else:
        robot.refuse(Code.UNKNOWN_CMD, f'Command unrecognized. - Command: "{command.name}"')
        return
    try:
        values = command.numbers()
    except ValueError:
        values = None
    if values is None or len(values) not in counts:
        robot.refuse_argument(command)
    elif name in _REQUESTS:
        act(robot, values)
    else:
        _into_queue(robot, command, act, values)


def _into_queue(
    robot: Controller, command: Command, act: Request, values: tuple[float, ...]
) -> None:
    if robot.error is not None:
        robot.refuse(Code.ALREADY_ERR, 'The robot is in error.')
    elif not robot.activated:
        robot.refuse(Code.NOT_ACTIVATED, 'The robot is not activated.')
    elif not robot.homed:
        robot.refuse(Code.NOT_HOMED, 'The robot is not homed.')
    else:
        try:
            act(robot, values)
        except ValueError:
            robot.refuse_argument(command)


def _clear(robot: Controller, _: tuple[float, ...]) -> None:
    robot.clear()
    robot.reply(Code.CLEAR_MOTION, 'The motion was cleared.')


def _set_interval(robot: Controller, values: tuple[float, ...]) -> None:
    robot.monitoring_interval_s = float(np.clip(values[0], 0.001, 1.0))
    robot.reply(Code.GET_MONITORING_INTERVAL, numbers([robot.monitoring_interval_s], 6))


def _control_monitoring(robot: Controller, values: tuple[float, ...]) -> None:
    robot.control_monitoring = bool(values[0])
    robot.reply(Code.SET_CTRL_PORT_MONIT, int(values[0]))
    if robot.control_monitoring:
        robot.replies += monitoring.state_messages(robot)


def _watchdog(robot: Controller, values: tuple[float, ...]) -> None:
    on = values[0] > 0
    if on != (robot.watchdog_until_s is not None):
        robot.reply(Code.CONNECTION_WATCHDOG, int(on))
    robot.watchdog_until_s = robot.time_s + values[0] if on else None


def _checkpoint(robot: Controller, values: tuple[float, ...]) -> None:
    robot.enqueue(Checkpoint(int(values[0])))


def _end_of_block(robot: Controller, values: tuple[float, ...]) -> None:
    robot.eob_enabled = bool(values[0])
    on = robot.eob_enabled
    robot.reply(
        Code.EOB_ON if on else Code.EOB_OFF, f'End of block is {"en" if on else "dis"}abled.'
    )


def _end_of_move(robot: Controller, values: tuple[float, ...]) -> None:
    on = bool(values[0])  # stored by the real robot; the emulator never sends EOM
    robot.reply(
        Code.EOM_ON if on else Code.EOM_OFF, f'End of movement is {"en" if on else "dis"}abled.'
    )


def _joint_limits(code: Code) -> Request:
    def answer(robot: Controller, values: tuple[float, ...]) -> None:
        joint = int(values[0])
        if not 1 <= joint <= 6:
            robot.refuse(Code.ARG_ERR, f'Argument error: joint {joint} is not 1 to 6.')
            return
        low, high = kin.JOINT_MIN_RAD[joint - 1], kin.JOINT_MAX_RAD[joint - 1]
        robot.reply(code, f'{joint},{numbers(np.degrees([low, high]), 3)}')

    return answer


def _answer(code: Code, text: Callable[[Controller], object]) -> tuple[tuple[int, ...], Request]:
    return (0,), lambda robot, _: robot.reply(code, text(robot))


def _call(method: Callable[[Controller], None]) -> tuple[tuple[int, ...], Request]:
    return (0,), lambda robot, _: method(robot)


def _setting(code: Code, name: str) -> tuple[tuple[int, ...], Request]:
    return _answer(code, lambda robot: f'{getattr(robot.settings, name):g}')


def _target_pose(robot: Controller) -> str:
    return numbers(values_of(robot.settings.frames.tool_in_world(robot.arm.joint_rad)))


_REQUESTS: dict[str, tuple[tuple[int, ...], Request]] = {
    'activaterobot': _call(Controller.activate),
    'deactivaterobot': _call(Controller.deactivate),
    'home': _call(Controller.home),
    'pausemotion': _call(Controller.pause),
    'resumemotion': _call(Controller.resume),
    'clearmotion': ((0,), _clear),
    'reseterror': _call(Controller.reset_error),
    'resetpstop2': _call(Controller.reset_pstop2),
    'getstatusrobot': _answer(Code.GET_STATUS_ROBOT, lambda robot: robot.status.text()),
    'getjoints': _answer(Code.GET_JOINTS, lambda robot: numbers(np.degrees(robot.arm.joint_rad))),
    'getpose': _answer(Code.GET_POSE, _target_pose),
    'getwrf': _answer(Code.GET_WRF, lambda robot: numbers(values_of(robot.settings.frames.wrf))),
    'gettrf': _answer(Code.GET_TRF, lambda robot: numbers(values_of(robot.settings.frames.trf))),
    'getconf': _answer(Code.GET_CONF, lambda robot: monitoring.configuration(robot.arm.joint_rad)),
    'getconfturn': _answer(Code.GET_CONF_TURN, lambda robot: monitoring.turn(robot.arm.joint_rad)),
    'getautoconf': _setting(Code.GET_AUTO_CONF, 'auto_conf'),
    'getautoconfturn': _setting(Code.GET_AUTO_CONF_TURN, 'auto_conf_turn'),
    'getjointvel': _setting(Code.GET_JOINT_VEL, 'joint_vel'),
    'getjointacc': _setting(Code.GET_JOINT_ACC, 'joint_acc'),
    'getjointvellimit': _setting(Code.GET_JOINT_VEL_LIMIT, 'joint_vel_limit'),
    'getcartlinvel': _setting(Code.GET_CART_LIN_VEL, 'cart_lin_vel'),
    'getcartangvel': _setting(Code.GET_CART_ANG_VEL, 'cart_ang_vel'),
    'getcartacc': _setting(Code.GET_CART_ACC, 'cart_acc'),
    'getblending': _setting(Code.GET_BLENDING, 'blending'),
    'getveltimeout': _setting(Code.GET_VEL_TIMEOUT, 'vel_timeout'),
    'getcheckpoint': _answer(Code.GET_CHECKPOINT, lambda robot: robot.checkpoint),
    'getcmdpendingcount': _answer(Code.GET_CMD_PENDING_COUNT, lambda robot: robot.pending),
    'getfwversion': _answer(Code.GET_FW_VERSION, lambda _: f'v{FIRMWARE}'),
    'getfwversionfull': _answer(Code.GET_FW_VERSION_FULL, lambda _: f'{FIRMWARE}.0'),
    'getrobotserial': _answer(Code.GET_ROBOT_SERIAL, lambda _: SERIAL),
    'getrobotname': _answer(Code.GET_ROBOT_NAME, lambda _: ROBOT_NAME),
    'getproducttype': _answer(Code.GET_PRODUCT_TYPE, lambda _: PRODUCT),
    'getrtc': _answer(Code.GET_RTC, lambda _: int(time.time())),
    'getmonitoringinterval': _answer(
        Code.GET_MONITORING_INTERVAL, lambda robot: numbers([robot.monitoring_interval_s], 6)
    ),
    'getrealtimemonitoring': _answer(Code.GET_REAL_TIME_MONITORING, monitoring.enabled),
    'getjointlimitscfg': _answer(Code.GET_JOINT_LIMITS_CFG, lambda _: 0),
    'getjointlimits': ((1,), _joint_limits(Code.GET_JOINT_LIMITS)),
    'getmodeljointlimits': ((1,), _joint_limits(Code.GET_MODEL_JOINT_LIMITS)),
    'setmonitoringinterval': ((1,), _set_interval),
    'setctrlportmonitoring': ((1,), _control_monitoring),
    'connectionwatchdog': ((1,), _watchdog),
    'seteob': ((1,), _end_of_block),
    'seteom': ((1,), _end_of_move),
    'setrtc': ((1,), lambda robot, _: None),  # the emulator keeps the host's time
    'setcheckpoint': ((1,), _checkpoint),
}


def _sync(robot: Controller, command: Command) -> None:
    robot.reply(Code.SYNC_CMD_QUEUE, ','.join(command.args))


def _monitor(robot: Controller, command: Command) -> None:
    robot.monitoring = monitoring.chosen(command.args)
    robot.replies.append(message(Code.GET_REAL_TIME_MONITORING, monitoring.enabled(robot)))


def _rt_request(code: Code) -> Callable[[Controller, Command], None]:
    return lambda robot, _: robot.reply(code, monitoring.value_text(robot, code))


_TEXT_REQUESTS: dict[str, Callable[[Controller, Command], None]] = {
    'synccmdqueue': _sync,
    'setrealtimemonitoring': _monitor,
    'logtrace': lambda robot, _: None,
    'logusercommands': lambda robot, _: None,
    **{'getrt' + name: _rt_request(code) for name, code in monitoring.NAMES.items()},
}
