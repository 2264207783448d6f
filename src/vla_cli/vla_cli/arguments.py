"""Command lines in the house manner: a wrong option names the nearest valid one, exit code 1, no
traceback.

Used by every verb. It deliberately knows no verb.
"""

import argparse
from collections.abc import Callable
import sys

from vla_core.errors import did_you_mean, VlaError


class UsageError(VlaError):
    """The command line cannot be understood; the text says what is valid."""


class Parser(argparse.ArgumentParser):
    """argparse without abbreviations, raising UsageError with the nearest valid option."""

    def __init__(self, **kwargs):
        kwargs.setdefault('formatter_class', argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def options(self) -> list[str]:
        """Return every option string."""
        return [text for action in self._actions for text in action.option_strings]

    def error(self, message):
        """Raise instead of printing the usage and exiting with 2."""
        raise UsageError(f'{self.prog}: {message}; see `{self.prog} --help`')

    def parse_args(self, args=None, namespace=None, caller: 'Parser | None' = None):
        """Parse; an unknown option is a UsageError with the nearest valid one.

        With `caller`, the parser whose unknown options came here: its options are valid too, and
        its name is the one the user typed.
        """
        parsed, rest = self.parse_known_intermixed_args(args, namespace)
        if rest:
            word = rest[0].split('=')[0]
            kind = 'option' if word.startswith('-') else 'argument'
            choices = self.options() + (caller.options() if caller else [])
            hint = did_you_mean(word, choices) if kind == 'option' else ''
            name = (caller or self).prog
            raise UsageError(f'{name}: unknown {kind} {word}{hint}; see `{name} --help`')
        return parsed


def positive(text: str) -> float:
    """Return a number above 0, for argparse's `type`."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 < value < 1e9:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number above 0')
    return value


def whole(
    least: int, most: int = 10**9, what: str = 'whole number'
) -> Callable[[str], int]:  # fmt: skip
    """Return a reader of whole numbers from `least` to `most`, for argparse's `type`."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f'{text!r} is not a {what} from {least} to {most}')
        return int(text)

    return read


processes = whole(1, 256, 'number of processes')
episodes = whole(1, 100_000, 'number of episodes')
first_seed = whole(0, 2_000_000_000, 'seed')  # and a seed for each episode fits 31 bits


def port(text: str) -> int:
    """Return a TCP port, for argparse's `type`."""
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f'{text!r} is not a port from 1 to 65535')
    return int(text)


def say(text: str = '') -> None:
    """Write one line to the terminal at once."""
    sys.stdout.write(text + '\n')
    sys.stdout.flush()


def complain(text: str) -> None:
    """Write one line to stderr."""
    sys.stderr.write(text + '\n')
    sys.stderr.flush()
