"""Turns what a process writes into a log file with a time before every line.

Used by the supervisor's loop only, in one thread. It deliberately keeps nothing but the last line
and whether a traceback was seen: the file is the record.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
import re
from typing import BinaryIO

MAX_LINE_BYTES = (
    16_384  # a longer line is cut: a process that never ends a line must not fill the memory
)
# What rclpy puts before a message: the log has it, the one line for a person need not.
_ROS_PREFIX = re.compile(r'^\[[A-Z]+\] \[[\d.]+\] \[[^\]]*\]: ')


class LineLog:
    """One log file fed by stdout and stderr of one process after another."""

    def __init__(self, path: Path, on_line: Callable[[str, str], None] | None = None):
        self._file: BinaryIO = path.open('ab', buffering=0)
        self._partial = {'out': b'', 'err': b''}
        self._on_line = on_line
        self.last_stderr = ''
        self.saw_traceback = False

    def new_life(self) -> None:
        """Forget what the process before wrote."""
        self._partial = {'out': b'', 'err': b''}
        self.last_stderr, self.saw_traceback = '', False

    def feed(self, stream: str, data: bytes) -> None:
        """Take bytes from 'out' or 'err' as they come."""
        lines = (self._partial[stream] + data).split(b'\n')
        self._partial[stream] = lines.pop()
        if len(self._partial[stream]) > MAX_LINE_BYTES:
            lines.append(self._partial[stream])
            self._partial[stream] = b''
        self._write(stream, lines)

    def flush(self) -> None:
        """Write lines that were never ended: the process is gone."""
        for stream, rest in self._partial.items():
            if rest:
                self._write(stream, [rest])
        self._partial = {'out': b'', 'err': b''}

    def note(self, text: str) -> None:
        """Write a line of the supervisor itself."""
        self._file.write(f'{_now()} == {text}\n'.encode())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, stream: str, lines: list[bytes]) -> None:
        texts = [line.decode(errors='replace').rstrip() for line in lines]
        if not texts:
            return
        stamp = _now()
        self._file.write(''.join(f'{stamp} {stream} {text}\n' for text in texts).encode())
        for text in texts:
            if stream == 'err' and text:
                self.last_stderr = _ROS_PREFIX.sub('', text)
                self.saw_traceback |= text.startswith('Traceback (most recent call last)')
            if self._on_line is not None and text:
                self._on_line(stream, text)


def _now() -> str:
    return datetime.now().isoformat(sep=' ', timespec='milliseconds')
