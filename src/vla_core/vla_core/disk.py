"""Why a file could not be written, in words for a person.

Used by whatever writes checkpoints, caches and states. Libraries wrap the system's error and keep
its number in the text only. Deliberately writes nothing itself.
"""

import errno
import os
import re

# Of `shutil.copytree`, and of safetensors.
_NUMBER = re.compile(r'\[Errno (\d+)\]|\(os error (\d+)\)')
_CUT_SHORT = re.compile(r'\d+ requested and \d+ written')  # all that numpy says of a full disk
_FULL = (errno.ENOSPC, errno.EDQUOT)


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
