"""Files that appear whole or not at all, and why one could not be written, in words for a person.

Used by whatever writes episodes, checkpoints, caches and states. Libraries wrap the system's error
and keep its number in the text only. Deliberately knows no format.
"""

from collections.abc import Callable
import contextlib
import errno
import os
from pathlib import Path
import re

PARTIAL = '.partial-'
# Of `shutil.copytree`, and of safetensors.
_NUMBER = re.compile(r'\[Errno (\d+)\]|\(os error (\d+)\)')
_CUT_SHORT = re.compile(r'\d+ requested and \d+ written')  # all that numpy says of a full disk
_FULL = (errno.ENOSPC, errno.EDQUOT)


def partial_path(target: Path) -> Path:
    """Where a file or folder is written before it gets its name."""
    return target.with_name(f'{PARTIAL}{os.getpid()}-{target.name}')


def replace_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file, and put it in the place of `target` once it is on the disk.

    What goes wrong is raised as it is; `target` stays as it was then.
    """
    partial = partial_path(target)
    try:
        write(partial)
        sync(partial)
        os.replace(partial, target)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def why_not_written(error: BaseException) -> tuple[str, str]:
    """Return the reason, and what to do about it."""
    number = getattr(error, 'errno', None)
    if number is None:
        number = _number_in(str(error))
    reason = str(error) if number is None else os.strerror(number)
    return reason, 'make room' if number in _FULL else 'check the folder'


def _number_in(text: str) -> int | None:
    found = _NUMBER.search(text)
    if found is not None:
        return int(found[1] or found[2])
    return errno.ENOSPC if _CUT_SHORT.search(text) else None
