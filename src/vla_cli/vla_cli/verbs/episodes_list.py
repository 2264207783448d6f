"""The episodes of a folder, one line each; those that were not closed are repaired on the way."""

import json
from pathlib import Path

from vla_cli.arguments import complain, Parser, say
from vla_cli.episodes.table import as_json, row, rows

_COLUMNS = ('episode', 'start', 's', 'MB', 'messages', 'lost', 'outcome', 'task', 'tags', '')


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument('folder', type=Path, nargs='?', default=Path('~/episodes').expanduser())
    parser.add_argument('--json', action='store_true', help='as JSON, for programs')


def run(args) -> int:
    """Print the table; 1 when an episode cannot be read."""
    from vla_data.catalog import find, load

    entries = [load(path, complain) for path in find(args.folder)]
    if args.json:
        say(json.dumps([as_json(entry) for entry in entries], indent=1))
    elif not entries:
        say(f'{args.folder}: no episodes')
    else:
        for line in rows([_COLUMNS, *(row(entry, args.folder) for entry in entries)]):
            say(line)
    return 1 if any(entry.fault for entry in entries) else 0
