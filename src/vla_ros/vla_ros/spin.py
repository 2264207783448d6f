"""The main function of every node process: start, signals, exit code, bounded shutdown.

Called by the `main` of each node module. The executor spins in a thread of its own while the main
thread waits for a signal or a failure: so the node can leave its lifecycle states while its
context still works, and the ports are free and the last messages out before the process ends.
"""

from collections.abc import Callable, Sequence
import os
from queue import SimpleQueue
import signal
import sys
import threading

import rclpy
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from vla_core.errors import VlaError
from vla_core.realtime import be_nice
from vla_ros.lifecycle import one_line, VlaLifecycleNode

SWITCH_INTERVAL_S = (
    0.0005  # default 5 ms: a thread that wakes up would wait that long for a busy one
)
SHUTDOWN_LIMIT_S = 2.8


def run_node(
    factory: Callable[[], VlaLifecycleNode], args: Sequence[str] | None = None, nice: int = 0
) -> int:
    """Run the node made by `factory()` until SIGINT or SIGTERM; return the exit code.

    nice: niceness of the whole process where the system permits it. It is set before the
    middleware starts its threads, which inherit it: what they do late, no thread here can mend.
    0 after a signal; 1 after a VlaError (one line on stderr) or an unexpected error (logged with
    its traceback).
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    be_nice(nice)
    args = list(sys.argv if args is None else ['node', *args])
    try:
        _refuse_missing_files(args)
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        _refuse_arguments(remove_ros_args(args)[1:])
        return _run(factory)
    except VlaError as error:
        return _complain(error)
    except Exception as error:
        if type(error).__name__ in ('RCLError', 'RCLInvalidROSArgsError', 'UnknownROSArgsError'):
            return _complain(
                error
            )  # bad --ros-args or parameter file; rclpy gives them no common base
        raise
    finally:
        rclpy.try_shutdown()


def _run(factory: Callable[[], VlaLifecycleNode]) -> int:
    exits = exits_on_signals()
    node = factory()
    node.on_failure = lambda error: exits.put(1)
    with Spinner(node) as spinner:
        spinner.on_error = lambda error: node.fail(error)
        code = exits.get()
        _limit_shutdown(code)
        spinner.stop()
        node.shutdown()
        node.destroy_node()
    return 1 if node.failure is not None else code


def exits_on_signals() -> SimpleQueue[int]:
    """A queue that gets exit code 0 at SIGINT or SIGTERM; for a context without rclpy's handlers,
    which shut it down under the executor.
    """
    # SimpleQueue.put is reentrant, so a signal handler may call it; an Event is not.
    exits: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: exits.put(0))
    return exits


class Spinner:
    """Spins nodes in a thread until `stop`; a context manager. `on_error` hears what a callback
    raised.
    """

    def __init__(self, *nodes):
        self.on_error: Callable[[BaseException], None] = lambda error: None
        self.error: BaseException | None = None
        self._executor = SingleThreadedExecutor()
        self._stop = threading.Event()
        for node in nodes:
            self._executor.add_node(node)
        self._thread = threading.Thread(target=self._spin, name='executor', daemon=True)

    def __enter__(self) -> 'Spinner':
        self._thread.start()
        return self

    def __exit__(self, *exc_info) -> None:
        self.stop()

    def stop(self) -> None:
        """Return when no callback runs any more."""
        if not self._stop.is_set():
            self._stop.set()
            self._executor.create_task(lambda: None)  # wakes it and makes spin_once return
        self._thread.join(SHUTDOWN_LIMIT_S)
        self._executor.shutdown(timeout_sec=0)

    def _spin(self) -> None:
        try:
            # Not spin_until_future_complete: it adds a callback to its future at every turn and
            # never takes one away, 100 MB an hour at 200 turns a second.
            while not self._stop.is_set() and self._executor.context.ok():
                self._executor.spin_once()
        except (ExternalShutdownException, ShutdownException):
            return  # the context was shut down under the executor: an end, not an error
        except Exception as error:  # noqa: BLE001 - must reach the main thread
            self.error = error
            self.on_error(error)


def _refuse_arguments(left: Sequence[str]) -> None:
    if left:
        raise VlaError(
            f'unknown argument {left[0]}; parameters are given as --ros-args -p NAME:=VALUE'
        )


def _refuse_missing_files(args: Sequence[str]) -> None:
    for option, value in zip(args, args[1:]):
        if option == '--params-file' and not os.path.isfile(value):
            raise VlaError(f'--params-file {value}: no such file')


def _complain(error: BaseException) -> int:
    sys.stderr.write(f'{os.path.basename(sys.argv[0])}: {one_line(error)}\n')
    return 1


def _limit_shutdown(code: int) -> None:
    """End the process hard if the orderly way takes too long."""

    def end():
        sys.stderr.write(f'shutdown took more than {SHUTDOWN_LIMIT_S} s; ending at once\n')
        os._exit(code or 1)

    timer = threading.Timer(SHUTDOWN_LIMIT_S, end)
    timer.daemon = True
    timer.start()
