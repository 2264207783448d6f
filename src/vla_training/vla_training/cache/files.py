"""Files that appear whole or not at all, and what reading a damaged one raises.

Used by whatever keeps features, episodes, pictures, scenes and corrections. Deliberately knows no
format.
"""

from collections.abc import Callable
import contextlib
import os
from pathlib import Path
import zipfile

from vla_core.disk import why_not_written
from vla_core.errors import VlaError

PARTIAL = '.partial-'
# What numpy raises for a file that is cut off, spoilt, or lacks an array.
DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def partial_path(target: Path) -> Path:
    """Where a file or folder is written before it gets its name."""
    return target.with_name(f'{PARTIAL}{os.getpid()}-{target.name}')


def replace_file(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file that appears whole or not at all; VlaError where it cannot be."""
    from safetensors import SafetensorError

    partial = partial_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        sync(partial)
        os.replace(partial, target)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise unwritten(target, error) from error


def unwritten(target: Path, error: Exception) -> VlaError:
    """Return what to tell of a file or folder that could not be written."""
    reason, remedy = why_not_written(error)
    return VlaError(f'{target}: cannot be written ({reason}); {remedy}')


def sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open('rb') as file:
        os.fsync(file.fileno())
