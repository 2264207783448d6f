"""The stack that launch/stack.yaml describes: which processes make the suite, and how each is
started.

Read by `vla up` (plain processes) and by launch/*.launch.py (launch_ros), which both start exactly
what `resolve` returns. It deliberately finds no executables, starts nothing and reads no node's
parameter files: an unknown parameter is refused by the node that does not declare it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
import json
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from vla_core.config import from_dict, load_yaml
from vla_core.errors import ConfigError, did_you_mean
from vla_core.stack_description import ArgumentValue, GROUPS, NodeSpec, Respawn, Stack
from vla_core.substitution import Filler


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
    filler = Filler(stack.file, {**values, 'share': share}, split, choices)
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


def _process(node: NodeSpec, filler: Filler, overrides: list[Override]) -> Process:
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


def _ros_arguments(node: NodeSpec, filler: Filler, overrides: list[Override]) -> tuple[str, ...]:
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
