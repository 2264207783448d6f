"""Measure how smoothly one chunk of actions takes over from another, by chunk policy.

Runs the driver's chunk executor in simulated time on a noisy policy that is known exactly, and on
a checkpoint's action expert where one is given. Needs no robot, no simulator and no ROS graph.
"""

import json
from pathlib import Path
import shlex

from vla_cli.arguments import Parser, positive, say
from vla_core.errors import VlaError


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    add = parser.add_argument
    add('--checkpoint', type=Path, metavar='DIR', help='measure this one too')
    add('--ticks', type=positive, default=300, metavar='N', help='chunks executed (%(default)s)')
    add('--seed', type=int, default=0, help='of the chunks and their delays (%(default)s)')
    add(
        '--decay',
        type=float,
        default=0.01,
        help='of the ensemble: weight exp(-decay i), i = 0 the oldest (%(default)s)',
    )
    add('--threads', type=positive, default=1, help='CPU threads (%(default)s)')
    add('--json', type=Path, metavar='FILE', help='write all figures there')
    add('--strict', action='store_true', help='exit code 1 when the target is missed')


def run(args) -> int:
    """Measure, print, write."""
    if args.json is not None and not args.json.absolute().parent.is_dir():
        raise VlaError(f'--json {args.json}: the folder {args.json.parent} does not exist')
    import torch

    from vla_policy import bench_splice as bench

    torch.set_num_threads(int(args.threads))
    options = bench.Options(max(2, int(args.ticks)), args.seed, args.decay)
    sources = [bench.noisy_source()]
    if args.checkpoint is not None:
        sources.append(bench.checkpoint_source(str(args.checkpoint)))
    results = [bench.run(source, options) for source in sources]
    content = bench.report(results, options, _command(args))
    if args.json is not None:
        args.json.write_text(json.dumps(content, indent=1) + '\n')
    say('\n'.join(bench.lines(content)))
    policies = content['results'][0]['policies']
    met = all(policies[name]['ratio_p50'] <= bench.TARGET_RATIO for name in ('ensemble', 'rtc'))
    return 1 if args.strict and not met else 0


def _command(args) -> str:
    words = ['vla', 'bench', 'splice', '--ticks', f'{args.ticks:g}', '--seed', str(args.seed)]
    words += ['--decay', f'{args.decay:g}', '--threads', f'{args.threads:g}']
    return shlex.join(words + (['--checkpoint', str(args.checkpoint)] if args.checkpoint else []))
