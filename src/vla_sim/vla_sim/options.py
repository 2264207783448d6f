"""Command line of the simulator -> `SimOptions`.

`main` and tests use it. Bad input raises a VlaError that names the nearest valid option or value.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from vla_core.errors import closest, ConfigError, VlaError
from vla_core.wire.oct_force import MAX_RECORDS
from vla_sim.faults import Fault, KINDS, parse_fault, TARGETS

DEVICES = ('robot', 'cameras', 'sensor')


class UsageError(VlaError):
    """The command line makes no sense."""


@dataclass(frozen=True)
class SimOptions:
    """Everything the simulator can be told."""

    only: str | None = None
    seed: int = 0
    bind: str = '127.0.0.1'
    target: str = '127.0.0.1'
    robot_port: int = 5556
    camera_port: int = 5555
    sensor_port: int = 9999
    robot_rate: float = 100.0
    camera_rate: float = 5.0
    sensor_rate: float = 650.0
    width: int = 640
    height: int = 360
    variant: str = 'a'
    batch: int = 5
    camera_names: str = 'new'
    right_eyes: bool = False
    script_clock: str = 'start'
    stats_file: str | None = None
    seconds: float | None = None
    faults: tuple[Fault, ...] = ()

    def runs(self, device: str) -> bool:
        """Whether this simulator plays `device`."""
        return self.only in (None, device)


def parse(argv: Sequence[str] | None = None) -> SimOptions:
    """Read the command line; VlaError for anything wrong, SystemExit(0) after --help."""
    parser = _parser()
    values, unknown = parser.parse_known_args(argv)
    if unknown:
        raise UsageError(_unknown(unknown[0], parser))
    _apply_short_options(values)
    found = tuple(
        parse_fault(kind, text) for kind in KINDS for text in getattr(values, kind) or ()
    )
    fields = {name: value for name, value in vars(values).items() if name in SimOptions.__dataclass_fields__}
    if fields['script_clock'] is None:
        fields['script_clock'] = 'unix' if fields['only'] else 'start'
    options = SimOptions(**{**fields, 'faults': found})
    _check(options)
    return options


class _Parser(argparse.ArgumentParser):
    """Raises instead of exiting, and names the nearest choice."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            raise ConfigError('', action.option_strings[0], value, action.choices)


def _parser() -> _Parser:
    parser = _Parser(
        prog='vla sim',
        allow_abbrev=False,
        description='The lab on the wire: a simulated Meca500, five cameras and an OCT/force sensor.',
    )
    add = parser.add_argument
    default = SimOptions()
    add('--only', choices=DEVICES, help='play one device alone, as its own host would')
    add('--seed', type=int, default=0, help='the scene and all noise (default 0)')
    add('--bind', default=default.bind, metavar='ADDRESS', help='address the robot publishes on (default loopback)')
    add('--target', default=default.target, metavar='HOST', help='where cameras and sensor send to (default loopback)')
    add('--rate', type=float, metavar='HZ', help='rate of the device of --only, or of the robot')
    add('--port', type=int, metavar='PORT', help='port of the device of --only')
    for device, field in (('robot', 'robot'), ('camera', 'camera'), ('sensor', 'sensor')):
        port, rate = getattr(default, f'{field}_port'), getattr(default, f'{field}_rate')
        add(f'--{device}-port', type=int, default=port, metavar='PORT', help=f'default {port}')
        add(f'--{device}-rate', type=float, default=rate, metavar='HZ', help=f'default {rate:g}')
    add('--width', type=int, default=default.width, metavar='PIXELS', help='of the images (default 640)')
    add('--height', type=int, default=default.height, metavar='PIXELS', help='of the images (default 360)')
    add('--variant', choices=('a', 'b'), default='a', help='sensor datagrams: a = count and records, b = one bare record')
    add('--batch', type=int, default=default.batch, metavar='N', help=f'records a datagram, 1 to {MAX_RECORDS} (default 5)')
    add('--camera-names', choices=('new', 'old'), default='new', help='camera strings of the newer or the older sender')
    add('--right-eyes', action='store_true', help='also send right-eye images, as the older sender does')
    add('--script-clock', choices=('start', 'unix'), help='the motion begins now, or follows Unix time so that hosts agree '
        '(default: unix with --only)')  # fmt: skip
    add('--stats-file', metavar='FILE', help='write what was sent as JSON, five times a second')
    add('--seconds', type=float, metavar='S', help='end after this time')
    group = parser.add_argument_group(
        'faults', 'Each may be given several times, as [STREAM=]VALUE[@START[:SECONDS]]; '
        f'STREAM is one of {", ".join(TARGETS)} (default: all). VALUE is a probability, or milliseconds.'
    )  # fmt: skip
    for kind in KINDS:
        group.add_argument('--' + kind.replace('_', '-'), action='append', metavar='FAULT')
    return parser


def _unknown(word: str, parser: argparse.ArgumentParser) -> str:
    if not word.startswith('-'):
        return f'unexpected argument {word!r}; see --help'
    options = [option for action in parser._actions for option in action.option_strings]
    near = closest(word.split('=')[0], options)
    return f'unknown option {word}' + (f'; did you mean {near}?' if near else '; see --help')


def _apply_short_options(values: argparse.Namespace) -> None:
    """--rate and --port speak of the device that runs alone; --rate without one, of the robot."""
    device = {'robot': 'robot', 'cameras': 'camera', 'sensor': 'sensor', None: 'robot'}[values.only]
    if values.rate is not None:
        setattr(values, f'{device}_rate', values.rate)
    if values.port is not None:
        if values.only is None:
            raise UsageError('--port needs --only; use --robot-port, --camera-port or --sensor-port')
        setattr(values, f'{device}_port', values.port)


def _check(options: SimOptions) -> None:
    ranges = {
        'seed': (0, 2**31 - 1),
        'robot_port': (1, 65535), 'camera_port': (1, 65535), 'sensor_port': (1, 65535),
        'robot_rate': (0.1, 1000), 'camera_rate': (0.1, 60), 'sensor_rate': (1, 2000),
        'width': (32, 4096), 'height': (32, 4096), 'batch': (1, MAX_RECORDS),
    }  # fmt: skip
    for name, (low, high) in ranges.items():
        value = getattr(options, name)
        if not low <= value <= high:
            raise ConfigError('', '--' + name.replace('_', '-'), value, f'expected {low:g} to {high:g}')
    if options.seconds is not None and options.seconds <= 0:
        raise ConfigError('', '--seconds', options.seconds, 'expected a time above 0')
