"""Runs the episodes of `vla eval`, headless or live, and keeps those that were finished.

Called by the verb. Progress goes to stderr. Deliberately writes nothing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vla_cli.arguments import complain
from vla_cli.evaluation.arguments import live_arguments, policy_maker
from vla_core.errors import VlaError

Run = Callable[[Any, Callable], Any]  # options and who hears of each result -> Evaluation


def headless(args, checkpoint: Path | None) -> Run:
    """Episodes in simulated time; VlaError where the checkpoint cannot be used."""
    from vla_training.evaluation.evaluate import evaluate

    maker = policy_maker(args, checkpoint)
    return lambda options, progress: evaluate(maker, args.seeds, options, args.jobs, progress)


def live(args) -> Run:
    """Episodes through the running graph; VlaError for what only headless episodes know."""
    arguments = live_arguments(args)
    from vla_cli.environment import prepare

    prepare()
    from vla_cli.evaluation.live import evaluate_live

    return lambda options, progress: evaluate_live(arguments, args.seeds, options, progress)


def measure(run: Run, options, count: int) -> tuple[Any, BaseException | None]:
    """Return the Evaluation of the finished episodes of `count`, and what ended it early if so:
    Ctrl-C, or an error that a person can put right.
    """
    from vla_training.evaluation.evaluate import Evaluation

    done: list = []

    def progress(result) -> None:
        done.append(result)
        complain(f'{len(done)}/{count}  seed {result.seed}: {result.reason}')

    try:
        return run(options, progress), None
    except (KeyboardInterrupt, VlaError) as end:
        return Evaluation(options, tuple(sorted(done, key=lambda result: result.seed))), end
