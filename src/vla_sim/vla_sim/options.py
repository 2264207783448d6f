"""Command line of the simulator -> `SimOptions`.

`main` and tests use it. Bad input raises a VlaError that names the nearest valid option or value.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from vla_core.errors import closest, ConfigError, VlaError
from vla_core.wire.oct_force import MAX_RECORDS
from vla_sim.eye_motion import VARIANTS
from vla_sim.faults import Fault, KINDS, parse_fault, TARGETS

DEVICES = ('robot', 'cameras', 'sensor')
DEFAULT_TRUTH_PORT = 5557


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
    meca_control_port: int = 10000
    meca_monitor_port: int = 10001
    truth_port: int | None = None  # None: DEFAULT_TRUTH_PORT if commanded, else off
    control_port: int = 0
    robot_rate: float = 100.0
    camera_rate: float = 5.0
    sensor_rate: float = 650.0
    width: int = 640
    height: int = 360
    variant: str = 'a'
    batch: int = 5
    camera_names: str = 'new'
    right_eyes: bool = False
    script_clock: str | None = None  # None: 'unix' with `only`, else 'start'
    stats_file: str | None = None
    seconds: float | None = None
    motion: str | None = None  # None: 'script' with `only`, else 'commanded'
    eye: str = 'still'  # of eye_motion.VARIANTS
    faults: tuple[Fault, ...] = ()

    @property
    def follows_unix_time(self) -> bool:
        """Whether the script runs on Unix time."""
        return (self.script_clock or ('unix' if self.only else 'start')) == 'unix'

    @property
    def commanded(self) -> bool:
        """Whether the arm obeys the Meca500's ports instead of the script."""
        return (self.motion or ('script' if self.only else 'commanded')) == 'commanded'

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
    fields = {
        name: value
        for name, value in vars(values).items()
        if name in SimOptions.__dataclass_fields__
    }
    options = SimOptions(**{**fields, 'faults': found})
    if options.truth_port is None:
        port = DEFAULT_TRUTH_PORT if options.commanded else 0
        options = replace(options, truth_port=port)
    _check(options)
    return options


_DEFAULT = SimOptions()
_NUMBERS = (
    ('seed', int, 'N', 'of the scene and all noise'),
    ('robot-port', int, 'PORT', 'ZMQ PUB, bound'),
    ('camera-port', int, 'PORT', 'ZMQ PUSH, connected'),
    ('sensor-port', int, 'PORT', 'UDP'),
    ('meca-control-port', int, 'PORT', "the Meca500's commands, TCP, bound"),
    ('meca-monitor-port', int, 'PORT', "the Meca500's real-time stream, TCP, bound"),
    (
        'truth-port',
        int,
        'PORT',
        f'what only a simulator knows, ZMQ PUB on loopback (default {DEFAULT_TRUTH_PORT} with a '
        'commanded arm, else off; 0 = off)',
    ),
    ('control-port', int, 'PORT', 'live faults, ZMQ REP on loopback, 0 = off'),
    ('robot-rate', float, 'HZ', 'states a second'),
    ('camera-rate', float, 'HZ', 'triggers a second'),
    ('sensor-rate', float, 'HZ', 'samples a second'),
    ('width', int, 'PIXELS', 'of the images'),
    ('height', int, 'PIXELS', 'of the images'),
    ('batch', int, 'N', f'sensor records a datagram, 1 to {MAX_RECORDS}'),
    ('seconds', float, 'S', 'end after this time'),
)
_CHOICES = (
    ('only', DEVICES, 'play one device alone, as its own host would'),
    (
        'motion',
        ('commanded', 'script'),
        'the arm obeys the Meca500 ports, or follows the script (default with --only)',
    ),
    ('eye', VARIANTS, 'still, or moving: it drifts, turns a little, now and then jumps'),
    ('variant', ('a', 'b'), 'sensor datagrams: a = count and records, b = one bare record'),
    ('camera-names', ('new', 'old'), 'camera strings of the newer or the older sender'),
    (
        'script-clock',
        ('start', 'unix'),
        'the motion begins now, or follows Unix time so that hosts agree (default with --only)',
    ),
)
_FAULT_HELP = (
    'Each may be given several times, as [STREAM=]VALUE[@START[:SECONDS]]. STREAM is one of '
    f'{", ".join(TARGETS)} (default: all). VALUE is a probability, or milliseconds.'
)


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
        description='The lab on the wire: a simulated Meca500, five cameras, an OCT/force sensor.',
    )
    for name, kind, metavar, text in _NUMBERS:
        default = getattr(_DEFAULT, name.replace('-', '_'))
        text += '' if default is None else f' (default {default:g})'
        parser.add_argument(f'--{name}', type=kind, default=default, metavar=metavar, help=text)
    for name, choices, text in _CHOICES:
        default = getattr(_DEFAULT, name.replace('-', '_'))
        parser.add_argument(f'--{name}', choices=choices, default=default, help=text)
    add = parser.add_argument
    add('--rate', type=float, metavar='HZ', help='rate of the device of --only, or of the robot')
    add('--port', type=int, metavar='PORT', help='port of the device of --only')
    add(
        '--bind',
        default=_DEFAULT.bind,
        metavar='ADDRESS',
        help='the robot publishes on it (default loopback)',
    )
    add(
        '--target',
        default=_DEFAULT.target,
        metavar='HOST',
        help='cameras and sensor send there (default loopback)',
    )
    add('--right-eyes', action='store_true', help='right-eye images too, as the older sender')
    add('--stats-file', metavar='FILE', help='write what was sent as JSON, five times a second')
    faults = parser.add_argument_group('faults', _FAULT_HELP)
    for kind in KINDS:
        faults.add_argument('--' + kind.replace('_', '-'), action='append', metavar='FAULT')
    return parser


