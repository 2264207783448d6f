"""Removes shared-memory segments that processes killed with -9 left in /dev/shm.

Called by `vla up` before it starts and after it has ended. Fast DDS keeps an exclusive flock on
`<segment>_el` as long as the owner lives, whichever way it dies; a segment whose lock can be had
has no owner. It deliberately touches only old segments of this user, and no ports: those are
small, shared, and mended by Fast DDS itself.
"""

import fcntl
import os
from pathlib import Path
import re
import time

FOLDER = Path('/dev/shm')
# Between creating and locking its file a starting process has no lock either.
LEAST_AGE_S = 10.0
_LOCK_NAME = re.compile(r'^fastrtps_[0-9a-f]{16}_el$')


def remove_orphans(folder: Path = FOLDER, least_age_s: float = LEAST_AGE_S) -> int:
    """Remove segments without an owner; return how many."""
    if not folder.is_dir():
        return 0
    locks = [path for path in folder.iterdir() if _LOCK_NAME.match(path.name)]
    return sum(_removed(path, least_age_s) for path in locks)


def _removed(lock: Path, least_age_s: float) -> bool:
    segment = lock.with_name(lock.name.removesuffix('_el'))
    try:
        status = lock.stat()
        if status.st_uid != os.getuid() or time.time() - status.st_mtime < least_age_s:
            return False
        with lock.open('rb') as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            segment.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)
    except OSError:  # somebody holds the lock, or removed it at the same moment
        return False
    return True
