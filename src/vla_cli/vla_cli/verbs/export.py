"""Export episodes into another format: a LeRobot dataset v3 (parquet, MP4, stats, tasks).

Every frame holds what the live policy would have known at its tick; the true capture times, the
ages and the sensor windows are extra features. `lerobot` itself is not needed.

  vla export episodes/* --format lerobot --out needle --fps 10
"""

import argparse
import dataclasses
import json
from pathlib import Path
import sys

from vla_cli.arguments import complain, Parser, say
from vla_cli.progress import ProgressLine
from vla_core.errors import VlaError


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument('episodes', type=Path, nargs='+', metavar='EPISODE', help='episode folder')
    parser.add_argument('--format', choices=['lerobot'], default='lerobot', help='%(default)s')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='new folder')
    parser.add_argument('--fps', type=int, default=10, metavar='N', help='frames/s (%(default)s)')
    parser.add_argument('--views', metavar='A,B', help='only these (all that every episode has)')
    parser.add_argument('--size', type=size, metavar='WxH', help="of the videos (the contract's)")
    parser.add_argument('--no-sensor', action='store_true', help='leave the sensor windows out')
    parser.add_argument(
        '--contract', type=Path, metavar='FILE', help='for episodes that hold none'
    )
    parser.add_argument('--json', action='store_true', help='the summary as JSON, for programs')


def run(args: argparse.Namespace) -> int:
    """Export and print a summary."""
    from vla_core.contract import load_contract
    from vla_data.bag_reader import open_bag
    from vla_data.exporting.lerobot import export_lerobot, ExportSettings

    width, height = args.size or (0, 0)
    views = tuple(args.views.split(',')) if args.views else ()
    settings = ExportSettings(args.fps, views, not args.no_sensor, width, height)
    bags = [open_bag(path) for path in args.episodes]
    contract = load_contract(args.contract) if args.contract else bags[0].info.contract()
    if contract is None:
        raise VlaError(f'{args.episodes[0]}: holds no contract; name one with --contract FILE')
    unknown = [view for view in views if view not in contract.view_names]
    if unknown:
        known = ', '.join(contract.view_names)
        raise VlaError(f'--views: {", ".join(unknown)}: expected some of {known}')
    line = ProgressLine('frames', sys.stderr)
    try:
        result = export_lerobot(bags, contract, args.out, settings, line.update)
    finally:
        line.end()
    if args.json:
        say(json.dumps({**dataclasses.asdict(result), 'folder': str(result.folder)}))
        return 0
    for note in result.notes:
        complain(note)
    say(f'{args.out}: {result.episodes} episodes, {result.frames} frames at {args.fps} Hz')
    return 0


def size(text: str) -> tuple[int, int]:
    """Return WxH as two numbers, for argparse's `type`."""
    width, cross, height = text.partition('x')
    if not (cross and width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f'{text!r} is not WIDTHxHEIGHT')
    return int(width), int(height)
