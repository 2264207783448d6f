"""Named counters: nothing is dropped or caught without being counted here.

Used by devices, nodes and engines from any thread; shown in the diagnostics.
"""

from collections import Counter
import threading


class Counters:
    """Thread-safe counts by kind, for example 'bad_length'. One lock guards all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, kind: str, n: int = 1) -> None:
        """Count `n` more of `kind`; 0 makes the kind appear in snapshots."""
        with self._lock:
            self._counts[kind] += n

    def get(self, kind: str) -> int:
        """Return the count of one kind, 0 if it never came."""
        with self._lock:
            return self._counts[kind]

    def snapshot(self) -> dict[str, int]:
        """Return a copy of all counts, sorted by kind."""
        with self._lock:
            return dict(sorted(self._counts.items()))
