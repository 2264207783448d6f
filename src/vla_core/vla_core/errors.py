"""Typed errors of the whole suite, and the "did you mean" helper.

Raised everywhere; node mains and the command line turn a `VlaError` into one line and exit code 1.
Deliberately does no logging and knows no exit codes.
"""

from collections.abc import Iterable
import difflib
from os import PathLike
from typing import Any


class VlaError(Exception):
    """Anything a person can put right; its text says what to do."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes by text and attributes: subclasses are made of other things."""
        return _arrived, (type(self), self.args, self.__dict__)


class ConfigError(VlaError):
    """A configuration value is wrong: names the file, the key, the value and what is allowed.

    `allowed` is either a sentence ('expected a number above 0') or the valid choices, which are
    then listed with the nearest one to `value`.
    """

    def __init__(
        self,
        file: str | PathLike[str],
        key: str,
        value: object,
        allowed: str | Iterable[str],
    ) -> None:
        self.file = str(file)
        self.key = key
        self.value = value
        if isinstance(allowed, str):
            self.allowed = allowed
        else:
            choices = [str(choice) for choice in allowed]
            self.allowed = (
                f'expected one of {", ".join(choices)}{did_you_mean(str(value), choices)}'
            )
        subject = f'{self.key} = {_short(value)}' if value is not None else self.key
        super().__init__(': '.join(part for part in (self.file, subject, self.allowed) if part))


class DeviceError(VlaError):
    """A device or its transport failed; the driver retries with back-off and shows it."""


class StaleDataError(VlaError):
    """Data is older than its limit and must not be used."""


class ContractMismatch(VlaError):  # noqa: N818 - the name is part of the house vocabulary
    """Two sides were made for different contracts."""


class WireFormatError(VlaError):
    """Bytes from the wire are not what the format says. `kind` is a slug to count by."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(f'{text} [{kind}]')


def closest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice most like `word` (case, '-' and '_' do not count), None if none is."""
    plain = {_plain(choice): choice for choice in choices}
    near = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=0.6)
    return plain[near[0]] if near else None


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return '; did you mean X?' to append to a message, or '' if nothing is near."""
    near = closest(word, choices)
    return f'; did you mean {near}?' if near is not None else ''


def _arrived(kind: type[VlaError], args: tuple[Any, ...], state: dict[str, Any]) -> VlaError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def _plain(word: str) -> str:
    return word.lower().replace('-', '_')


def _short(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + '...'
