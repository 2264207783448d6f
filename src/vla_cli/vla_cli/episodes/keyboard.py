"""Single keys from a terminal, without Return, and a status line.

Used by `vla record`. The terminal is put back as it was, whatever happens. Deliberately knows no
recorder.
"""

import os
import select
import sys
import termios
import tty

UNKNOWN_COLUMNS = 80


class Keyboard:
    """A context manager over stdin, which must be a terminal."""

    def __enter__(self) -> 'Keyboard':
        self._fd = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd)
        return self

    def __exit__(self, *exc_info) -> None:
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
        sys.stdout.write('\n')

    def key(self) -> str:
        """Return the oldest key that was pressed, '' if none was; EOFError when the terminal is
        gone.

        Not through sys.stdin: its buffer would swallow all keys but the first, out of sight of
        select.
        """
        ready, _, _ = select.select([self._fd], [], [], 0.0)
        if not ready:
            return ''
        data = os.read(self._fd, 1)
        if not data:
            raise EOFError('the terminal is gone')
        return data.decode('latin-1')

    def show(self, line: str) -> None:
        """Replace the status line; what does not fit into the terminal as it is now is cut."""
        columns = os.get_terminal_size(self._fd).columns or UNKNOWN_COLUMNS
        sys.stdout.write('\r\x1b[K' + line[: max(1, columns - 1)])  # a full line would wrap
        sys.stdout.flush()

    def tell(self, text: str) -> None:
        """Write a line that stays, above the status line."""
        sys.stdout.write(f'\r\x1b[K{text}\n')
        sys.stdout.flush()
