"""One piece of work after another, in this process or side by side in several.

Used by evaluation and `dagger`, whose episodes need a policy that is dear to load: each process
makes its own once. Deliberately knows no episode.
"""

from collections.abc import Callable, Iterator, Sequence
import functools
import multiprocessing
from typing import Any, TypeVar

Item = TypeVar('Item')
Tool = TypeVar('Tool')
Result = TypeVar('Result')

_work_with: Callable[[Any], Any] | None = None  # of a worker process


def work_through(
    make: Callable[[], Tool], work: Callable[[Tool, Item], Result], items: Sequence[Item],
    jobs: int,
) -> Iterator[Result]:  # fmt: skip
    """Yield `work(make(), item)` of each item, in any order; a process calls `make` once.

    Both must be picklable when `jobs` is more than 1; workers compute with one thread each.
    """
    if jobs <= 1 or not items:
        tool = make()
        yield from (work(tool, item) for item in items)
        return
    context = multiprocessing.get_context('spawn')
    with context.Pool(min(jobs, len(items)), _start, (make, work)) as pool:
        yield from pool.imap_unordered(_work, items)


def _start(make: Callable[[], Any], work: Callable[[Any, Any], Any]) -> None:
    global _work_with
    import torch

    torch.set_num_threads(1)
    _work_with = functools.partial(work, make())


def _work(item: Any) -> Any:
    assert _work_with is not None
    return _work_with(item)
