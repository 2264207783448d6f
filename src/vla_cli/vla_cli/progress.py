"""Progress of a long run in one line: how much, how fast, how long still.

Used by `vla cache` and `vla export`. On a terminal the line is drawn over and over; elsewhere, in
a log file, a plain line now and then. Deliberately measures nothing but time.
"""

from collections.abc import Callable
import time
from typing import TextIO

_DRAW_S, _LINE_S = 0.2, 15.0
_BAR = 24


class ProgressLine:
    """One thread."""

    def __init__(
        self, unit: str, stream: TextIO, steady: Callable[[], float] = time.monotonic
    ) -> None:
        """`unit`: what is counted, in the plural."""
        self._unit, self._stream, self._steady = unit, stream, steady
        self._drawn = stream.isatty()
        self._begun_s = self._last_s = steady()
        self._width = 0

    def update(self, done: int, expected: int) -> None:
        """Tell how much is done; not every call is shown."""
        now_s = self._steady()
        if now_s - self._last_s < (_DRAW_S if self._drawn else _LINE_S):
            return
        self._last_s = now_s
        text = self.text(done, expected)
        if self._drawn:
            self._stream.write('\r' + text.ljust(self._width))
            self._width = len(text)
        else:
            self._stream.write(text + '\n')
        self._stream.flush()

    def text(self, done: int, expected: int) -> str:
        """Return the line: bar (terminal only), count, rate, time left."""
        spent_s = max(self._steady() - self._begun_s, 1e-9)
        rate = done / spent_s
        share = min(1.0, done / max(expected, 1))
        line = f'{done}/{expected} {self._unit}, {rate:.1f}/s'
        if rate > 0:
            line += f', {duration((expected - done) / rate)} left'
        if not self._drawn:
            return line
        filled = round(share * _BAR)
        return f'[{"#" * filled}{"." * (_BAR - filled)}] {100 * share:3.0f} %  {line}'

    def end(self) -> None:
        """Leave the drawn line."""
        if self._drawn and self._width:
            self._stream.write('\r' + ' ' * self._width + '\r')
            self._stream.flush()


def duration(seconds: float) -> str:
    """Seconds as 42 s, 3 min 20 s, 2 h 05 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f'{whole} s'
    if whole < 3600:
        return f'{whole // 60} min {whole % 60:02d} s'
    return f'{whole // 3600} h {whole % 3600 // 60:02d} min'
