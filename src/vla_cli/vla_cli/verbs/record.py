"""Record episodes through the recorder node, which is started if none runs.

By the keyboard: space starts an episode; s ends it as a success, f as a failure, space without a
judgement, d discards it; q ends, and with it an episode that runs, as aborted. With --seconds or
--episodes no key is needed. An episode holds the topics of launch/config/recorder/manifest.yaml;
`vla up --record` keeps a recorder running.
"""

from pathlib import Path
import sys

from vla_cli.arguments import complain, Parser, positive, say
from vla_core.errors import VlaError

OUTCOMES = ('', 'success', 'failure', 'aborted')
HELP = 'space: start   q: end'
HELP_RECORDING = 's: success   f: failure   space: stop   d: discard'
STARTS = (' ', '\n')
ENDS = {'s': 'success', 'f': 'failure', ' ': '', '\n': ''}
IDLE = 0  # RecorderStatus.IDLE, which costs the import of the messages


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument('--task', default='', help='instruction (default: the one in force)')
    parser.add_argument('--operator', default='', help='who runs the experiment')
    parser.add_argument('--notes', default='', help='free text, kept in every episode')
    parser.add_argument('--tag', action='append', default=[], help='may be repeated')
    parser.add_argument(
        '--out',
        type=Path,
        metavar='DIR',
        help='folder for the episodes, if the recorder has to be started (~/episodes)',
    )
    parser.add_argument('--seconds', type=positive, metavar='S', help='length of each episode')
    parser.add_argument('--episodes', type=int, metavar='N', help='how many (1)')
    parser.add_argument(
        '--pause', type=float, default=0.0, metavar='S', help='between two episodes, s'
    )
    parser.add_argument(
        '--outcome', default='', choices=OUTCOMES, help='judgement of the timed episodes'
    )
    parser.add_argument('--namespace', default='', help='ROS namespace of the stack')


def run(args) -> int:
    """Record."""
    timed = args.seconds is not None or args.episodes is not None
    if timed and args.seconds is None:
        raise VlaError('vla record: --episodes needs --seconds, the length of each')
    if args.episodes is not None and args.episodes < 1:
        raise VlaError(f'vla record: --episodes {args.episodes}: expected 1 or more')
    if not timed and not sys.stdin.isatty():
        raise VlaError('vla record: without a terminal give --seconds S (and --episodes N)')
    from vla_cli.environment import prepare

    prepare()
    from vla_cli.episodes.recorder_client import RecorderClient

    with RecorderClient(args.namespace, args.out) as client:
        if client.started_own:
            say('no recorder was running: started one')
        elif args.out is not None:
            complain('a recorder is running already: its own folder is used, not --out')
        return record_timed(client, args) if timed else record_by_keys(client, args)


def request(args) -> dict:
    """Return the fields of StartEpisode."""
    return {
        'task': args.task,
        'operator_name': args.operator,
        'notes': args.notes,
        'tags': args.tag,
    }


def record_timed(client, args) -> int:
    """Record episodes of a fixed length; 1 when one ended by itself."""
    failed = False
    for number in range(args.episodes or 1):
        if number:
            client.watch(args.pause)
        say(client.start(**request(args)).message)
        try:
            ended = wait(client, args.seconds)
        except KeyboardInterrupt:
            say(client.stop('aborted').message)
            return 130
        done = client.stop('' if ended else args.outcome)
        (complain if ended else say)(done.message)
        failed = failed or bool(ended)
        if ended:
            break
    return 1 if failed else 0


def wait(client, seconds: float) -> str:
    """Wait for the length of an episode; return why it ended before, '' if it did not."""
    left_s = seconds
    while left_s > 0:
        piece_s = min(left_s, 0.2)
        status = client.watch(piece_s)
        left_s -= piece_s
        if status is not None and status.state == status.ENDED:
            return status.reason
    return ''


def record_by_keys(client, args) -> int:
    """Follow the keys until q, Ctrl-C or the end of the terminal."""
    from vla_cli.episodes.keyboard import Keyboard

    with Keyboard() as keyboard:
        try:
            follow(client, args, keyboard)
        except (KeyboardInterrupt, EOFError):
            pass
        status = client.status
        if status is not None and status.state != IDLE:
            keyboard.tell(client.stop('aborted').message)
    return 0


def follow(client, args, keyboard) -> None:
    """The loop: one key, one service call; refusals are shown and change nothing."""
    while True:
        status = client.watch(0.1)
        keyboard.show(line(status))
        key = keyboard.key()
        if key == 'q':
            return
        try:
            said = act(client, args, key, recording=status is not None and status.state != IDLE)
        except VlaError as error:
            said = str(error)
        if said:
            keyboard.tell(said)


def act(client, args, key: str, recording: bool) -> str:
    """Do what a key asks for; return what the recorder said, '' for a key without a meaning."""
    if not recording:
        return client.start(**request(args)).message if key in STARTS else ''
    if key in ENDS:
        return client.stop(ENDS[key]).message
    return client.discard().message if key == 'd' else ''


def line(status) -> str:
    """Return the status line."""
    if status is None or status.state == IDLE:
        return HELP
    if status.state == status.ENDED:
        return f'ENDED: {status.reason}   {HELP_RECORDING}'
    size_mb = status.size / 1e6
    text = f'REC {status.duration_s:6.1f} s  {status.messages} messages  {size_mb:.1f} MB'
    text += f'  {status.lost} LOST' if status.lost else ''
    text += f'  SILENT: {", ".join(status.silent)}' if status.silent else ''
    return f'{text}   {HELP_RECORDING}'
