"""What `vla eval` is told: its options, and what they mean for headless and live episodes.

Used by the verb. What is wrong is one VlaError before anything is started; `checks` looks at what
does not go together. Deliberately evaluates nothing, and imports torch only where a policy is
asked for.
"""

from collections.abc import Sequence
import functools
from pathlib import Path

from vla_cli import workspace
from vla_cli.arguments import Parser, positive, processes
from vla_core.errors import did_you_mean, VlaError

HEADLESS_ONLY = (
    'vlm-delay-ms', 'vlm-hz', 'overlap', 'hold-age', 'images', 'sensor', 'camera-jitter', 'loss',
    'sweep', 'video', 'jobs',
)  # fmt: skip
POLICIES = ('scripted', 'mean', 'hold')


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    _add_setting(parser)
    parser.add_argument(
        '--sweep', metavar='KEY=A,B',
        help='one option over several values: vlm-delay-ms=0,381,800, vl-reuse=1,8, '
        'sensor-loss=0,0.3, checkpoint=DIR1,DIR2 ...',
    )  # fmt: skip
    parser.add_argument(
        '--plot', type=Path, metavar='PNG', help="a sweep's curve, or how one result is spread"
    )
    parser.add_argument(
        '--video', type=Path, metavar='MP4', help='film the first seed, and do nothing else'
    )
    parser.add_argument(
        '--live', action='store_true',
        help='through the running graph instead, in real time: the delays are those of this '
        'machine, one stack a seed',
    )  # fmt: skip
    parser.add_argument(
        '--jobs', type=processes, default=1, metavar='N', help='processes (%(default)s)'
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the result there')


def _add_setting(parser: Parser) -> None:
    parser.add_argument('--checkpoint', type=Path, metavar='DIR', help='the policy')
    parser.add_argument(
        '--policy', choices=POLICIES,
        help='instead: the demonstrator that knows the truth, the mean action of the '
        "checkpoint's demonstrations, no motion",
    )  # fmt: skip
    parser.add_argument(
        '--seeds', type=seed_range, default=range(1000, 1020), metavar='A-B',
        help='scenes, one episode each (1000-1019); demonstrations must not have seen them',
    )  # fmt: skip
    parser.add_argument(
        '--vlm-delay-ms', type=float, default=381.0, metavar='MS', help='(%(default)s)'
    )
    parser.add_argument('--vlm-hz', type=positive, default=2.6, metavar='HZ', help='(%(default)s)')
    parser.add_argument(
        '--overlap', action='store_true',
        help='passes may overlap: the delay is transport, and the rate stays',
    )  # fmt: skip
    parser.add_argument(
        '--hold-age', type=positive, metavar='S',
        help="age of pictures at which the robot holds (the contract's, made for 381 ms)",
    )  # fmt: skip
    parser.add_argument(
        '--vl-reuse', type=int, default=0, metavar='K',
        help='use features for at least K ticks of 0.1 s, as the seed did (as the rate says)',
    )  # fmt: skip
    _add_handicaps(parser)


def _add_handicaps(parser: Parser) -> None:
    parser.add_argument(
        '--task', default='still', choices=('still', 'moving'),
        help='whether the eye moves: it drifts, turns and now and then jumps (%(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--images', default='normal', choices=('normal', 'black', 'frozen'),
        help='black pictures, or features frozen at the first ones (%(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--sensor', default='normal', choices=('normal', 'absent'), help='(%(default)s)'
    )
    parser.add_argument(
        '--camera-jitter', type=float, default=1.0, metavar='X',
        help="times the training's jitter of the cameras' poses (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        '--loss', action='append', default=[], metavar='STREAM=P',
        help='probability that a message never arrives: sensor, images, features, robot, chunks; '
        'once a stream',
    )  # fmt: skip
    parser.add_argument(
        '--executor', default='latest', choices=('latest', 'ensemble', 'rtc'),
        help='which chunk acts (%(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--standing-mm', type=positive, metavar='MM',
        help='how far the tip may stray in the second it is held for (still 0.1, moving 0.25); 1: '
        'at will within the tolerance, who creeps through it holds too',
    )  # fmt: skip
    parser.add_argument(
        '--limit', type=positive, default=25.0, metavar='S', help='of an episode (%(default)s)'
    )


def given(args, options: Sequence[str]) -> list[str]:
    """Which of these options have another value than the one they have by themselves."""
    parser = Parser()
    add_arguments(parser)
    names = {option: option.replace('-', '_') for option in options}
    return [o for o in options if getattr(args, names[o]) != parser.get_default(names[o])]


def seed_range(text: str) -> range:
    """`1000-1099`, or one seed."""
    first, _, last = text.partition('-')
    try:
        seeds = range(int(first), int(last or first) + 1)
    except ValueError:
        seeds = range(0)
    if not seeds:
        raise VlaError(f'--seeds {text}: expected a range such as 1000-1099')
    return seeds


def read_options(args):
    """Return the EvaluationOptions; VlaError for a value that cannot be."""
    from vla_training.evaluation.options import Delays, EvaluationOptions

    try:
        return EvaluationOptions(
            Delays(
                args.vlm_delay_ms / 1e3, args.vlm_hz, overlap=args.overlap, vl_reuse=args.vl_reuse
            ), args.task, args.images, args.sensor, args.camera_jitter, args.executor, args.limit,
            loss=_loss(args.loss), hold_age_s=args.hold_age,
            standing_m=None if args.standing_mm is None else args.standing_mm / 1e3,
        )  # fmt: skip
    except ValueError as error:
        raise VlaError(str(error)) from error


def _loss(texts: list[str]):
    from vla_training.evaluation.options import Loss, STREAMS

    chances = {}
    for text in texts:
        stream, _, chance = text.partition('=')
        if stream not in STREAMS:
            hint = did_you_mean(stream, STREAMS)
            raise VlaError(f'--loss {text}: expected one of {", ".join(STREAMS)}{hint}')
        if stream in chances:
            raise VlaError(f'--loss {text}: {stream} has a number already, leave out one')
        try:
            chances[stream] = float(chance)
        except ValueError:
            raise VlaError(f'--loss {text}: expected a number, such as {stream}=0.1') from None
    return Loss(**chances)


def policy_maker(args, checkpoint: Path | None):
    """Return what makes the policy, picklable; VlaError where the checkpoint cannot be used."""
    import numpy as np

    from vla_core.contract import load_contract
    from vla_policy.checkpoint import read_manifest
    from vla_training.evaluation import policies

    if checkpoint is not None:
        read_manifest(checkpoint)  # its faults are told before processes start
    if checkpoint is not None and args.policy is None:
        return functools.partial(policies.CheckpointPolicy, checkpoint)
    contract = workspace.default_contract()
    if args.policy == 'scripted':
        return functools.partial(policies.ScriptedPolicy, contract)
    steps = load_contract(contract).action.steps
    still = np.zeros((steps, 6))
    chunk = still if checkpoint is None else policies.mean_action(checkpoint, steps)
    return functools.partial(policies.ConstantPolicy, contract, chunk)


def live_arguments(args) -> list[str]:
    """Return what `vla up` is told; VlaError for an option that only headless knows."""
    for option in given(args, HEADLESS_ONLY):
        raise VlaError(f'--live: --{option} cannot be injected into the running graph')
    if args.policy in ('mean', 'hold'):
        raise VlaError(f'--live: --policy {args.policy} is for headless episodes')
    folder = args.checkpoint
    if folder is None:  # the scripted expert acts; the model runs in its shadow
        from vla_cli.nano import ensure_checkpoint

        folder = ensure_checkpoint(workspace.root())
    policy = 'scripted' if args.policy == 'scripted' else 'model'
    settings = [f'vlm_node.vl_reuse={args.vl_reuse}', f'robot_driver.chunk_policy={args.executor}']
    if args.executor == 'rtc':
        settings.append('action_expert_node.chunk_policy=rtc')
    arguments = ['--policy', policy, '--checkpoint', str(folder.absolute())]
    return arguments + [word for setting in settings for word in ('--set', setting)]
