"""The whole graph on simulated devices, watched live; Ctrl-C ends everything within five seconds.

Makes the untrained nano checkpoint at first use (build/checkpoints/nano), starts the stack in the background with its
logs in log/run-<time>/, and shows the monitor here. The camera views are on the page whose address is shown.
Options it does not know are passed on to `vla up`.
"""

import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

from vla_core.contract import load_contract
from vla_core.errors import VlaError

from vla_cli import workspace
from vla_cli.arguments import complain, Parser, port, say
from vla_cli.supervisor.child import die_with_parent

WEB_PORT = 8600
PRESET = 'nano'
END_LIMIT_S = 5.0  # the supervisor needs 4.6 s at most, see its ladder
_UP = (sys.executable, '-m', 'vla_cli.main', 'up')


def run_raw(argv: list[str]) -> int:
    """Read the options of the demo, leave the others to `vla up`."""
    parser = Parser(prog='vla demo', description=__doc__)
    parser.add_argument(
        '--web', type=port, default=WEB_PORT, help='port of the page with the camera views (%(default)s)'
    )
    parser.add_argument('--no-web', action='store_true', help='no page')
    parser.add_argument(
        '--plain', action='store_true', help='plain lines instead of the live view'
    )
    parser.add_argument('--checkpoint', type=Path, metavar='DIR', help='another checkpoint')
    parser.add_argument(
        '--seconds', type=float, metavar='S', help='end by itself after this time'
    )
    args, rest = parser.parse_known_args(argv)
    folder = args.checkpoint or ensure_checkpoint(workspace.root())
    run_dir = workspace.new_run_dir(None)
    command = (*_UP, '--run-dir', str(run_dir), '--checkpoint', str(folder), *rest)
    return Demo(command, run_dir, args).run()


def ensure_checkpoint(root: Path) -> Path:
    """Return the demo's checkpoint, made anew when it is missing or was made for another contract."""
    folder = root / 'build' / 'checkpoints' / PRESET
    if fits(folder):
        return folder
    say(f'vla: making the {PRESET} checkpoint (once, about ten seconds)')
    if folder.exists():
        shutil.rmtree(folder)
    create = ('checkpoint', 'create', '--preset', PRESET, '--out', str(folder))
    result = subprocess.run(
        [sys.executable, '-m', 'vla_cli.main', *create], capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        tail = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1:]
        raise VlaError(f'the {PRESET} checkpoint could not be made: {" ".join(tail)}')
    return folder


def fits(folder: Path) -> bool:
    """Say whether the folder holds a complete checkpoint for the installed contract."""
    try:
        policy = json.loads((folder / 'policy.json').read_text())
    except (OSError, ValueError):
        return False
    wanted = load_contract(workspace.default_contract()).hash
    return policy.get('contract_hash') == wanted and (folder / 'manifest.json').is_file()


class Demo:
    """The stack in the background and the monitor in front. One thread."""

    def __init__(self, command: tuple[str, ...], run_dir: Path, args):
        self._command = command
        self._run_dir = run_dir
        self._args = args
        self._log = run_dir / 'up.log'
        self._end_s = time.monotonic() + args.seconds if args.seconds else None

    def run(self) -> int:
        """Watch until Ctrl-C or until the stack ends by itself; return the exit code."""
        previous = signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGHUP, _interrupt)
        with self._log.open('wb') as log:
            up = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=die_with_parent(os.getpid()),
            )
        try:
            self._watch(up)
        except KeyboardInterrupt:
            pass
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # we are already ending
            code = self._end(up)
            signal.signal(signal.SIGTERM, previous)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        say(f'vla: ended; logs in {self._run_dir}')
        return code

    def _watch(self, up: subprocess.Popen) -> None:
        from vla_cli.environment import prepare

        prepare()
        from vla_cli.monitor.session import Session
        from vla_cli.verbs import monitor

        contract = load_contract(workspace.default_contract())
        web_port = None if self._args.no_web else self._args.web
        with Session(contract, '', self._run_dir / 'status.json', web_port) as session:
            show = monitor.watch_live if not self._plain() else monitor.watch_plain
            show(session, until=lambda: self._over(up))

    def _plain(self) -> bool:
        return self._args.plain or not sys.stdout.isatty()

    def _over(self, up: subprocess.Popen) -> bool:
        return up.poll() is not None or (
            self._end_s is not None and time.monotonic() >= self._end_s
        )

    def _end(self, up: subprocess.Popen) -> int:
        """End the supervisor; what it said is shown when it ended by itself with an error."""
        if up.poll() is None:
            os.kill(up.pid, signal.SIGINT)
            try:
                up.wait(END_LIMIT_S)
            except subprocess.TimeoutExpired:
                os.kill(up.pid, signal.SIGKILL)  # its guard ends the rest
                up.wait()
            return 0
        if up.returncode:
            lines = self._log.read_text(errors='replace').splitlines()
            complain('\n'.join(lines[-5:]))
        return 1 if up.returncode else 0


def _interrupt(*_):
    raise KeyboardInterrupt
