"""A supervisor in a process of its own, with fake programs. Helper of test_supervisor.py.

`python supervised.py RUN_DIR NAME=CODE...` runs each CODE with python under the name.
"""

from pathlib import Path
import sys

from vla_cli.supervisor.child import Program
from vla_cli.supervisor.loop import Supervisor
from vla_core.stack_description import Respawn


def main():
    run_dir, *programs = sys.argv[1:]
    pairs = [item.split('=', 1) for item in programs]
    respawn = Respawn(delay_s=0.05, max_delay_s=0.2)
    supervisor = Supervisor(
        [
            Program(name, (sys.executable, '-u', '-c', code), respawn=respawn)
            for name, code in pairs
        ],
        Path(run_dir),
        announce=lambda text: print(text, flush=True),
    )
    return supervisor.run()


if __name__ == '__main__':
    sys.exit(main())
