"""Corrections for a trained policy (DAgger): it drives, the demonstrator answers every tick.

Episodes of the closed loop as in `vla eval`, headless: in some the policy drives, in others the
demonstrator, pushed off his way now and then, in the rest the demonstrator from what a learner can
see (old pictures, the OCT). Each draws its eye (still or moving) and its delay. What was seen at
each tick, and the demonstrator's chunk, go into OUT; `vla train` takes them as
`data.corrections=[OUT]`. A run that was ended goes on by the same command. Seeds: those of
demonstrations are below 300000, of evaluation below 100000.
"""

from pathlib import Path
import time

from vla_cli.arguments import episodes, first_seed, Parser, processes, say


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    add = parser.add_argument
    add('--checkpoint', type=Path, required=True, metavar='DIR', help='a trained policy')
    add('--out', type=Path, required=True, metavar='DIR', help='folder for the corrections')
    add('--episodes', type=episodes, default=340, metavar='N', help='(%(default)s)')
    add('--seed', type=first_seed, default=300_000, metavar='S', help='of the first (%(default)s)')
    add('--jobs', type=processes, default=1, metavar='N', help='processes (%(default)s)')
    add('--teacher-share', type=float, default=0.15, metavar='P',
        help='share of episodes that the demonstrator drives (%(default)s)')  # fmt: skip
    add('--hampered-share', type=float, default=0.5, metavar='P',
        help='share that he drives from what a learner can see (%(default)s)')  # fmt: skip
    add('--moving-share', type=float, default=0.8, metavar='P',
        help='share of episodes whose eye moves (%(default)s)')  # fmt: skip
    add('--wide-share', type=float, default=0.3, metavar='P',
        help='share whose cameras are three times as far off (%(default)s)')  # fmt: skip


def run(args) -> int:
    """Collect and sum up."""
    from vla_policy.checkpoint import read_manifest
    from vla_training.dagger.collect import collect, Collected, DaggerOptions
    from vla_training.dagger.teacher import Driver

    options = DaggerOptions(
        teacher_share=args.teacher_share, hampered_share=args.hampered_share,
        moving_share=args.moving_share, wide_share=args.wide_share,
    )  # fmt: skip
    read_manifest(args.checkpoint)  # its faults are told before processes start
    seeds = range(args.seed, args.seed + args.episodes)
    began_s, found = time.monotonic(), []

    def tell(one: Collected) -> None:
        found.append(one)
        who = f'{one.driver.value} drives'
        say(f'{len(found)}  seed {one.seed}, {who}: {one.reason}; {one.ticks} ticks')

    there = collect(args.checkpoint, args.out, seeds, options, args.jobs, tell)
    ticks = sum(one.ticks for one in found)
    driven = [one for one in found if one.driver is Driver.POLICY]
    say(
        f'{args.out}: {len(found)} episodes with {ticks} ticks in '
        f'{time.monotonic() - began_s:.0f} s, {there} were there already; the policy succeeded in '
        f'{sum(one.reason == "success" for one in driven)} of the {len(driven)} it drove'
    )
    return 0
