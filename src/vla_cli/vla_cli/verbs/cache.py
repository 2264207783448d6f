"""Compute the vision-language features of all image sets in episodes, once, for training.

Training with a frozen backbone then reads them instead of running it. What is there already is
not computed again: a run that was killed goes on where it was. Weights, adapter, processor,
pooling, size, number format, instruction and pictures are all part of the key, so a change can
never find old features.

  vla cache --checkpoint nano --episodes episodes --out cache
"""

import argparse
import json
from pathlib import Path
import sys
import time
from typing import TYPE_CHECKING

from vla_cli.arguments import complain, Parser, positive, say, whole
from vla_cli.progress import duration, ProgressLine

if TYPE_CHECKING:
    from vla_training.cache.build import CacheOrder, Outcome


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        '--checkpoint', type=Path, required=True, metavar='DIR', help='whose backbone'
    )
    parser.add_argument(
        '--episodes', type=Path, required=True, nargs='+', metavar='DIR',
        help='episodes, or folders of them',
    )  # fmt: skip
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='the cache; may hold others too'
    )
    parser.add_argument(
        '--jobs', type=whole(1, 256), default=1, metavar='N', help='processes (%(default)s)'
    )
    parser.add_argument(
        '--device', default='cpu', metavar='NAME[,NAME]',
        help='cpu, cuda:0, ...; several are dealt out to the processes (%(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--dtype', default='auto', metavar='NAME',
        help='float32, bfloat16, float16, or auto: as what is there already, else what the device '
        'is best at (%(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--max-gb', type=positive, default=20.0, metavar='G',
        help='how large the folder may grow (%(default)s)',
    )  # fmt: skip
    parser.add_argument('--json', action='store_true', help='the summary as JSON, for programs')


def run(args: argparse.Namespace) -> int:
    """Compute and print a summary."""
    from vla_policy.host import keep_freed_memory
    from vla_training.cache.build import build, CacheOrder, episode_folders

    keep_freed_memory()
    order = CacheOrder(
        args.checkpoint, episode_folders(args.episodes), args.out, args.jobs,
        tuple(args.device.split(',')), args.dtype, args.max_gb * 1e9,
    )  # fmt: skip
    began_s, line = time.monotonic(), ProgressLine('image sets', sys.stderr)
    try:
        outcome = build(order, lambda done: line.update(done.sets, done.expected))
    finally:
        line.end()
    _tell(order, outcome, time.monotonic() - began_s, args.json)
    return 0 if outcome.encoded.sets else 1


def _tell(order: 'CacheOrder', outcome: 'Outcome', wall_s: float, as_json: bool) -> None:
    """Print what was done, and which episodes gave nothing."""
    encoded = outcome.encoded
    for path in encoded.empty:
        complain(
            f'{path}: gives no image set, which takes a picture of every view: vla episodes check '
            'tells what is missing'
        )
    if as_json:
        say(json.dumps({
            'episodes': len(order.episodes), 'sets': encoded.sets, 'computed': encoded.computed,
            'without_sets': [str(path) for path in encoded.empty],
            'undecodable_pictures': encoded.undecodable, 'bytes': outcome.bytes,
            'encoder': outcome.identity.name, 'dtype': outcome.identity.dtype, 'wall_s': wall_s,
        }))  # fmt: skip
        return
    if encoded.undecodable:
        say(f'{encoded.undecodable} pictures could not be decoded: the last good one was used')
    say(
        f'{order.out}: {encoded.sets} image sets of {len(order.episodes)} episodes, '
        f'{encoded.computed} computed in {duration(wall_s)}; encoder {outcome.identity.name} '
        f'({outcome.identity.dtype}), {outcome.bytes / 1e9:.2f} GB in all'
    )
