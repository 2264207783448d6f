"""Publish the messages of an episode again, at their original pace.

The messages are those that were recorded, bit for bit, with their old stamps: nodes that are to
work on them need simulated time, `vla replay EPISODE --clock --inputs` beside
`vla up --use-sim-time --no-sim --group inference`. `ros2 bag play` does the same on ROS machines.
With --lockstep it starts the two model nodes itself, moves /clock by small steps and waits for
both at each: two replays give the same chunks, bit for bit, and the same digest.
"""

from pathlib import Path
import signal

from vla_cli import workspace
from vla_cli.arguments import complain, Parser, positive, say
from vla_core.errors import did_you_mean, VlaError

CLOCK_HZ = 100.0
WAIT_S = 2.0


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument('episode', type=Path, help='folder of the episode')
    parser.add_argument(
        '--rate', type=positive, default=1.0, metavar='R', help='speed (%(default)s)'
    )
    parser.add_argument(
        '--start', type=positive, default=0.0, metavar='S', help='begin this far in, s'
    )
    parser.add_argument('--seconds', type=positive, metavar='S', help='end after so much of it')
    parser.add_argument(
        '--topics', nargs='+', default=[], metavar='TOPIC', help='only these topics'
    )
    parser.add_argument(
        '--exclude', nargs='+', default=[], metavar='TOPIC', help='not these topics'
    )
    parser.add_argument(
        '--inputs', action='store_true', help='only what the policy sees, not what it made of it'
    )
    parser.add_argument(
        '--clock',
        nargs='?',
        type=positive,
        const=CLOCK_HZ,
        metavar='HZ',
        help='publish /clock at this rate (%(const)s)',
    )
    parser.add_argument(
        '--wait',
        type=float,
        default=WAIT_S,
        metavar='S',
        help='wait so long at most for every topic to have a subscriber (%(default)s)',
    )
    parser.add_argument('--loop', action='store_true', help='again from the start, until Ctrl-C')
    group = parser.add_argument_group('lockstep')
    group.add_argument(
        '--lockstep', action='store_true', help='the same chunks every time, at no set pace'
    )
    group.add_argument(
        '--latency-ms',
        type=positive,
        default=80.0,
        metavar='MS',
        help='simulated duration of a vision-language pass (%(default)s)',
    )
    group.add_argument(
        '--checkpoint', type=Path, metavar='DIR', help='policy to run (the nano one of the demo)'
    )
    group.add_argument(
        '--out', type=Path, metavar='DIR', help='write chunks and pass infos as an episode'
    )


def run(args) -> int:
    """Play."""
    from vla_cli.environment import prepare
    from vla_data.bag_reader import open_bag
    from vla_data.recovery import repair_and_say

    repair_and_say(args.episode, complain)
    with open_bag(args.episode) as bag:
        start_ns = bag.start_ns + round(args.start * 1e9)
        stop_ns = bag.last_ns + 1
        if start_ns >= stop_ns:
            length_s = (bag.last_ns - bag.start_ns) / 1e9
            raise VlaError(f'--start {args.start:g}: the episode is only {length_s:.1f} s long')
        if args.seconds:
            stop_ns = min(stop_ns, start_ns + round(args.seconds * 1e9))
        if args.lockstep:
            from vla_cli.episodes.lockstep import replay_in_lockstep, use_quick_receipts

            use_quick_receipts()
            prepare()
            return replay_in_lockstep(bag, start_ns, stop_ns, args)
        prepare()
        names = choose(bag, args)
        return play(bag, names, start_ns, stop_ns, args)


def choose(bag, args) -> list[str]:
    """Return the topics to publish, by their names in the bag."""
    wanted = [named(bag, topic) for topic in args.topics]
    if args.inputs:
        from vla_data.recording.manifest import load_manifest

        manifest = load_manifest(workspace.default_manifest())
        inputs = [topic.name for topic in manifest.topics if topic.group == 'observation']
        wanted += [found for name in inputs if (found := bag.find(name)) is not None]
    without = {named(bag, topic) for topic in args.exclude}
    chosen = [name for name in (wanted or bag.topics) if name not in without]
    if not any(bag.topics[name].count for name in chosen):
        raise VlaError(f'{bag.path}: no messages of these topics')
    return chosen


def named(bag, topic: str) -> str:
    """Return the full name of a topic given with or without its namespace."""
    found = bag.find(topic)
    if found is None:
        raise VlaError(f'{bag.path}: has no topic {topic}{did_you_mean(topic, bag.topics)}')
    return found


def play(bag, names: list[str], start_ns: int, stop_ns: int, args) -> int:
    """Publish until the end, the end of the patience of who watches, or for ever."""
    from vla_cli.episodes.replay_node import ReplayNode
    from vla_data.replay import Player, timeline

    clock_ns = round(1e9 / args.clock) if args.clock else 0
    with ReplayNode(bag, names, bool(clock_ns)) as node:
        player = Player(args.rate, node.publish)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: player.stop())
        missing = node.wait_for_subscribers(args.wait)
        if missing:
            complain(f'nobody listens to {", ".join(missing)}')
        say(f'replaying {(stop_ns - start_ns) / 1e9:.1f} s of {bag.path}, {len(names)} topics')
        while True:
            node.publish_latched(start_ns)
            events = timeline(bag.raw(names, start_ns, stop_ns), start_ns, stop_ns, clock_ns)
            played = player.play(events, start_ns)
            say(
                f'{played.messages} messages, late by {played.late_ms(0.5):.2f} ms (p50), '
                f'{played.late_ms(0.99):.2f} ms (p99)'
            )
            if played.stopped or not args.loop:
                node.settle()
                return 130 if played.stopped else 0
