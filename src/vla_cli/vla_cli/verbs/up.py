"""Start the stack as plain processes and keep it running until Ctrl-C.

Every process writes to its own file in log/run-<time>/. A process that crashes is started again,
with a growing delay, and the fact is shown here, in the monitor and on /diagnostics. A refused
configuration ends everything with exit code 1. The options below the line come from the arguments
of the stack description, launch/stack.yaml; the same arguments are taken by `ros2 launch
vla_bringup bringup.launch.py`.
"""

import os
from pathlib import Path
import re
import sys

from vla_cli import shm, workspace
from vla_cli.arguments import complain, Parser, say
from vla_cli.supervisor.child import Program
from vla_cli.supervisor.loop import Supervisor
from vla_core.errors import ConfigError, VlaError
from vla_core.stack import load_stack, Override, resolve, Resolved
from vla_core.stack_description import GROUPS, Respawn, Stack

# A fatal line is the last one: it is shown with the end of its process.
_SHOWN = re.compile(r'\[(WARN|ERROR)\]')
REPORTER = 'process_reporter'


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb, without those from the stack description."""
    parser.add_argument(
        '--stack',
        type=Path,
        metavar='FILE',
        help='stack description (default: the installed launch/stack.yaml)',
    )
    parser.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='NODE.PARAMETER=VALUE',
        help='set a parameter of a node; may be given several times',
    )
    parser.add_argument(
        '--group',
        action='append',
        default=[],
        metavar='GROUP',
        help=f'start only this group, one of {", ".join(GROUPS)}; may be repeated',
    )
    parser.add_argument('--log-dir', type=Path, metavar='DIR', help='where run folders go (log)')
    parser.add_argument('--run-dir', type=Path, metavar='DIR', help='exactly this folder for logs')
    parser.add_argument('--verbose', action='store_true', help='show every line of every process')
    parser.add_argument('--dry-run', action='store_true', help='print the commands, start nothing')


def add_stack_arguments(parser: Parser, stack: Stack) -> None:
    """Add one option for each argument of the description; `--no-x` for those that are true or
    false.
    """
    group = parser.add_argument_group('arguments of the stack')
    for name, argument in stack.arguments.items():
        option, help_text = f'--{name.replace("_", "-")}', argument.description.replace('%', '%%')
        if argument.type == 'bool':
            short = option.removeprefix('--use-')
            more = ['--no-' + short] if short != option else []
            group.add_argument(
                option,
                dest=f'stack_{name}',
                action='store_const',
                const=True,
                help=f'{help_text} (default: {str(argument.default).lower()})',
            )
            group.add_argument(
                '--no-' + option[2:],
                *more,
                dest=f'stack_{name}',
                action='store_const',
                const=False,
                help='the opposite',
            )
        else:
            group.add_argument(
                option,
                dest=f'stack_{name}',
                metavar='VALUE',
                help=f'{help_text} (default: {str(argument.default) or "none"})',
            )


def given_values(args) -> dict:
    """Return the stack arguments that were given on the command line."""
    return {
        key.removeprefix('stack_'): value
        for key, value in vars(args).items()
        if key.startswith('stack_') and value is not None
    }


def parse(argv: list[str], caller: Parser | None = None):
    """Read the command line in two steps, as the stack's arguments are options too; return (args,
    stack). A verb that passes its unknown options on names itself as `caller`.
    """
    first = Parser(prog='vla up', add_help=False)
    first.add_argument('--stack', type=Path)
    known, _ = first.parse_known_args(argv)
    stack = load_stack(known.stack or workspace.default_stack())
    parser = Parser(prog='vla up', description=__doc__)
    add_arguments(parser)
    add_stack_arguments(parser, stack)
    args = parser.parse_args(argv, caller=caller)
    return args, stack


def run_raw(argv: list[str]) -> int:
    """Read the command line and run."""
    return run(*parse(argv))


def run(args, stack: Stack) -> int:
    """Start the stack and return when it has ended."""
    resolved = resolve(
        stack,
        given_values(args),
        [Override.parse(text) for text in args.set],
        args.group or GROUPS,
    )
    check_files(resolved)
    check_dds_profile(resolved)
    programs = to_programs(resolved)
    if args.dry_run:
        for program in programs:
            say(' '.join(program.command))
        return 0
    run_dir = args.run_dir or workspace.new_run_dir(args.log_dir)
    programs.append(reporter(run_dir, resolved))
    say(f'vla: logs in {run_dir}')
    settings = {key: str(value) for key, value in resolved.values.items() if value != ''}
    settings.update({'set': ' '.join(args.set)} if args.set else {})
    environment_for_logs(programs, run_dir)
    supervisor = Supervisor(
        programs,
        run_dir,
        announce=lambda text: complain(f'vla: {text}'),
        on_line=line_printer(args.verbose),
        settings=settings,
    )
    shm.remove_orphans()
    try:
        return supervisor.run()
    finally:
        shm.remove_orphans()


def check_files(resolved: Resolved) -> None:
    """ROS answers a missing parameter file with a page of text: say it in one line before."""
    for process in resolved.processes:
        words = process.ros_arguments
        for index, word in enumerate(words):
            if word == '--params-file' and not Path(words[index + 1]).is_file():
                raise ConfigError(process.name, 'parameter file', words[index + 1], 'no such file')


def check_dds_profile(resolved: Resolved) -> None:
    """Fast DDS falls back to its small segments without a word when the profile cannot be read."""
    name = 'FASTRTPS_DEFAULT_PROFILES_FILE'
    path = os.environ.get(name, resolved.environment.get(name, ''))
    if not path:
        return
    from xml.etree import ElementTree

    try:
        ElementTree.parse(path)
    except (OSError, ElementTree.ParseError) as error:
        raise VlaError(
            f'{name}={path}: not a DDS profile ({error}); unset it for the default'
        ) from error


def to_programs(resolved: Resolved) -> list[Program]:
    """Return what the supervisor starts: the same commands and environment as the launch files."""
    environment = resolved.added_environment(os.environ)
    return [
        Program(
            process.name, workspace.command(process), environment, process.group, process.respawn
        )
        for process in resolved.processes
    ]


def reporter(run_dir: Path, resolved: Resolved) -> Program:
    """The process that puts the supervisor's status on /diagnostics; launch_ros has its own
    display.
    """
    command = (sys.executable, '-m', 'vla_cli.reporter', str(run_dir / 'status.json'))
    return Program(REPORTER, command, resolved.added_environment(os.environ), 'tools', Respawn())


def environment_for_logs(programs: list[Program], run_dir: Path) -> None:
    """ROS' own log files go to the run folder; lines of Python arrive when they are written."""
    for program in programs:
        program.environment.setdefault('ROS_LOG_DIR', str(run_dir / 'ros'))
        program.environment.setdefault('PYTHONUNBUFFERED', '1')


def line_printer(verbose: bool):
    """Return what shows the processes' output: all of it, or warnings and errors."""

    def show(name: str, stream: str, text: str) -> None:
        if verbose or _SHOWN.search(text):
            complain(f'{name} | {text}')

    return show
