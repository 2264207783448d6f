"""Train the policy on demonstrations.

A configuration file says everything; each of its keys can be overridden on the command line.
The folder `out` gets the checkpoints `best` (by validation) and `last`, `log.jsonl`, TensorBoard
curves, and the state to resume from. Ctrl-C saves and ends; the same command with --resume goes on
where it was. `nano`, `stage1_3b` and `stage2_3b` are configurations that come with the suite.

  vla train --config nano init=checkpoints/seeing out=runs/nano data.episodes=[episodes]
  vla train --config nano out=runs/blind data.images=black ...
  vla train --config stage2_3b --plan
  vla train --config stage2_3b --plan distributed=fsdp --processes 4
"""

from pathlib import Path

from vla_cli.arguments import Parser, say, UsageError


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        '--config', type=Path, metavar='FILE', help='YAML file, or nano, stage1_3b, stage2_3b'
    )
    parser.add_argument('overrides', nargs='*', metavar='KEY=VALUE', help='data.sensor=absent')
    parser.add_argument('--resume', action='store_true', help='go on where the run was left')
    parser.add_argument(
        '--plan', action='store_true', help='print parameters and memory, train nothing'
    )
    parser.add_argument(
        '--processes', type=int, default=1, metavar='N',
        help='processes of this machine that share each step (%(default)s)',
    )  # fmt: skip


def run(args) -> int:
    """Train, or plan."""
    from vla_training.train.config import load_config

    if args.processes < 1:
        raise UsageError(f'--processes {args.processes}: expected a whole number of at least 1')
    config = load_config(args.config, args.overrides)
    if args.plan:
        from vla_training.train.plan import plan

        for line in plan(config, args.processes):
            say(line)
        return 0
    from vla_training.train.launch import launch, needs_launch

    if needs_launch(args.processes):
        return launch(args.processes)
    from vla_training.train.pipeline import train

    outcome = train(config, say, resume=args.resume)
    best = '' if outcome.best is None else f', best validation loss {outcome.best:.4f}'
    end = '' if outcome.finished else ': stopped and saved, go on with --resume'
    if outcome.first:
        say(f'{config.out}: {outcome.step} steps{best}{end}')
    return 0 if outcome.finished else 130
