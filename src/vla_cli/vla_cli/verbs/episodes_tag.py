"""Judge episodes afterwards: outcome, tags, notes, in metadata.yaml and inside the file alike."""

from pathlib import Path

from vla_cli.arguments import complain, Parser, say
from vla_core.errors import VlaError


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument('episode', type=Path, nargs='+', help='folders of the episodes')
    parser.add_argument('--add', action='append', default=[], metavar='TAG')
    parser.add_argument('--remove', action='append', default=[], metavar='TAG')
    parser.add_argument('--outcome', help="success, failure, aborted, discarded or '': not judged")
    parser.add_argument('--notes', help='replaces the notes')
    parser.add_argument('--task', help='replaces the instruction, where it was recorded wrong')
    parser.add_argument('--operator', help='replaces the operator')


def run(args) -> int:
    """Change every episode; the first that cannot be changed ends it."""
    from vla_data.recovery import repair_and_say
    from vla_data.tagging import change, change_tags

    keys = ('outcome', 'notes', 'task', 'operator')
    changes = {key: value for key in keys if (value := getattr(args, key)) is not None}
    if not (changes or args.add or args.remove):
        raise VlaError('vla episodes tag: nothing to change; give --add, --outcome, ...')
    for path in args.episode:
        repair_and_say(path, complain)
        if changes:
            info = change(path, **changes)
        if args.add or args.remove:
            info = change_tags(path, tuple(args.add), tuple(args.remove))
        said = [info.outcome or 'not judged', *info.tags]
        say(f'{path}: {", ".join(said)}')
    return 0
