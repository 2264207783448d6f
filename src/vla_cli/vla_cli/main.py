"""The `vla` command: finds the verb, imports only its module, runs it.

Every error a person can put right ends as one line and exit code 1. Each verb is a module under
verbs/ with `add_arguments(parser)` and `run(args) -> int`, or with `run_raw(argv) -> int` when
another program parses its options.
"""

import importlib
import os
import sys

from vla_core.errors import did_you_mean, VlaError

VERSION = '0.1.0'  # a test compares it with package.xml
# verb: (module, one line for `vla --help`)
VERBS = {
    'demo': ('demo', 'insertions in the simulated lab, with the monitor; Ctrl-C ends it'),
    'up': ('up', 'start the stack as plain processes and keep it running'),
    'monitor': ('monitor', 'live status of a running stack, in the terminal and as a web page'),
    'robot': ('robot', 'status, recover, enable, disable, stop, reset of robot and safety gate'),
    'task': ('task', 'let the robot work on an instruction until it has succeeded'),
    'sim': ('sim', 'the simulated lab alone: robot, cameras, sensor on their wire protocols'),
    'record': ('record', 'record episodes, by the keyboard or by options'),
    'replay': ('replay', 'publish an episode again, at its original pace'),
    'episodes list': ('episodes_list', 'the episodes of a folder, one line each'),
    'episodes tag': ('episodes_tag', 'judge episodes afterwards: outcome, tags, notes'),
    'episodes filter': ('episodes_filter', 'print the paths of the episodes that match'),
    'episodes check': ('episodes_check', 'rates, gaps, frozen content, clocks: pass or fail'),
    'episodes plot': ('episodes_plot', 'one page of an episode, PNG and HTML'),
    'import': ('import_legacy', 'legacy recordings into episodes, with a report'),
    'export': ('export', 'episodes into other formats: a LeRobot dataset'),
    'pretrain': ('pretrain', 'teach a small backbone to see, from rendered scenes'),
    'cache': ('cache', 'features of all image sets in episodes, kept for training'),
    'train': ('train', 'train the policy on demonstrations: expert, adapters, or all of it'),
    'dagger': ('dagger', 'corrections for a policy: it drives, the demonstrator answers'),
    'eval': ('eval', 'measure a policy in closed loop: success, errors, ages'),
    'bench live': ('bench_live', 'measure the running graph: rates, ages, losses, CPU, memory'),
    'bench splice': ('bench_splice', 'measure how smoothly chunks of actions follow each other'),
    'bench vlm': ('bench_vlm', 'measure the vision-language model against its computed limit'),
    'bench samples': ('bench_samples', 'measure how fast samples are read from an episode'),
    'checkpoint create': ('checkpoint_create', 'make an untrained checkpoint of a preset'),
    'checkpoint show': ('checkpoint_show', 'print what a checkpoint holds and check its hashes'),
}


def main(argv: list[str] | None = None) -> int:
    """Run the verb named on the command line; return the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        return dispatch(argv)
    except VlaError as error:
        sys.stderr.write(f'{error}\n')
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `vla ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def dispatch(argv: list[str]) -> int:
    """Find the verb in one or two words and run it."""
    if not argv or argv[0] in ('-h', '--help', 'help'):
        sys.stdout.write(overview())
        return 0 if argv else 1
    if argv[0] in ('-V', '--version'):
        sys.stdout.write(f'vla {VERSION}\n')
        return 0
    verb, rest = find_verb(argv)
    module = importlib.import_module(f'vla_cli.verbs.{VERBS[verb][0]}')
    if hasattr(module, 'run_raw'):
        return module.run_raw(rest)
    from vla_cli.arguments import Parser

    parser = Parser(prog=f'vla {verb}', description=module.__doc__)
    module.add_arguments(parser)
    return module.run(parser.parse_args(rest))


def find_verb(argv: list[str]) -> tuple[str, list[str]]:
    """Return the verb and the remaining words; VlaError with the nearest verb if none."""
    if argv[0] in VERBS:
        return argv[0], argv[1:]
    pair = ' '.join(argv[:2])
    if pair in VERBS:
        return pair, argv[2:]
    family = [verb for verb in VERBS if verb.split()[0] == argv[0]]
    if family:
        second = argv[1] if len(argv) > 1 else ''
        hint = did_you_mean(second, [verb.split()[1] for verb in family]) if second else ''
        raise VlaError(
            f'vla {argv[0]} needs one of: {", ".join(verb.split()[1] for verb in family)}{hint}'
        )
    kind = 'option' if argv[0].startswith('-') else 'verb'
    choices = (
        ['--help', '--version'] if kind == 'option' else [*VERBS, *(v.split()[0] for v in VERBS)]
    )
    hint = did_you_mean(pair, choices) or did_you_mean(argv[0], choices)
    raise VlaError(f'vla: unknown {kind} {argv[0]}{hint}; see `vla --help`')


def overview() -> str:
    """Return the text of `vla --help`."""
    lines = ['usage: vla VERB [options]      (`vla VERB --help` explains each)', '']
    lines += [f'  {verb:<18} {summary}' for verb, (_, summary) in VERBS.items()]
    return '\n'.join([*lines, '', '  --version          the version of the suite', ''])


if __name__ == '__main__':
    sys.exit(main())
