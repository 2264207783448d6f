"""Single keys from a terminal, without Return, and a status line.

Used by `vla record`. The terminal is put back as it was, whatever happens. Deliberately knows no
recorder.
"""

import select
import sys
import termios
import tty


class Keyboard:
    """A context manager over stdin, which must be a terminal."""

    def __enter__(self) -> 'Keyboard':
        self._before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, *exc_info) -> None:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)
        sys.stdout.write('\n')

    def key(self) -> str:
        """Return a key that was pressed, '' if none was."""
        ready, _, _ = select.select([sys.stdin], [], [], 0.0)
        return sys.stdin.read(1) if ready else ''

    def show(self, line: str, width: int = 100) -> None:
        """Replace the status line."""
        sys.stdout.write('\r' + line[:width].ljust(width))
        sys.stdout.flush()
