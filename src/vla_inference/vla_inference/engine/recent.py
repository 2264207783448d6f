"""The last values of a duration, for the diagnostics.

Filled by a worker thread, read by the executor's thread once a second. Deliberately short: whole
runs are measured from the messages, which hold every value.
"""

from collections import deque
import threading

import numpy as np


class Recent:
    """The last `size` numbers. Any thread may call; one lock guards all."""

    def __init__(self, size: int = 100) -> None:
        self._values: deque[float] = deque(maxlen=size)
        self._lock = threading.Lock()

    def add(self, value: float) -> None:
        """Take in one value; the oldest one goes."""
        with self._lock:
            self._values.append(value)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._values.clear()

    def summary_ms(self, name: str) -> dict[str, str]:
        """Return p50, p99 and maximum of durations given in s, as text in ms; empty before the
        first.
        """
        with self._lock:
            values = np.array(self._values) * 1e3
        if not len(values):
            return {}
        p50, p99 = np.percentile(values, (50, 99))
        return {
            f'{name}_p50_ms': f'{p50:.1f}',
            f'{name}_p99_ms': f'{p99:.1f}',
            f'{name}_max_ms': f'{values.max():.1f}',
        }
