"""Publishes what the supervisor knows (restarts, crash reasons) on /diagnostics, for
rqt_runtime_monitor and bags.

Started by `vla up` beside the stack: `python -m vla_cli.reporter STATUS_FILE`. It deliberately
watches no process itself: it reads the status file, once a second.
"""

from pathlib import Path
import sys
import time

from vla_cli.arguments import complain
from vla_cli.supervisor.status import ProcessStatus, read_status, StackStatus
from vla_core.errors import VlaError
from vla_core.health import HealthItem, Level

RECENT_S = 30.0  # a restart is a warning for this long, then a number only


def process_item(process: ProcessStatus, now_ns: int) -> HealthItem:
    """Return the health of one process: an error while it is down, a warning for a while after a
    restart.
    """
    values = {
        'state': process.state,
        'pid': str(process.pid or ''),
        'restarts': str(process.restarts),
        'last_end': process.exit_reason,
        'last_stderr': process.last_stderr,
        'log': process.log,
    }
    why = f'{process.exit_reason}: {process.last_stderr}'.rstrip(': ')
    if process.state in ('waiting', 'ended', 'config error'):
        return HealthItem(
            process.name, Level.ERROR, f'not running ({process.state}): {why}', values
        )
    if process.restarts and now_ns - process.started_ns < RECENT_S * 1e9:
        return HealthItem(
            process.name, Level.WARN, f'restarted ({process.restarts}): {why}', values
        )
    text = f'running, {process.restarts} restarts' if process.restarts else 'running'
    return HealthItem(process.name, Level.OK, text, values)


def stack_items(status: StackStatus | None, now_ns: int) -> list[HealthItem]:
    """Return the health of all processes of a run."""
    if status is None or not status.alive(now_ns):
        return [
            HealthItem('supervisor', Level.STALE, 'the supervisor does not write its status', {})
        ]
    return [process_item(process, now_ns) for process in status.processes]


def main() -> int:
    """Publish until told to stop."""
    import rclpy
    from rclpy.node import Node
    from rclpy.signals import SignalHandlerOptions

    from vla_ros.diagnostics import DiagnosticsPublisher
    from vla_ros.spin import exits_on_signals, Spinner

    path, exits = Path(sys.argv[1]), exits_on_signals()

    def items():
        try:
            return stack_items(read_status(path), time.time_ns())
        except VlaError as error:
            return [HealthItem('supervisor', Level.ERROR, str(error), {})]

    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = Node('process_reporter', enable_rosout=False, start_parameter_services=False)
    DiagnosticsPublisher(node, 'supervisor', items)
    with Spinner(node) as spinner:
        spinner.on_error = lambda error: exits.put(1)
        code = exits.get()
    if spinner.error is not None:
        complain(f'process_reporter: {spinner.error}')
    rclpy.try_shutdown()
    return code


if __name__ == '__main__':
    sys.exit(main())
