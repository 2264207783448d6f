"""Draw one page of an episode: the views over time, force and A-scans (M-mode), joints and pose,
actions, ages. Writes NAME.png and NAME.html, which needs no other file.
"""

import argparse
from pathlib import Path

from vla_cli.arguments import Parser, say


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument('episodes', type=Path, nargs='+', metavar='EPISODE', help='episode folder')
    parser.add_argument('--out', type=Path, default=Path(), metavar='DIR', help='(here)')
    parser.add_argument('--contract', type=Path, metavar='FILE', help='instead of its own')


def run(args: argparse.Namespace) -> int:
    """Draw every episode."""
    from vla_core.contract import load_contract
    from vla_data.bag_reader import open_bag
    from vla_data.plot.page import write_page

    contract = load_contract(args.contract) if args.contract else None
    for path in args.episodes:
        with open_bag(path) as bag:
            png, page = write_page(bag, args.out, contract)
        say(f'{png} {page}')
    return 0
