"""What of `vla eval`'s options does not go together: said, never ignored.

Called by the verb before anything else. Deliberately looks at no value: `arguments` does.
"""

from vla_cli.evaluation.arguments import given, POLICIES
from vla_core.errors import VlaError

NOT_FILMED = ('live', 'sweep', 'json', 'plot', 'jobs')


def check(args) -> None:
    """VlaError unless exactly one policy is named, and every option has an effect."""
    key = (args.sweep or '').partition('=')[0]
    _check_who(args, swept=key == 'checkpoint')
    if args.video is not None:
        for option in given(args, NOT_FILMED):
            raise VlaError(f'--video films one episode, and nothing else: leave out --{option}')
    if hasattr(args, key.replace('-', '_')) and given(args, [key]):
        raise VlaError(f'--sweep {args.sweep} has values of its own: leave out --{key}')
    for text in args.loss:
        if key == text.partition('=')[0] + '-loss':
            raise VlaError(f'--sweep {args.sweep} has values of its own: leave out --loss {text}')


def _check_who(args, swept: bool) -> None:
    named = args.checkpoint is not None or swept
    if args.policy == 'mean' and not named:
        raise VlaError('--policy mean: give the --checkpoint whose demonstrations are meant')
    if args.policy in ('scripted', 'hold') and named:
        raise VlaError(f'--policy {args.policy} needs no checkpoint: give one of the two')
    if args.policy is None and not named:
        raise VlaError(f'who acts? give --checkpoint DIR, or --policy {", ".join(POLICIES)}')
