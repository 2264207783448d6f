"""Let the robot work on an instruction until it has succeeded; Ctrl-C cancels.

The gate must have been enabled (`vla robot enable`); it is disabled when the task ends. The exit
code is 0 only after a success.
"""

import math
import sys

from vla_cli.arguments import complain, Parser, positive, say


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        'instruction', help="such as 'insert the needle into the trocar', in one argument"
    )
    parser.add_argument(
        '--timeout', type=positive, default=0.0, metavar='S', help="s (default: the node's)"
    )
    parser.add_argument('--namespace', default='', help='ROS namespace of the stack')


def run(args) -> int:
    """Run the goal."""
    from vla_cli.environment import prepare

    prepare()
    from vla_cli.operator.link import OperatorLink

    line = TaskLine()
    with OperatorLink(args.namespace, complain) as link:
        try:
            end = link.execute(args.instruction, args.timeout, line.show)
        finally:
            line.close()
    (say if end.success else complain)(end.line())
    return 0 if end.success else 1


class TaskLine:
    """One line that is overwritten in a terminal; elsewhere a line every two seconds."""

    def __init__(self):
        self._live = sys.stdout.isatty()
        self._shown_s = -math.inf
        self._open = False

    def show(self, record) -> None:
        """Show the newest progress."""
        if self._live:
            sys.stdout.write(f'\r\x1b[K{record.line()}')
            sys.stdout.flush()
            self._open = True
        elif record.elapsed_s - self._shown_s >= 2.0:
            self._shown_s = record.elapsed_s
            say(record.line())

    def close(self) -> None:
        """End the line."""
        if self._open:
            say()
