"""Check episodes: rate, jitter, gaps, duplicates, frozen content, clocks, view skew, loss.

Each stream is judged against the contract; exit code 1 when an episode fails, or cannot be read.
'stale' is the longest time without new content, 'clock' the least time from stamp to log.
"""

import argparse
import json
from pathlib import Path

from vla_cli.arguments import complain, Parser, say


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument('episodes', type=Path, nargs='+', metavar='EPISODE', help='episode folder')
    parser.add_argument('--contract', type=Path, metavar='FILE', help='instead of its own')
    parser.add_argument('--json', action='store_true', help='as JSON, for programs')


def run(args: argparse.Namespace) -> int:
    """Check and print."""
    from vla_core.contract import load_contract
    from vla_core.errors import VlaError
    from vla_data.bag_reader import open_bag
    from vla_data.quality import table
    from vla_data.quality.check import check_episode

    contract = load_contract(args.contract) if args.contract else None
    results, unreadable = [], 0
    for path in args.episodes:
        try:
            with open_bag(path) as bag:
                results.append(check_episode(bag, contract))
        except VlaError as error:
            unreadable += 1
            complain(str(error))
            continue
        if not args.json:
            say('\n'.join(table.lines(results[-1])))
    if args.json:
        say(json.dumps([result.to_dict() for result in results], indent=1))
    return 0 if not unreadable and all(result.passed for result in results) else 1
