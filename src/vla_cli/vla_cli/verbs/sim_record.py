"""Example episodes of the scripted expert in the simulated lab.

  vla sim --record N --out DIR              N insertions through the live stack and its recorder
  vla sim --record N --out DIR --headless   the same format without ROS, faster than real time

Headless episodes are determined by their seed: episode k has the seed S + k and the folder
DIR/insert_<seed>. Their success is judged by the simulator's truth: the tip inside the trocar,
within 0.5 mm of the depth to hold for 1 s, straying no further than 0.1 mm (0.25 where the eye
moves), trocar, eye and tissue unharmed. Live it is the task server's word, which reads the sensor.
"""

from pathlib import Path
import sys
import time

from vla_cli.arguments import episodes, first_seed, Parser, positive, processes, say, UsageError
from vla_cli.examples.options import EpisodeOptions, TASKS
from vla_core.errors import VlaError
from vla_sim.eye_motion import VARIANTS

HEADLESS_ONLY = ('task', 'noise', 'linger', 'seconds', 'jobs', 'contract', 'calibration')
_DEFAULT = EpisodeOptions()
_RANGES = {'width': (32, 4096), 'height': (32, 4096), 'camera_rate': (0.1, 60)}


def build_parser() -> Parser:
    """Return the parser."""
    parser = Parser(prog='vla sim', description=__doc__)
    add = parser.add_argument
    add('--record', type=episodes, metavar='N', help='how many episodes')
    add('--out', type=Path, metavar='DIR', help='folder for them')
    add('--headless', action='store_true', help='in simulated time, without ROS')
    add('--seed', type=first_seed, default=0, metavar='S', help='of the first (%(default)s)')
    for name, kind in (('width', int), ('height', int), ('camera-rate', float)):
        default = getattr(_DEFAULT, name.replace('-', '_'))
        add(f'--{name}', type=kind, default=default, help='of the pictures (%(default)s)')
    add('--eye', choices=VARIANTS, default=_DEFAULT.eye, help='does it move? (%(default)s)')
    group = parser.add_argument_group('headless only')
    add = group.add_argument
    add('--task', choices=tuple(TASKS), help='what is done (insert)')
    add('--noise', action='store_true', default=None,
        help='push the tool off its way now and then; the recorded chunks lead back')  # fmt: skip
    add('--linger', type=positive, metavar='S',
        help='go on so long after an insertion has succeeded (0)')  # fmt: skip
    add('--seconds', type=positive, metavar='S', help='longest length of an episode')
    add('--jobs', type=processes, metavar='N', help='processes (1)')
    add('--contract', type=Path, metavar='FILE', help='contract (the installed one)')
    add('--calibration', type=Path, metavar='FILE', help='YAML kept in every episode')
    return parser


def run_raw(argv: list[str]) -> int:
    """Check the options and generate."""
    args = build_parser().parse_args(argv)
    _check(args)
    return _headless(args) if args.headless else _live(args)


def _check(args) -> None:
    if args.record is None:
        raise UsageError('vla sim: --headless needs --record N, the number of episodes')
    if args.out is None:
        raise UsageError('vla sim: --record needs --out DIR, the folder for the episodes')
    for name, (low, high) in _RANGES.items():
        if not low <= getattr(args, name) <= high:
            option = '--' + name.replace('_', '-')
            value = getattr(args, name)
            raise UsageError(f'vla sim: {option} {value}: expected {low:g} to {high:g}')
    given = [name for name in HEADLESS_ONLY if getattr(args, name) is not None]
    if given and not args.headless:
        raise UsageError(f'vla sim: --{given[0]} is for --headless only')


def _headless(args) -> int:
    from vla_cli import workspace
    from vla_cli.examples.run import Batch, check, generate, progress, summary
    from vla_training.simulation.seeds import keep_apart

    keep_apart(range(args.seed, args.seed + args.record), 'vla sim --record')
    options = EpisodeOptions(
        args.seed, args.task or 'insert', bool(args.noise), args.width, args.height,
        args.camera_rate, args.seconds, args.eye, args.linger or 0.0,
    )  # fmt: skip
    contract = args.contract or workspace.shipped('config/contract/insertion.yaml')
    manifest = workspace.shipped('config/recorder/manifest.yaml')
    batch = Batch(
        args.out, args.record, min(args.jobs or 1, args.record), options, contract, manifest,
        args.calibration,
    )  # fmt: skip
    check(batch)
    began_s, done, live = time.monotonic(), [], sys.stdout.isatty()

    def tell(result) -> None:
        done.append(result)
        wall_s = time.monotonic() - began_s
        outcome = f'{result["outcome"]}, ' if result['outcome'] else ''
        text = f'{result["episode"]}: {outcome}{result["duration_s"]:.1f} s'
        say(f'{text}   {progress(done, args.record, wall_s)}')

    if live:
        say(f'{args.record} episodes into {args.out}')
    results = generate(batch, tell)
    say(summary(results, time.monotonic() - began_s))
    return 0


def _live(args) -> int:
    from vla_cli.examples import live

    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VlaError(f'{args.out}: cannot be made ({error.strerror})') from error
    words = f'--seed {args.seed} --width {args.width} --height {args.height}'
    words += f' --camera-rate {args.camera_rate:g} --eye {args.eye}'
    return live.record(args.out, args.record, words)
