"""Watch a running stack: rates, ages, losses, problems, processes.

Shows a live view in a terminal, plain lines elsewhere. With --web PORT also a page at
http://127.0.0.1:PORT with the camera views; its pictures cost nothing while nobody looks.
"""

from pathlib import Path
import sys

from vla_cli import workspace
from vla_cli.arguments import Parser, port, positive, say
from vla_core.contract import load_contract

DRAW_PERIOD_S = 0.25
PLAIN_PERIOD_S = 5.0
ONCE_WAIT_S = 3.0  # for the first of each message: diagnostics come once a second


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument('--namespace', default='', help='ROS namespace of the stack')
    parser.add_argument(
        '--web', type=port, metavar='PORT', help='serve the page with the camera views'
    )
    parser.add_argument('--once', action='store_true', help='print the status once and end')
    parser.add_argument(
        '--plain', action='store_true', help='plain lines instead of the live view'
    )
    parser.add_argument(
        '--period',
        type=positive,
        default=PLAIN_PERIOD_S,
        metavar='S',
        help='time between two plain blocks, s (%(default)s)',
    )
    parser.add_argument(
        '--status',
        type=Path,
        metavar='FILE',
        help='status file of `vla up` (default: the newest run)',
    )
    parser.add_argument(
        '--contract', type=Path, metavar='FILE', help='contract, for topics and limits'
    )


def run(args) -> int:
    """Watch until Ctrl-C."""
    try:
        watch(args)
    except KeyboardInterrupt:
        pass
    return 0


def watch(args) -> None:
    """Build the parts and run the loop that fits the terminal."""
    from vla_cli.environment import prepare

    prepare()
    contract = load_contract(args.contract or workspace.default_contract())
    from vla_cli.monitor.session import Session

    status = args.status or workspace.latest_run_dir() / 'status.json'
    with Session(contract, args.namespace, status, args.web) as session:
        if args.once:
            session.poll_for(ONCE_WAIT_S)
            say('\n'.join(session.plain()))
        elif args.plain or not sys.stdout.isatty():
            watch_plain(session, args.period)
        else:
            watch_live(session)


def watch_plain(session, period_s: float = PLAIN_PERIOD_S, until=lambda: False) -> None:
    """Print a block every `period_s`."""
    if session.url:
        say(f'camera views: {session.url}')
    while not until():
        session.poll_for(period_s, until)
        say('\n'.join(session.plain()))


def watch_live(session, until=lambda: False) -> None:
    """Draw the live view until Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    from vla_cli.monitor.view import render

    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while not until():
            snapshot = session.poll_for(DRAW_PERIOD_S)
            live.update(render(snapshot, console.width, console.height, session.url), refresh=True)
