"""Diagnostics of the command path, and the robot's condition from what is heard and what it says.

Used by robot_driver. Deliberately decides nothing: the gate has decided.
"""

from vla_core.health import HealthItem, Level
from vla_core.safety.advice import explain
from vla_core.safety.values import GateState, Result
from vla_drivers.command_path import CommandPath
from vla_drivers.devices.base import RobotReport
from vla_drivers.robot_stream import Condition, Judgement

STUCK_S = 0.1  # ten periods of the command thread
_STATES = {
    GateState.DISABLED: 'disabled: robot/enable lets chunks move the robot',
    GateState.ENABLED: 'enabled',
    GateState.STOPPED: 'stopped: robot/reset, then robot/enable',
    GateState.EMERGENCY_STOP: 'emergency stop: robot/reset, then robot/enable',
}


def gate_item(path: CommandPath) -> HealthItem:
    """The item 'gate': ERROR while stopped, WARN while it holds the robot."""
    gate, newest = path.gate, path.newest
    text, level = _STATES[gate.state], Level.OK
    if gate.state in (GateState.STOPPED, GateState.EMERGENCY_STOP):
        level = Level.ERROR
        text = '; '.join([*(explain(what) for what in gate.causes), text])
    elif gate.state is GateState.ENABLED and newest.result in (Result.HELD, Result.LIMITED):
        level = Level.WARN
        what = '; '.join(explain(what) for what in newest.interventions)
        text = f'enabled, {newest.result.name.lower()}: {what}'
    values = {kind: str(count) for kind, count in gate.counters.snapshot().items()}
    return HealthItem('gate', level, text, {'state': str(gate.state), **values})


def commands_item(path: CommandPath, now_steady_ns: int) -> HealthItem:
    """The item 'commands': whether the command thread keeps its period."""
    hz, age_s = path.rate.hz(now_steady_ns), path.tick_age_s
    counts = {**path.counters.snapshot(), **path.executor.counters.snapshot()}
    values = {
        'rate_hz': f'{hz:.1f}',
        'tick_age_s': f'{age_s:.3f}',
        'thread': path.priority,
        'force_stop_ms': f'{path.force_latency_s * 1e3:.1f}',
        'splice_ratio': f'{path.executor.splice.ratio:.2f}',
        **{kind: str(count) for kind, count in counts.items()},
    }
    if age_s > STUCK_S:
        text = (
            f'command thread is stuck for {age_s:.2f} s > {STUCK_S:.2f} s: the robot stops by '
            'its velocity time-out'
        )
        return HealthItem('commands', Level.ERROR, text, values)
    return HealthItem('commands', Level.OK, f'{hz:.0f} Hz', values)


def condition_of(seen: Judgement, report: RobotReport | None) -> tuple[Condition, str]:
    """What is heard from the robot, and then what it says itself."""
    if report is None or seen.condition is Condition.DISCONNECTED:
        detail = report.detail if report is not None and report.detail else seen.detail
        return seen.condition, detail
    if report.emergency_stop:
        return Condition.EMERGENCY_STOP, report.detail
    if report.error:
        return Condition.ERROR, report.detail
    if seen.condition is not Condition.CONNECTED:
        return seen.condition, seen.detail
    if not report.ready:
        return Condition.NOT_READY, report.detail
    return Condition.CONNECTED, seen.detail


def robot_item(heard: HealthItem, report: RobotReport) -> HealthItem:
    """The item 'robot' of a device that takes commands: what is heard, then what it says."""
    values = {
        **heard.values,
        'activated': str(report.activated).lower(),
        'homed': str(report.homed).lower(),
        'paused': str(report.paused).lower(),
        'recovery_needed': str(report.recovery_needed).lower(),
        'error_code': str(report.error_code),
    }
    if report.error:
        return HealthItem('robot', Level.ERROR, report.detail, values)
    if heard.level is not Level.OK:
        return HealthItem('robot', heard.level, heard.message, values)
    if not report.ready:
        return HealthItem('robot', Level.WARN, report.detail, values)
    return HealthItem('robot', Level.OK, heard.message, values)
