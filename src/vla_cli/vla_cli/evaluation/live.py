"""Episodes of an evaluation through the real graph: simulator, drivers, model nodes, gate, robot.

Called by `vla eval --live`. Every seed has a stack of its own, started and ended here; an operator
recovers, enables and gives the task, the simulator's truth judges. Deliberately without injected
delays or losses: this measures what the machine does.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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

    VlaError when a stack does not come up.
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
            watch = TruthWatch(seed, options.limit_s, options.standing_m)
            with _watching(watch, truth):
                return watch.result(_insert(link, stack, watch, options.limit_s))


def _insert(link, stack: BackgroundStack, watch: TruthWatch, limit_s: float) -> str:
    """Carry out the task until the truth has a verdict; returns what the task server said."""
    last_s = time.monotonic() + limit_s + LATE_S

    def over() -> bool:
        return bool(watch.verdict) or not stack.running() or time.monotonic() > last_s

    try:
        end = link.execute(INSTRUCTION, limit_s + 2 * LATE_S, stop=over)
    except VlaError as error:
        return f'the task was not carried out: {error}'
    link.spin(AFTER_S, lambda: bool(watch.verdict))
    if end.outcome == 'CANCELED':
        return 'time-out' if watch.began else 'the robot never moved'
    return f'task server: {end.outcome.lower()}'


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
