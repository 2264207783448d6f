"""One piece of work after another, in this process or side by side in several.

Used by evaluation and `dagger`, whose episodes need a policy that is dear to load: each process
makes its own once. Deliberately knows no episode.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
import functools
import multiprocessing
import signal
from typing import Any, TypeVar

from vla_core.errors import VlaError
from vla_training.processes import ended_by_errors

Item = TypeVar('Item')
Tool = TypeVar('Tool')
Result = TypeVar('Result')

_work_with: Callable[[Any], Any] | None = None  # of a worker process


def work_through(
    make: Callable[[], Tool], work: Callable[[Tool, Item], Result], items: Sequence[Item],
    jobs: int,
) -> Iterator[Result]:  # fmt: skip
    """Yield `work(make(), item)` of each item, in any order; a process calls `make` once.

    Both must be picklable when `jobs` is more than 1; workers compute with one thread each. The
    first error of a worker ends the others and is raised; VlaError when one was killed.
    """
    if jobs <= 1 or not items:
        tool = make()
        yield from (work(tool, item) for item in items)
        return
    context, count = multiprocessing.get_context('spawn'), min(jobs, len(items))
    with ProcessPoolExecutor(count, context, _start, (make, work)) as pool, ended_by_errors():
        try:
            with _interrupts_later():
                futures = [pool.submit(_work, item) for item in items]
                pool.submit(int)  # the pool watches a process from the submission after it on
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise VlaError(
                'a worker process was killed, most likely for lack of memory: try again with '
                'fewer jobs'
            ) from error


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Hold Ctrl-C back. Processes begun meanwhile never see it: who began them ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(make: Callable[[], Any], work: Callable[[Any, Any], Any]) -> None:
    global _work_with
    import torch

    torch.set_num_threads(1)
    tool = functools.cache(make)  # made for the first item: what goes wrong is that one's error
    _work_with = lambda item: work(tool(), item)


def _work(item: Any) -> Any:
    assert _work_with is not None
    return _work_with(item)
