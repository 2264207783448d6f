"""Worker processes that end together: nobody waits for what the others are at after an error.

Used by whatever hands work to a pool of processes. Deliberately knows no pool and no work.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import multiprocessing


@contextmanager
def ended_by_errors() -> Iterator[None]:
    """End the child processes that were begun meanwhile when an error is raised."""
    others = multiprocessing.active_children()
    try:
        yield
    except BaseException:
        for process in set(multiprocessing.active_children()).difference(others):
            process.terminate()
        raise
