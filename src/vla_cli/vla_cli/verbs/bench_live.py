"""Measure the running graph: rates, ages, losses, CPU and memory, against the project's targets.

Starts the stack without the monitor, waits until it runs at its rates, measures, stops it, prints
a table and writes JSON. What was sent is counted by the simulator, what was received by a
subscriber on the inference side, both over exactly the same interval of capture time. Options it
does not know go to `vla up`.
"""

import json
from pathlib import Path

from vla_cli import workspace
from vla_cli.arguments import complain, Parser, positive, say
from vla_core.contract import load_contract
from vla_core.errors import VlaError


def build_parser() -> Parser:
    """Return the parser of this verb's own options."""
    parser = Parser(prog='vla bench live', description=__doc__)
    parser.add_argument(
        '--seconds',
        type=positive,
        default=60.0,
        metavar='S',
        help='length of the measurement (%(default)s)',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the result there')
    parser.add_argument('--checkpoint', type=Path, metavar='DIR', help='instead of nano')
    parser.add_argument(
        '--settle',
        type=positive,
        default=5.0,
        metavar='S',
        help='wait after the rates are reached (%(default)s)',
    )
    parser.add_argument(
        '--start-limit',
        type=positive,
        default=90.0,
        metavar='S',
        help='give up when the rates are not reached by then (%(default)s)',
    )
    parser.add_argument(
        '--strict', action='store_true', help='exit code 1 when a target is missed'
    )
    return parser  # fmt: skip


def run_raw(argv: list[str]) -> int:
    """Measure, print, write."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    from vla_cli.verbs import up

    known, _ = up.parse(rest, parser)  # an unknown option is refused before anything is started
    if args.json is not None and not args.json.absolute().parent.is_dir():
        raise VlaError(f'--json {args.json}: the folder {args.json.parent} does not exist')
    from vla_cli.nano import ensure_checkpoint

    folder = args.checkpoint or ensure_checkpoint(workspace.root())
    from vla_cli.environment import prepare

    prepare()
    from vla_cli.bench import report
    from vla_cli.bench.live import Measurement, Settings

    contract = load_contract(workspace.default_contract())
    settings = Settings(
        args.seconds,
        args.settle,
        args.start_limit,
        str(folder),
        tuple(rest),
        known.stack_sim_arguments or '',
    )
    run_dir = workspace.new_run_dir(None)
    result = Measurement(settings, contract, run_dir, lambda text: complain(f'vla: {text}')).run()
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=1) + '\n')
    say('\n'.join(report.lines(result)))
    met = all(row['met'] for row in result['targets'])
    return 1 if args.strict and not met else 0
