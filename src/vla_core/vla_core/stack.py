"""The stack description, launch/stack.yaml: which processes make the suite, and how each is
started.

Read by `vla up` (plain processes) and by launch/*.launch.py (launch_ros), which both start exactly
what `resolve` returns. It deliberately finds no executables, starts nothing and reads no node's
parameter files: an unknown parameter is refused by the node that does not declare it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
import json
from os import PathLike
from pathlib import Path
import re
import shlex
from typing import Any, Literal

import yaml

from vla_core.config import from_dict, load_yaml
from vla_core.errors import ConfigError, did_you_mean

GROUPS = ('sim', 'drivers', 'inference', 'tools')
_SUBSTITUTION = re.compile(r'\$\(([^)]*)\)')
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
            _split(text, where, key)
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


@dataclass(frozen=True)
class Process:
    """One process to start: everything after the executable is in `command_tail`."""

    name: str
    package: str  # '' means: the executable is looked up in PATH
    executable: str
    group: str
    kind: str
    namespace: str  # absolute, '/' at least
    arguments: tuple[str, ...]
    ros_arguments: tuple[str, ...]  # without the name and namespace remappings
    respawn: Respawn

    @property
    def command_tail(self) -> tuple[str, ...]:
        """All arguments, in the order in which launch_ros' Node action puts them."""
        if self.kind == 'process':
            return self.arguments
        middle = ('--ros-args', *self.ros_arguments) if self.ros_arguments else ()
        remaps = ('--ros-args', '-r', f'__node:={self.name}', '-r', f'__ns:={self.namespace}')
        return (*self.arguments, *middle, *remaps)


@dataclass(frozen=True)
class Resolved:
    """A description with all arguments filled in, ready to start."""

    values: dict[str, ArgumentValue]
    environment: dict[str, str]
    processes: tuple[Process, ...]

    def added_environment(self, present: Mapping[str, str]) -> dict[str, str]:
        """Return the variables to add to `present`: those it does not hold already."""
        return {key: value for key, value in self.environment.items() if key not in present}


@dataclass(frozen=True)
class Override:
    """One `--set node.parameter=value`; the value is read as YAML, so 5 is a number and '5' a
    text.
    """

    node: str
    parameter: str
    value: Any

    @classmethod
    def parse(cls, text: str) -> 'Override':
        """Read `node.parameter=value`."""
        name, equals, value = text.partition('=')
        node, dot, parameter = name.strip().partition('.')
        if not (equals and dot and node and parameter):
            raise ConfigError(
                '--set', text, None, 'expected NODE.PARAMETER=VALUE, e.g. robot_driver.port=5556'
            )
        try:
            return cls(node, parameter, yaml.safe_load(value) if value else '')
        except yaml.YAMLError:
            return cls(node, parameter, value)


def load_stack(path: str | PathLike[str]) -> Stack:
    """Read and check a stack description; every mistake is a ConfigError that names the key."""
    stack = replace(from_dict(Stack, load_yaml(path), str(path)), file=str(path))
    for name, argument in stack.arguments.items():
        argument.parse(argument.default, stack.file, f'arguments.{name}.default')
    resolve(stack)  # finds wrong substitutions and conditions now, not when they are first used
    return stack


def resolve(
    stack: Stack,
    given: Mapping[str, ArgumentValue] | None = None,
    overrides: Iterable[Override] = (),
    groups: Iterable[str] = GROUPS,
) -> Resolved:
    """Fill in the arguments and return what has to be started, in order of the file.

    `given` maps argument names to values, `overrides` come from `--set`, `groups` restricts the
    result. Raises ConfigError for unknown names and wrong values.
    """
    values = _argument_values(stack, given or {})
    overrides = _checked_overrides(stack, overrides)
    wanted = _checked_groups(groups)
    split = {name for name, argument in stack.arguments.items() if argument.type == 'words'}
    choices = {name: argument.choices for name, argument in stack.arguments.items()}
    share = str(Path(stack.file).parent)
    filler = _Filler(stack.file, {**values, 'share': share}, split, choices)
    for node in stack.nodes:  # also those that are not started: a mistake there is a mistake
        filler.condition(node)
    processes = tuple(
        _process(node, filler, [item for item in overrides if item.node == node.name])
        for node in stack.nodes
        if node.group in wanted and filler.condition(node)
    )
    environment = {
        key: filler.text(value, f'environment.{key}') for key, value in stack.environment.items()
    }
    return Resolved(values, environment, processes)


def _argument_values(stack: Stack, given: Mapping[str, ArgumentValue]) -> dict[str, ArgumentValue]:
    for name, value in given.items():
        if name not in stack.arguments:
            hint = did_you_mean(name, stack.arguments)
            raise ConfigError('arguments', name, value, f'no such argument{hint}')
    return {
        name: argument.parse(given.get(name, argument.default), 'arguments', name)
        for name, argument in stack.arguments.items()
    }


def _checked_overrides(stack: Stack, overrides: Iterable[Override]) -> tuple[Override, ...]:
    kinds = {node.name: node.kind for node in stack.nodes}
    overrides = tuple(overrides)
    for item in overrides:
        if item.node not in kinds:
            known = f'known: {", ".join(kinds)}'
            raise ConfigError(
                '--set', item.node, None, f'no such node{did_you_mean(item.node, kinds)} ({known})'
            )
        if kinds[item.node] == 'process':
            raise ConfigError('--set', item.node, None, 'this process has no ROS parameters')
    return overrides


def _checked_groups(groups: Iterable[str]) -> set[str]:
    wanted = set(groups)
    for group in wanted:
        if group not in GROUPS:
            raise ConfigError('groups', 'group', group, GROUPS)
    return wanted


def _process(node: NodeSpec, filler: '_Filler', overrides: list[Override]) -> Process:
    where = f'nodes.{node.name}'
    namespace = '/' + str(filler.values.get('namespace', '')).strip('/')
    return Process(
        name=node.name,
        package=node.package,
        executable=node.executable,
        group=node.group,
        kind=node.kind,
        namespace=namespace,
        arguments=filler.words(node.arguments, f'{where}.arguments'),
        ros_arguments=() if node.kind == 'process' else _ros_arguments(node, filler, overrides),
        respawn=node.respawn,
    )


def _ros_arguments(
    node: NodeSpec, filler: '_Filler', overrides: list[Override]
) -> tuple[str, ...]:
    """Parameter files first, then single values: the later one wins, and overrides come last."""
    where = f'nodes.{node.name}'
    files = [filler.text(item, f'{where}.parameter_files') for item in node.parameter_files]
    values = {
        key: filler.value(item, f'{where}.parameters.{key}')
        for key, item in node.parameters.items()
    }
    values = {key: value for key, value in values.items() if value is not None}
    values.update({item.parameter: item.value for item in overrides})
    result: list[str] = []
    for file in files:
        result += ['--params-file', file] if file else []
    for key, value in values.items():
        result += ['-p', f'{key}:={json.dumps(value)}']
    level = str(filler.values.get('log_level', ''))
    return (*result, '--log-level', level) if level else tuple(result)


class _Filler:
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
                result += _split(filled, self._where, key)
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


def _split(text: str, where: str, key: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(where, key, text, f'cannot be split into words: {error}') from None
