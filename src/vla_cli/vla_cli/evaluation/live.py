"""Episodes of an evaluation through the real graph: simulator, drivers, model nodes, gate, robot.

Called by `vla eval --live`. Every seed has a stack of its own, started and ended here; an operator
recovers, enables and gives the task, the simulator's truth judges. An episode ends with that
verdict, or AFTER_S after the task server is content: its criterion reads the sensor, and it
disables the robot. Any other end is a failure. Deliberately without injected delays or losses:
this measures what the machine does.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
import threading
import time

from vla_cli import workspace
from vla_cli.background import BackgroundStack
from vla_cli.examples.live import Operator, READY_S, START_S
from vla_core.errors import StaleDataError, VlaError
from vla_sim.truth import TruthClient
from vla_training.evaluation.episode import EpisodeResult
from vla_training.evaluation.evaluate import Evaluation
from vla_training.evaluation.options import EvaluationOptions, INSTRUCTION
from vla_training.evaluation.watch import TruthWatch

SEE_S = 3.0  # features of the first pictures come within this, on a slow machine, too
LATE_S = 5.0  # from the task's begin to the first motion at most, beyond the limit
AFTER_S = 1.5  # the task server may be content before the truth is
SAMPLE_S = 1.0


def evaluate_live(
    arguments: Sequence[str],
    seeds: Sequence[int],
    options: EvaluationOptions,
    progress: Callable[[EpisodeResult], None],
) -> Evaluation:
    """Run one episode a seed, one after another. `arguments`: who acts, for `vla up`.

    VlaError when a stack does not come up; KeyboardInterrupt once Ctrl-C has cancelled the task.
    """
    results = []
    for seed in seeds:
        results.append(_run_one(tuple(arguments), seed, options))
        progress(results[-1])
    return Evaluation(options, tuple(results))


def _run_one(
    arguments: tuple[str, ...], seed: int, options: EvaluationOptions
) -> EpisodeResult:
    from vla_cli.operator.link import OperatorLink

    sim = f'--sim-arguments=--seed {seed} --eye {options.task}'
    run_dir = workspace.new_run_dir(None)
    with BackgroundStack(run_dir, ('--robot', 'mecademic', *arguments, sim)) as stack:
        with OperatorLink() as link, TruthClient() as truth:
            operator = Operator(link, stack)
            operator.until(lambda: link.call('recover'), START_S)
            link.spin(SEE_S)
            operator.until(operator.enable, READY_S)
            watch = TruthWatch(seed, options.limit_s, options.judged_standing_m)
            with _watching(watch, truth):
                return _insert(link, stack, watch, options.limit_s)


def _insert(link, stack: BackgroundStack, watch: TruthWatch, limit_s: float) -> EpisodeResult:
    """Carry out the task until the truth has a verdict.

    Success counts only if the task was given up for it or the task server was content, too: a
    robot that was stopped stands still at its depth as well.
    """
    last_s, judged = time.monotonic() + limit_s + LATE_S, False

    def over() -> bool:
        nonlocal judged
        judged = bool(watch.verdict)
        return judged or not stack.running() or time.monotonic() > last_s

    try:
        outcome = link.execute(INSTRUCTION, limit_s + 2 * LATE_S, stop=over).outcome
        reason = f'task server: {outcome.lower()}'
    except VlaError as error:
        outcome, reason = '', f'the task was not carried out: {error}'
    if link.interrupted:
        raise KeyboardInterrupt
    if outcome == 'SUCCESS':
        link.spin(AFTER_S, lambda: bool(watch.verdict))
        judged = True
    if outcome in ('CANCELED', '') and time.monotonic() > last_s:  # '': nobody answered a cancel
        reason = 'time-out' if watch.began else 'the robot never moved'
    result = watch.result(reason)
    if result.success and not judged:
        return replace(result, success=False, reason=reason)
    return result


@contextmanager
def _watching(watch: TruthWatch, truth: TruthClient) -> Iterator[None]:
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                watch.take(truth.wait(timeout_s=SAMPLE_S))
            except StaleDataError:
                continue  # the stack's end is noticed by who waits for the task

    thread = threading.Thread(target=look, name='judge', daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
