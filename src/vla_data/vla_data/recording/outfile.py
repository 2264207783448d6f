"""The file under an MCAP writer: unbuffered, locked, and synced on a schedule.

One thread, the writer's. The lock tells every other process that this episode is being recorded;
the kernel frees it when the process dies, however it dies. Deliberately no buffering: what was
written is in the kernel's cache and survives kill -9.
"""

import fcntl
import os
from pathlib import Path
import time


class OutFile:
    """Write-only file with `write`, `tell` and `flush` as mcap's writer wants them.

    `sync_s`: power is allowed to cost this many seconds of data. OSError passes through.
    """

    def __init__(self, path: Path, sync_s: float = 5.0) -> None:
        self.path = path
        self._sync_s = sync_s
        self._position = 0
        self._file = open(path, 'xb', buffering=0)  # noqa: SIM115 - closed by `close`
        lock(self._file.fileno())
        self._synced_s = time.monotonic()

    def write(self, data: bytes) -> int:
        """Write all of `data`."""
        view = memoryview(data)
        while view:
            written = self._file.write(view)
            self._position += written
            view = view[written:]
        return len(data)

    def tell(self) -> int:
        """Bytes written."""
        return self._position

    def flush(self) -> None:
        """Bring the data to the disk if that was last done `sync_s` ago."""
        if time.monotonic() - self._synced_s >= self._sync_s:
            self.sync()

    def sync(self) -> None:
        """Bring the data to the disk."""
        os.fdatasync(self._file.fileno())
        self._synced_s = time.monotonic()

    def close(self) -> None:
        """Close and free the lock."""
        self._file.close()


def lock(descriptor: int) -> bool:
    """Take the exclusive lock of an open file; False when another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: `open_for_writing` is all there is
        return True
    return True


def open_for_writing(path: Path) -> bool:
    """Say whether any process of this machine that we may look at has the file open to write."""
    wanted = os.path.realpath(path)
    for descriptors in Path('/proc').glob('[0-9]*/fd'):
        try:
            for link in descriptors.iterdir():
                if os.readlink(link) == wanted and _writes(link):
                    return True
        except OSError:
            continue  # it ended meanwhile, or belongs to somebody else
    return False


def _writes(link: Path) -> bool:
    text = (link.parent.parent / 'fdinfo' / link.name).read_text()
    flags = next(line.split()[1] for line in text.splitlines() if line.startswith('flags:'))
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
