"""What launch/stack.yaml says, as written: arguments, environment, nodes.

Read by stack.py, which fills the arguments in. Deliberately starts and substitutes nothing.
"""

from dataclasses import dataclass, field
import re
import shlex
from typing import Any, Literal

from vla_core.errors import ConfigError

GROUPS = ('sim', 'drivers', 'inference', 'tools')
_NAME = re.compile(r'^[A-Za-z_][A-Za-z0-9_]*$')
_NAMESPACE = re.compile(r'^/?([A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*)?$')
_TRUE, _FALSE = ('true', '1', 'yes', 'on'), ('false', '0', 'no', 'off')

ArgumentValue = str | bool | int | float


@dataclass(frozen=True)
class Argument:
    """A value the person starting the stack may give. `words` is text that is split like a shell
    line.
    """

    description: str
    default: str | bool | int | float = ''
    type: Literal['text', 'bool', 'int', 'float', 'words', 'namespace'] = 'text'
    choices: tuple[str, ...] = ()

    def parse(self, value: ArgumentValue, where: str, key: str) -> ArgumentValue:
        """Return `value` in this argument's type; ConfigError when it is none."""
        text = str(value)
        if self.choices and text not in self.choices:
            raise ConfigError(where, key, text, self.choices)
        if self.type == 'bool':
            if text.lower() not in _TRUE + _FALSE:
                raise ConfigError(where, key, text, 'expected true or false')
            return text.lower() in _TRUE
        if self.type in ('int', 'float'):
            return self._number(text, where, key)
        if self.type == 'namespace' and not _NAMESPACE.match(text):
            raise ConfigError(
                where, key, text, 'expected a ROS namespace such as lab or /lab/left'
            )
        if self.type == 'words':
            split_words(text, where, key)
        return text

    def _number(self, text: str, where: str, key: str) -> int | float:
        try:
            return int(text) if self.type == 'int' else float(text)
        except ValueError:
            kind = 'a whole number' if self.type == 'int' else 'a number'
            raise ConfigError(where, key, text, f'expected {kind}') from None


@dataclass(frozen=True)
class Respawn:
    """What happens when a process ends by itself: the delay doubles from `delay_s` to
    `max_delay_s`.
    """

    enabled: bool = True
    delay_s: float = 0.5
    max_delay_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.delay_s <= self.max_delay_s:
            raise ValueError('delay_s must be between 0 and max_delay_s')


@dataclass(frozen=True)
class NodeSpec:
    """One entry of `nodes`, as written. `kind`: a ROS lifecycle node, a plain ROS node, or a
    process without ROS.
    """

    name: str
    package: str
    executable: str
    group: Literal['sim', 'drivers', 'inference', 'tools']
    kind: Literal['lifecycle', 'node', 'process'] = 'lifecycle'
    arguments: tuple[str, ...] = ()
    parameter_files: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    condition: str = ''
    respawn: Respawn = Respawn()

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise ValueError(
                f'the node name {self.name!r} must be letters, digits and underscores'
            )
        if self.kind == 'process' and (self.parameters or self.parameter_files):
            raise ValueError(f'{self.name} is a plain process: it takes arguments, not parameters')


@dataclass(frozen=True)
class Stack:
    """The whole description. `environment`: defaults, a variable that is already set wins."""

    arguments: dict[str, Argument]
    environment: dict[str, str]
    nodes: tuple[NodeSpec, ...]
    file: str = ''

    def __post_init__(self) -> None:
        names = [node.name for node in self.nodes]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise ValueError(f'two nodes are called {double[0]}; names must be unique')


def split_words(text: str, where: str, key: str) -> list[str]:
    """Split like a shell line; ConfigError where that is none."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(where, key, text, f'cannot be split into words: {error}') from None
