"""The Meca500's text protocol: bytes to commands, messages to bytes.

The emulator's server and controller use it. A command is `Name(arg,...)` or `Name`, ended by NUL
or a line feed; a leading '-' only keeps it out of the robot's log. A message is
`[code][text]` and a NUL. Deliberately knows no command and keeps no state of the robot.

Source: Mecademic programming manual for the Meca500, section TCP/IP communication.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import re

from vla_sim.meca.codes import Code

LONGEST_COMMAND = 4096  # bytes; longer ones are answered with CMD_TOO_LONG
_COMMAND = re.compile(r'^-?\s*([A-Za-z]\w*)\s*(?:\(([^()]*)\))?\s*;?$')


@dataclass(frozen=True)
class Command:
    """A command as it was written. `name` is compared without case."""

    name: str
    args: tuple[str, ...] = ()

    def numbers(self) -> tuple[float, ...]:
        """All arguments as finite numbers; ValueError if one is not."""
        values = tuple(float(arg) for arg in self.args)
        if any(value - value != 0.0 for value in values):  # NaN and the infinities
            raise ValueError('not a finite number')
        return values


class SyntaxProblem(ValueError):  # noqa: N818 - a person's mistake, answered, not raised to a user
    """A line that is no command."""


def parse_command(line: str) -> Command:
    """Read one line without its terminator; SyntaxProblem if it is no command."""
    found = _COMMAND.match(line.strip())
    if found is None:
        raise SyntaxProblem(line)
    name, inside = found.groups()
    args = () if inside is None or not inside.strip() else tuple(inside.split(','))
    return Command(name, tuple(arg.strip() for arg in args))


class LineReader:
    """Cuts a byte stream into lines. An over-long line comes out as None, once."""

    def __init__(self) -> None:
        self._rest = b''
        self._skipping = False

    def feed(self, data: bytes) -> list[str | None]:
        """Lines that `data` completes, without terminators and empty lines."""
        *complete, rest = (
            (self._rest + data).replace(b'\r', b'').replace(b'\n', b'\0').split(b'\0')
        )
        lines: list[str | None] = []
        for line in complete:
            if self._skipping:
                self._skipping = False
            elif len(line) > LONGEST_COMMAND:
                lines.append(None)
            elif line.strip():
                lines.append(line.decode('ascii', 'replace'))
        if len(rest) > LONGEST_COMMAND:
            if not self._skipping:
                lines.append(None)
            self._skipping, rest = True, b''
        self._rest = rest
        return lines


def message(code: Code | int, text: object = '') -> bytes:
    """One message on the wire."""
    return f'[{int(code)}][{text}]\0'.encode('ascii', 'replace')


def numbers(values: Sequence[float], digits: int = 4) -> str:
    """Comma-separated numbers as the robot writes them."""
    return ','.join(f'{value:.{digits}f}' for value in values)
