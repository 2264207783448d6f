"""Print the folders of the episodes that match all conditions, one a line, for other commands:
`vla episodes filter data --outcome success --tag train | xargs vla export ...`.
"""

from datetime import datetime
from pathlib import Path

from vla_cli.arguments import complain, Parser, say
from vla_core.errors import VlaError


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument('folder', type=Path, nargs='?', default=Path('~/episodes').expanduser())
    parser.add_argument('--task', default='', help='part of the instruction, any case')
    parser.add_argument('--operator', default='', help='part of the name, any case')
    parser.add_argument('--outcome', action='append', default=[], help='any of these')
    parser.add_argument('--tag', action='append', default=[], help='all of these')
    parser.add_argument('--without-tag', action='append', default=[], help='none of these')
    parser.add_argument('--min-seconds', type=float, default=0.0, metavar='S')
    parser.add_argument('--lossless', action='store_true', help='no message lost by counters')
    parser.add_argument('--since', default='', metavar='DATE', help='2026-11-25 or with time')
    parser.add_argument('--until', default='', metavar='DATE', help='before this time')


def run(args) -> int:
    """Print what matches; 1 when an episode cannot be read."""
    from vla_data.catalog import chosen, Filter, find, load
    from vla_data.episode import OUTCOMES

    for outcome in args.outcome:
        if outcome not in OUTCOMES:
            raise VlaError(f'--outcome {outcome}: expected one of {", ".join(OUTCOMES[1:])}')
    wanted = Filter(
        args.task,
        args.operator,
        tuple(args.outcome),
        tuple(args.tag),
        tuple(args.without_tag),
        args.min_seconds,
        args.lossless,
        date_ns(args.since),
        date_ns(args.until),
    )
    entries = [load(path, complain) for path in find(args.folder)]
    for entry in entries:
        if entry.fault:
            complain(f'{entry.path}: {entry.fault}')
    for entry in chosen(entries, wanted):
        say(str(entry.path))
    return 1 if any(entry.fault for entry in entries) else 0


def date_ns(text: str) -> int:
    """Return a local date or time as Unix ns; 0 for ''."""
    if not text:
        return 0
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1e9)
    except ValueError:
        raise VlaError(f'{text}: expected a date such as 2026-11-25 or 2026-11-25T14:30') from None
