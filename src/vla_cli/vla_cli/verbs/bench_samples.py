"""Measure how fast aligned samples are read from an episode, in multiples of real time.

Without EPISODE, a made-up one of the lab's rates and sizes is written and read. One core; decoding
of the pictures is told apart.
"""

import json
from pathlib import Path

from vla_cli import workspace
from vla_cli.arguments import Parser, positive, say
from vla_core.errors import VlaError


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument('episode', nargs='?', type=Path, metavar='EPISODE', help='a bag')
    parser.add_argument(
        '--contract', type=Path, metavar='FILE', help='for a bag that has none of its own'
    )
    parser.add_argument(
        '--seconds',
        type=positive,
        default=60.0,
        metavar='S',
        help='length of the made-up episode (%(default)s)',
    )
    parser.add_argument(
        '--jumps', type=positive, default=50, metavar='N', help='samples by jumps (%(default)s)'
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the result there')
    parser.add_argument(
        '--strict', action='store_true', help='exit code 1 when the target is missed'
    )


def run(args) -> int:
    """Measure, print, write."""
    if args.json is not None and not args.json.absolute().parent.is_dir():
        raise VlaError(f'--json {args.json}: the folder {args.json.parent} does not exist')
    from vla_cli.bench import samples
    from vla_core.contract import load_contract

    contract = load_contract(args.contract or workspace.default_contract())
    settings = samples.Settings(args.episode, contract, args.seconds, max(1, round(args.jumps)))
    result = samples.run(settings)
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=1) + '\n')
    say('\n'.join(samples.lines(result)))
    return 1 if args.strict and not result['met'] else 0
