"""Ctrl-C as a wish to stop after the step: used by the loop.

A second Ctrl-C interrupts at once, as usual. Elsewhere than in the main thread it does nothing.
"""

import signal
import threading
from types import FrameType
from typing import Any


class Interrupt:
    """While it is entered, the first SIGINT or SIGTERM sets `asked`."""

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> 'Interrupt':
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in self._SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
