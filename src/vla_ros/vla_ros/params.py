"""Node parameters as one frozen dataclass a node: type, description, range, read_only, and where
values come from.

Called by VlaLifecycleNode. A value comes from, in this order: the command line and parameter files
(ROS overrides), a default in the dataclass (only for what is no configuration, such as
`autostart`), and the node's file `config/<config>.yaml` of the installed package vla_bringup. So a
number lives once, in that YAML, and `ros2 run` works without `--params-file`. It deliberately does
not react to changes: a node reads its parameters when it is configured, so a changed value takes
effect at the next configure.

    @dataclass(frozen=True)
    class Parameters:
        port: int = param('UDP port to listen at', low=1, high=65535)
        clock: str = param('clock model of the sender', one_of=('trusted', 'estimated'))
"""

from collections.abc import Mapping
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
import typing
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.parameter import Parameter

from vla_core.config import load_yaml
from vla_core.errors import ConfigError, did_you_mean

T = TypeVar('T')
BRINGUP_PACKAGE = 'vla_bringup'
# Declared by rclpy itself or by the lifecycle base: never unknown.
_OF_EVERY_NODE = ('use_sim_time', 'start_type_description_service', 'autostart')
_RCLPY_PREFIXES = ('qos_overrides.',)
_TYPES = {
    bool: (Parameter.Type.BOOL, 'true or false'),
    int: (Parameter.Type.INTEGER, 'an integer'),
    float: (Parameter.Type.DOUBLE, 'a number'),
    str: (Parameter.Type.STRING, 'a text'),
    list[str]: (Parameter.Type.STRING_ARRAY, 'a list of texts'),
    list[float]: (Parameter.Type.DOUBLE_ARRAY, 'a list of numbers'),
    list[int]: (Parameter.Type.INTEGER_ARRAY, 'a list of integers'),
}


@dataclass(frozen=True)
class ParamSpec:
    """What is declared about one parameter. `low`, `high` are inclusive; `one_of` lists the
    allowed texts.
    """

    name: str
    type: Any
    description: str
    low: float | None = None
    high: float | None = None
    one_of: tuple[str, ...] = ()
    read_only: bool = False
    default: Any = None

    @property
    def ros_type(self) -> Parameter.Type:
        """The ROS parameter type."""
        return _TYPES[self.type][0]

    def allowed(self) -> str:
        """What is allowed, for a person."""
        text = ' or '.join(self.one_of) or _TYPES[self.type][1]
        if self.low is not None or self.high is not None:
            text += f' from {_bound(self.low)} to {_bound(self.high)}'
        return text

    def check(self, value: Any, where: str) -> Any:
        """Return the value in the declared type; ConfigError when it is of another type or out of
        range.
        """
        coerced = _coerce(value, self.type)
        good = coerced is not None
        if good and self.one_of:
            good = coerced in self.one_of
        if good and self.type in (int, float):
            good = _inside(coerced, self.low, self.high)
        if not good:
            hint = did_you_mean(str(value), self.one_of) if self.one_of else ''
            raise ConfigError(where, self.name, value, f'expected {self.allowed()}{hint}')
        return coerced

    def descriptor(self) -> ParameterDescriptor:
        """The ROS descriptor, for `ros2 param describe`."""
        message = ParameterDescriptor(
            name=self.name,
            type=self.ros_type.value,
            description=self.description,
            additional_constraints=' or '.join(self.one_of),
            read_only=self.read_only,
        )
        low, high = self.low, self.high
        if self.type is int and None not in (low, high):
            message.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
        elif self.type is float and None not in (low, high):
            message.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high))
            ]
        return message


def param(
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    one_of: tuple[str, ...] = (),
    read_only: bool = False,
    default: Any = None,
) -> Any:
    """Declare a field of a parameter dataclass; see ParamSpec. Without `default` the value must be
    configured.
    """
    metadata = {
        'description': description,
        'low': low,
        'high': high,
        'one_of': tuple(one_of),
        'read_only': read_only,
        'default': default,
    }
    return field(metadata=metadata, kw_only=True)


def specs(parameters: type) -> dict[str, ParamSpec]:
    """Return name -> ParamSpec of a parameter dataclass, inherited fields included."""
    hints = typing.get_type_hints(parameters)
    return {
        item.name: ParamSpec(name=item.name, type=hints[item.name], **item.metadata)
        for item in dataclasses.fields(parameters)
    }


