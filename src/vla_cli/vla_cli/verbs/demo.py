"""Insertions in the simulated lab, watched live; Ctrl-C ends everything within five seconds.

Starts the stack in the background with its logs in log/run-<time>/, and shows the monitor here.
Then it does what an operator would: recover the robot, enable the safety gate, let the task server
insert the needle, take it out, and again. With --policy model the checkpoint inserts and the gate
withdraws the needle: that is the default where the checkpoint is trained. With --policy scripted
an expert that knows the simulator's truth does both, and the model runs in its shadow. The views
of the cameras are on the page whose address is shown. Options it does not know are passed on to
`vla up`.
"""

from pathlib import Path
import signal
import sys
import time

from vla_cli import workspace
from vla_cli.arguments import complain, Parser, port, positive, say
from vla_cli.background import BackgroundStack
from vla_cli.nano import ensure_checkpoint, is_trained
from vla_cli.verbs import monitor
from vla_core.contract import load_contract
from vla_core.errors import VlaError

WEB_PORT = 8600


def build_parser() -> Parser:
    """Return the parser of the demo's own options."""
    parser = Parser(prog='vla demo', description=__doc__)
    parser.add_argument(
        '--web', type=port, default=WEB_PORT, help='port of the page (%(default)s)'
    )
    parser.add_argument('--no-web', action='store_true', help='no page')
    parser.add_argument('--plain', action='store_true', help='plain lines, no live view')
    parser.add_argument(
        '--policy',
        choices=('scripted', 'model'),
        help='what moves the robot (model where the checkpoint is trained, else scripted)',
    )
    parser.add_argument('--checkpoint', type=Path, metavar='DIR', help='another checkpoint')
    parser.add_argument('--seconds', type=positive, metavar='S', help='end after this time')
    return parser


def run_raw(argv: list[str]) -> int:
    """Read the options of the demo, leave the others to `vla up`."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    check_up_options(rest, parser)
    refuse_real_devices(rest)
    folder = args.checkpoint or ensure_checkpoint(workspace.root())
    args.policy = args.policy or ('model' if is_trained(folder) else 'scripted')
    chosen = ('--checkpoint', str(folder), '--policy', args.policy, '--robot', 'mecademic')
    arguments = (*chosen, *rest)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    with BackgroundStack(workspace.new_run_dir(None), arguments) as stack:
        try:
            watch(args, stack)
        except KeyboardInterrupt:
            pass
        failed = not stack.running() and stack.exit_code != 0
    if failed:
        complain(stack.last_words())
    say(f'vla: ended; logs in {stack.run_dir}')
    return 1 if failed else 0


def check_up_options(rest: list[str], caller: Parser) -> None:
    """Refuse options that `vla up` does not know before anything is started."""
    from vla_cli.verbs import up

    up.parse(rest, caller)


def refuse_real_devices(rest: list[str]) -> None:
    """The demo homes and moves the robot without asking: only the simulated one."""
    if '--no-sim' in rest or '--no-use-sim' in rest:
        raise VlaError(
            'vla demo moves the robot by itself, so it is for the simulated lab only; with real '
            'devices use vla up --no-sim, vla robot and vla task'
        )


def watch(args, stack: BackgroundStack) -> None:
    """Show the monitor until Ctrl-C, the end of the stack or the end of the time."""
    from vla_cli.environment import prepare

    prepare()
    from vla_cli.monitor.session import Session
    from vla_cli.operator.performance import Performance

    end_s = time.monotonic() + args.seconds if args.seconds else float('inf')

    def over() -> bool:
        return not stack.running() or time.monotonic() >= end_s

    contract = load_contract(workspace.default_contract())
    web_port = None if args.no_web else args.web
    show = Performance(withdraw=args.policy == 'model')
    with Session(contract, '', stack.status_path, web_port) as session, show:
        session.note = show.note
        plain = args.plain or not sys.stdout.isatty()
        (monitor.watch_plain if plain else monitor.watch_live)(session, until=over)


def _interrupt(*_):
    raise KeyboardInterrupt
