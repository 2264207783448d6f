"""`$(name)` in the stack description: texts, values, process arguments and conditions filled in.

Used by stack.py. Every mistake is a ConfigError that names file and key.
"""

from collections.abc import Iterable, Mapping
import re
from typing import Any

from vla_core.errors import ConfigError, did_you_mean
from vla_core.stack_description import ArgumentValue, NodeSpec, split_words

_SUBSTITUTION = re.compile(r'\$\(([^)]*)\)')


class Filler:
    """Replaces `$(name)` by argument values; `$(share)` is the folder of the description."""

    def __init__(
        self,
        where: str,
        values: Mapping[str, ArgumentValue],
        split: set[str],
        choices: Mapping[str, tuple[str, ...]],
    ) -> None:
        self._where = where
        self._split = split  # names of the arguments of type `words`
        self._choices = choices
        self.values = values

    def _get(self, name: str, key: str) -> ArgumentValue:
        """Return an argument's value; of `name == choice`, whether it has that value."""
        name, equals, choice = (part.strip() for part in name.partition('=='))
        if equals:
            choices = self._choices.get(name, ())
            if name in self.values and choice not in choices:
                raise ConfigError(self._where, key, choice, choices or f'{name} has no choices')
            return self._get(name, key) == choice
        if name not in self.values:
            hint = did_you_mean(name, self.values)
            known = f'known: {", ".join(self.values)}'
            raise ConfigError(self._where, key, f'$({name})', f'no such argument{hint} ({known})')
        return self.values[name]

    def text(self, text: str, key: str) -> str:
        """Return `text` with every substitution made."""
        return _SUBSTITUTION.sub(lambda match: _as_text(self._get(match.group(1), key)), text)

    def value(self, value: Any, key: str) -> Any:
        """Return a parameter value. One that is just `$(x)` keeps x's type; None when x is empty:
        left out.
        """
        if not isinstance(value, str):
            return value
        whole = _SUBSTITUTION.fullmatch(value)
        if whole is None:
            return self.text(value, key)
        filled = self._get(whole.group(1), key)
        return None if filled == '' else filled

    def words(self, items: Iterable[str], key: str) -> tuple[str, ...]:
        """Return process arguments; an item that is just `$(x)` is left out when x is empty, split
        when it is words.
        """
        result: list[str] = []
        for item in items:
            filled = self.text(item, key)
            whole = _SUBSTITUTION.fullmatch(item)
            if whole is not None and whole.group(1) in self._split:
                result += split_words(filled, self._where, key)
            elif filled or whole is None:
                result.append(filled)
        return tuple(result)

    def condition(self, node: NodeSpec) -> bool:
        """Evaluate '', 'x' or 'not x', where x is a bool argument or `argument == choice`."""
        if not node.condition:
            return True
        words = node.condition.split()
        negated = words[0] == 'not'
        key = f'nodes.{node.name}.condition'
        value = self._get(' '.join(words[1:] if negated else words), key)
        if not isinstance(value, bool):
            raise ConfigError(
                self._where, key, node.condition, 'expected the name of a bool argument'
            )
        return value != negated


def _as_text(value: ArgumentValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
