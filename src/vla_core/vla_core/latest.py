"""A latest-value slot: where only the newest matters, not a queue.

Called by anything that hands values from one thread to another. Deliberately holds one value only.
"""

import threading
from typing import Generic, TypeVar

T = TypeVar('T')


class LatestSlot(Generic[T]):
    """Holds the newest value; a value replaced before anybody took it is counted.

    Any thread may call any method; one lock guards all. Values must not be None.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._value: T | None = None
        self._fresh = False
        self._overwritten = 0

    def put(self, value: T) -> None:
        """Replace the value and wake every waiter."""
        with self._condition:
            if self._fresh:
                self._overwritten += 1
            self._value = value
            self._fresh = True
            self._condition.notify_all()

    def get(self) -> T | None:
        """Return the newest value and leave it; it no longer counts as unused."""
        with self._condition:
            self._fresh = False
            return self._value

    def take(self) -> T | None:
        """Return the value if it was not taken yet, and empty the slot."""
        with self._condition:
            return self._take()

    def wait(self, timeout_s: float) -> T | None:
        """Take the value, waiting for one at most `timeout_s`; None when none came."""
        with self._condition:
            self._condition.wait_for(lambda: self._fresh, timeout_s)
            return self._take() if self._fresh else None

    def clear(self) -> None:
        """Forget the value without counting it."""
        with self._condition:
            self._value = None
            self._fresh = False

    @property
    def overwritten(self) -> int:
        """Values replaced before anybody read them, since construction."""
        return self._overwritten

    def _take(self) -> T | None:
        value, self._value, self._fresh = self._value, None, False
        return value
