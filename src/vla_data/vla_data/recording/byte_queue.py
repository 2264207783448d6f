"""A queue bounded in bytes, between the thread that takes messages and the one that writes.

Used by Recording. It never blocks the thread that puts and never drops what it has accepted: what
does not fit is refused, and the caller ends the recording.
"""

from collections import deque
from dataclasses import dataclass
import threading

OVERHEAD_BYTES = 200  # of one entry in Python


@dataclass(frozen=True)
class Entry:
    """One serialized message. Times are Unix ns."""

    topic: str
    log_ns: int
    publish_ns: int
    data: bytes
    lost_before: int = 0  # messages of the topic that the middleware lost right before this one


class ByteQueue:
    """`put` from one thread, `take` from another; one lock guards all."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self.highest_bytes = 0
        self.closed = False

    @property
    def bytes(self) -> int:
        """Bytes that wait."""
        return self._bytes

    def put(self, entries: list[Entry]) -> int:
        """Add as many of the entries as fit, oldest first; return how many: none once closed."""
        with self._lock:
            if self.closed:
                return 0
            for number, entry in enumerate(entries):
                size = len(entry.data) + OVERHEAD_BYTES
                if self._bytes + size > self._limit_bytes:
                    return number
                self._entries.append(entry)
                self._bytes += size
                self.highest_bytes = max(self.highest_bytes, self._bytes)
        return len(entries)

    def close_if_empty(self) -> bool:
        """Accept nothing more if nothing waits; say whether that is so now."""
        with self._lock:
            self.closed = self.closed or not self._entries
            return self.closed

    def take(self, most: int = 64) -> list[Entry]:
        """Remove and return the oldest entries; few at a time, so that the bound stays true."""
        with self._lock:
            taken = [self._entries.popleft() for _ in range(min(most, len(self._entries)))]
            self._bytes -= sum(len(entry.data) + OVERHEAD_BYTES for entry in taken)
            return taken
