"""Configuration files to frozen dataclasses, strictly.

Called by the contract, the stack description, checkpoints and node configuration. A wrong key,
type or value is a `ConfigError` that names the file, the dotted key and what is allowed.
Deliberately does no merging of files, no environment variables and no defaults beyond those of the
dataclass.
"""

from collections.abc import Hashable, Mapping, Sequence
import copy
import dataclasses
import enum
import math
from os import PathLike
from pathlib import Path
import re
import types
from typing import Any, cast, get_args, get_origin, get_type_hints, Literal, TypeVar, Union

import yaml

from vla_core.errors import ConfigError, did_you_mean

T = TypeVar('T')


def from_dict(cls: type[T], data: Mapping[str, Any], where: str) -> T:
    """Build the dataclass `cls` from `data`, checking every key and type.

    Understands bool, int, float, str, Path, Any, Enum (by name), Literal, X | None, tuple, list,
    dict[str, X] and nested dataclasses. A `ValueError` from a `__post_init__` becomes a
    `ConfigError`. `where` names the file in errors.
    """
    return cast(T, _dataclass(cls, data, where, ''))


def _dataclass(cls: Any, data: object, where: str, key: str) -> object:
    if not isinstance(data, Mapping):
        raise ConfigError(
            where, key or '(top level)', data, 'expected a mapping of keys to values'
        )
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for name in data:
        if name not in fields:
            hint = did_you_mean(str(name), fields)
            raise ConfigError(
                where, _join(key, name), None, f'unknown key{hint} (known: {", ".join(fields)})'
            )
    hints = get_type_hints(cls)
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], where, _join(key, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(where, _join(key, name), None, 'missing; this key is required')
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(where, key, None, str(error)) from error


def _convert(kind: Any, value: object, where: str, key: str) -> object:
    origin = get_origin(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where, key)
    if origin is Literal:
        if value not in get_args(kind):
            raise ConfigError(where, key, value, [str(choice) for choice in get_args(kind)])
        return value
    if origin in (Union, types.UnionType):
        return _union(get_args(kind), value, where, key)
    if origin in (tuple, list):
        return _sequence(origin, get_args(kind), value, where, key)
    if origin is dict:
        return _mapping(get_args(kind)[1], value, where, key)
    return _scalar(kind, value, where, key)


def _union(choices: tuple[Any, ...], value: object, where: str, key: str) -> object:
    if value is None and type(None) in choices:
        return None
    real = [choice for choice in choices if choice is not type(None)]
    for choice in real[:-1]:
        try:
            return _convert(choice, value, where, key)
        except ConfigError:
            continue  # the last choice raises the error that the person sees
    return _convert(real[-1], value, where, key)


def _sequence(origin: Any, args: tuple[Any, ...], value: object, where: str, key: str) -> object:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(where, key, value, 'expected a list')
    if origin is tuple and not (len(args) == 2 and args[1] is Ellipsis):
        if len(value) != len(args):
            raise ConfigError(where, key, value, f'expected {len(args)} entries, got {len(value)}')
        kinds = args
    else:
        kinds = (args[0],) * len(value)
    return origin(
        _convert(kind, item, where, f'{key}[{index}]')
        for index, (kind, item) in enumerate(zip(kinds, value))
    )


def _mapping(kind: Any, value: object, where: str, key: str) -> object:
    if not isinstance(value, Mapping):
        raise ConfigError(where, key, value, 'expected a mapping of names to values')
    for name in value:
        if not isinstance(name, str):
            raise ConfigError(
                where, _join(key, name), None, 'the name must be text; put it in quotes'
            )
    return {name: _convert(kind, item, where, _join(key, name)) for name, item in value.items()}


def _scalar(kind: Any, value: object, where: str, key: str) -> object:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        names = {member.name.lower(): member for member in kind}
        if not isinstance(value, str) or value.lower() not in names:
            raise ConfigError(where, key, value, names)
        return names[value.lower()]
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
        raise ConfigError(where, key, value, 'expected a finite number')
    if kind is str and isinstance(value, str):
        return value
    if kind is Path and isinstance(value, (str, Path)):
        return Path(value)
    raise ConfigError(where, key, value, f'expected {_NAMES.get(kind, str(kind))}')


_NAMES = {
    bool: 'true or false',
    int: 'a whole number',
    float: 'a number',
    str: 'text (quote it if it looks like a number)',
    Path: 'a path',
}


def _join(key: str, name: object) -> str:
    return f'{key}.{name}' if key else str(name)


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and reads 1e-4 as a number."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key, str) or key_node.tag == 'tag:yaml.org,2002:merge':
                continue
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'the key {key!r} is given twice', key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


# YAML 1.1 takes 1e-4 (no dot) for text; nobody who writes it means text.
_StrictLoader.add_implicit_resolver(
    'tag:yaml.org,2002:float',
    re.compile(r'^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$'),
    list('-+0123456789'),
)


def load_yaml(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping; an empty file gives an empty dict."""
    file = Path(path)
    try:
        text = file.read_text(encoding='utf-8')
    except FileNotFoundError:
        raise ConfigError(file, 'no such file', None, _nearby_file(file)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(file, 'cannot be read', None, str(error)) from error
    try:
        data = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f'line {mark.line + 1}, column {mark.column + 1}' if mark else 'somewhere'
        raise ConfigError(file, line, None, f'not valid YAML: {error.problem}') from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(file, 'not valid YAML', None, ' '.join(str(error).split())) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(file, '(top level)', data, 'expected a mapping of keys to values')
    return data


def with_overrides(data: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return `data` with `key.sub=value` texts laid over it; values are read as YAML.

    Whether the keys exist is for `from_dict` to say. ConfigError on a text of another form.
    """
    result = copy.deepcopy(dict(data))
    for text in overrides:
        dotted, separator, value = text.partition('=')
        keys = dotted.strip().split('.')
        if not separator or not all(keys):
            raise ConfigError('command line', text, None, 'expected key=value or key.sub=value')
        where = result
        for key in keys[:-1]:
            inner = where.get(key)
            where[key] = dict(inner) if isinstance(inner, Mapping) else {}
            where = where[key]
        where[keys[-1]] = _parse_value(text, value)
    return result


def _parse_value(text: str, value: str) -> Any:
    try:
        return yaml.load(value, Loader=_StrictLoader)  # noqa: S506 - a subclass of SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError('command line', text, None, 'the value is not valid YAML') from error


def _nearby_file(file: Path) -> str:
    if not file.parent.is_dir():
        return f'the folder {file.parent} does not exist either'
    names = [entry.name for entry in file.parent.iterdir() if entry.is_file()]
    return f'give the path of an existing YAML file{did_you_mean(file.name, names)}'
