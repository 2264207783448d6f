"""The simulator's program: reads options and runs the supervisor.

Called by the `vla_sim` executable and `vla sim`. Deliberately does no work of a device itself: it
writes the statistics, so that a slow disk delays nothing, and ends everything when one part fails
or it is told to.
"""

from collections.abc import Sequence
import sys

from vla_core.errors import VlaError
from vla_sim import options
from vla_sim.supervisor import Supervisor


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to end; return the exit code (1 after one clear line on stderr)."""
    try:
        parsed = options.parse(argv)
        Supervisor(parsed).run()
    except VlaError as error:
        sys.stderr.write(f'vla sim: {error}\n')
        return 1
    except SystemExit as done:  # --help
        return int(done.code or 0)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