def _unknown(word: str, parser: argparse.ArgumentParser) -> str:
    if not word.startswith('-'):
        return f'unexpected argument {word!r}; see --help'
    options = [option for action in parser._actions for option in action.option_strings]
    near = closest(word.split('=')[0], options)
    return f'unknown option {word}' + (f'; did you mean {near}?' if near else '; see --help')


def _apply_short_options(values: argparse.Namespace) -> None:
    """--rate and --port speak of the device that runs alone; --rate without one, of the robot."""
    device = {'robot': 'robot', 'cameras': 'camera', 'sensor': 'sensor', None: 'robot'}[
        values.only
    ]
    if values.rate is not None:
        setattr(values, f'{device}_rate', values.rate)
    if values.port is not None:
        if values.only is None:
            raise UsageError(
                '--port needs --only; use --robot-port, --camera-port or --sensor-port'
            )
        setattr(values, f'{device}_port', values.port)


def _check(options: SimOptions) -> None:
    ranges = {
        'seed': (0, 2**31 - 1),
        'robot_port': (1, 65535), 'camera_port': (1, 65535), 'sensor_port': (1, 65535),
        'meca_control_port': (1, 65535), 'meca_monitor_port': (1, 65535),
        'truth_port': (0, 65535), 'control_port': (0, 65535),
        'robot_rate': (0.1, 1000), 'camera_rate': (0.1, 60), 'sensor_rate': (1, 2000),
        'width': (32, 4096), 'height': (32, 4096), 'batch': (1, MAX_RECORDS),
    }  # fmt: skip
    for name, (low, high) in ranges.items():
        value = getattr(options, name)
        if not low <= value <= high:
            raise ConfigError(
                '', '--' + name.replace('_', '-'), value, f'expected {low:g} to {high:g}'
            )
    if options.commanded and options.only not in (None, 'robot'):
        raise UsageError(
            '--motion commanded needs the robot: leave out --only, or use --only robot'
        )
    if options.eye == 'moving' and not options.commanded:
        raise UsageError('--eye moving needs a commanded arm: the script does not follow an eye')
    if options.seconds is not None and options.seconds <= 0:
        raise ConfigError('', '--seconds', options.seconds, 'expected a time above 0')
