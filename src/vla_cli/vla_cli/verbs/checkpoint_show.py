"""Print what a checkpoint holds and check the hash of every file."""

import json
from pathlib import Path

from vla_cli.arguments import Parser, say


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument('folder', type=Path, help='checkpoint folder')
    parser.add_argument('--json', action='store_true', help='as JSON, for programs')


def run(args) -> int:
    """Check and print."""
    from vla_policy.checkpoint import describe

    content = describe(args.folder)
    say(json.dumps(content, indent=1) if args.json else '\n'.join(lines(content)))
    return 0


def lines(content: dict, indent: str = '') -> list[str]:
    """Return nested data as indented lines."""
    result = []
    for key, value in content.items():
        if isinstance(value, dict):
            result += [f'{indent}{key}:', *lines(value, indent + '  ')]
        else:
            text = ', '.join(map(str, value)) if isinstance(value, (list, tuple)) else value
            result.append(f'{indent}{key}: {text}')
    return result
