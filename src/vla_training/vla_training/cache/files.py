"""Files of features, episodes, pictures, scenes and corrections: written whole, found damaged.

Used by whatever keeps such. Deliberately knows no format.
"""

from collections.abc import Callable
from pathlib import Path
import zipfile

from vla_core.disk import replace_whole, why_not_written
from vla_core.errors import VlaError

# What numpy raises for a file that is cut off, spoilt, or lacks an array.
DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def replace_file(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file that appears whole or not at all; VlaError where it cannot be."""
    from safetensors import SafetensorError

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_whole(target, write)
    except (OSError, SafetensorError) as error:
        raise unwritten(target, error) from error


def unwritten(target: Path, error: Exception) -> VlaError:
    """Return what to tell of a file or folder that could not be written."""
    reason, remedy = why_not_written(error)
    return VlaError(f'{target}: cannot be written ({reason}); {remedy}')