def declare(node, parameters: type, config: str) -> None:
    """Declare every field of `parameters` on `node`, with values from overrides, defaults and
    config/<config>.yaml.

    Raises ConfigError for a parameter that does not exist (naming the nearest one), has a wrong
    type or range, or has no value anywhere.
    """
    declared = specs(parameters)
    overrides = node._parameter_overrides  # rclpy has no public way to see what was asked for
    _refuse_unknown(overrides, declared, f'parameters of {node.get_name()}')
    configured = {}
    if any(name not in overrides and spec.default is None for name, spec in declared.items()):
        configured = configured_values(config)
        _refuse_unknown(configured, declared, f'config/{config}.yaml')
    for name, spec in declared.items():
        if name in overrides:
            value = spec.check(overrides[name].value, f'parameters of {node.get_name()}')
            overrides[name] = Parameter(name, spec.ros_type, value)
        elif name in configured:
            value = spec.check(configured[name], f'config/{config}.yaml')
        elif spec.default is not None:
            value = spec.default
        else:
            raise ConfigError(
                f'parameters of {node.get_name()}',
                name,
                None,
                f'expected {spec.allowed()}; it is in neither a parameter file nor {config}.yaml '
                f'of {BRINGUP_PACKAGE}: pass --ros-args -p {name}:=VALUE or --params-file FILE',
            )
        node.declare_parameter(name, value, spec.descriptor())
    node.add_on_set_parameters_callback(lambda changes: _check_changes(changes, declared))


def read(node, parameters: type[T]) -> T:
    """Return the current values of declared parameters as an instance of their dataclass."""
    values = {}
    for name, spec in specs(parameters).items():
        value = node.get_parameter(name).value
        values[name] = list(value) if typing.get_origin(spec.type) is list else value
    return parameters(**values)


def configured_values(config: str) -> dict[str, Any]:
    """Return the values of config/<config>.yaml in the installed vla_bringup; empty when that is
    not installed.
    """
    from ament_index_python.packages import get_package_share_directory, PackageNotFoundError

    try:
        path = Path(get_package_share_directory(BRINGUP_PACKAGE)) / 'config' / f'{config}.yaml'
    except PackageNotFoundError:
        return {}
    return yaml_values(path) if path.is_file() else {}


def yaml_values(path: Path) -> dict[str, Any]:
    """Return the flat `ros__parameters` of a file with exactly one node entry; nested keys are
    joined by dots.
    """
    content = load_yaml(path)
    if len(content) != 1:
        raise ConfigError(
            str(path), 'top level', list(content), 'one node name, such as /**/robot_driver'
        )
    entry = next(iter(content.values()))
    if not isinstance(entry, Mapping) or not isinstance(entry.get('ros__parameters'), Mapping):
        raise ConfigError(str(path), next(iter(content)), entry, 'a mapping with ros__parameters')
    return _flatten(entry['ros__parameters'])


def _flatten(values: Mapping, prefix: str = '') -> dict[str, Any]:
    flat = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f'{prefix}{key}.')
        else:
            flat[f'{prefix}{key}'] = value
    return flat


def _refuse_unknown(names: Mapping, declared: Mapping, where: str) -> None:
    for name in names:
        if name in declared or name in _OF_EVERY_NODE or name.startswith(_RCLPY_PREFIXES):
            continue
        value = names[name].value if isinstance(names[name], Parameter) else names[name]
        raise ConfigError(
            where, name, value, f'no such parameter{did_you_mean(name, list(declared))}'
        )


def _check_changes(changes, declared: Mapping[str, ParamSpec]):
    from rcl_interfaces.msg import SetParametersResult

    for change in changes:
        if change.name in declared:
            try:
                declared[change.name].check(change.value, 'parameter')
            except ConfigError as error:
                return SetParametersResult(successful=False, reason=str(error))
    return SetParametersResult(successful=True)


def _coerce(value: Any, wanted: Any) -> Any:
    """Return the value in the wanted type, None if it is of another one. An integer is a good
    number.
    """
    if typing.get_origin(wanted) is list:
        if not isinstance(value, (list, tuple)) and not hasattr(value, 'tolist'):
            return None
        items = [_coerce(item, typing.get_args(wanted)[0]) for item in value]
        return None if None in items else items
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value if type(value) is wanted else None


def _inside(value: float, low: float | None, high: float | None) -> bool:
    # Written so that NaN is outside.
    return (low is None or value >= low) and (high is None or value <= high)


def _bound(value: float | None) -> str:
    return 'any' if value is None else f'{value:g}'
