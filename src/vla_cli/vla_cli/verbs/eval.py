"""Measure a policy in closed loop: insertions in the simulated lab, with the delays of a real one.

Simulated time, deterministic: the same seeds and options give the same result. Pictures, sensor,
robot, safety gate and chunk executor are those of the live system; the vision-language model's
delay and rate are what you say. `--live` runs the real graph instead. Success: the tip through the trocar, the gate never stopping the
robot, then within 0.5 mm of the depth to hold for 1 s.
"""

import functools
import json
from pathlib import Path
import sys
import time

from vla_cli import workspace
from vla_cli.arguments import Parser, positive, say
from vla_core.errors import VlaError

HEADLESS_ONLY = (
    'vlm-delay-ms', 'vlm-hz', 'images', 'sensor', 'camera-jitter', 'loss', 'sweep', 'video',
    'jobs',
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
    parser.add_argument('--jobs', type=int, default=1, metavar='N', help='processes (%(default)s)')
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
        'may be repeated',
    )  # fmt: skip
    parser.add_argument(
        '--executor', default='latest', choices=('latest', 'ensemble', 'rtc'),
        help='which chunk acts (%(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--limit', type=positive, default=25.0, metavar='S', help='of an episode (%(default)s)'
    )


def run(args) -> int:
    """Evaluate, print, write."""
    for option in ('json', 'plot', 'video'):
        path = getattr(args, option)
        if path is not None and not path.absolute().parent.is_dir():
            raise VlaError(f'--{option} {path}: the folder {path.parent} does not exist')
    _check_who(args)
    if args.video is not None:
        return _film(args)
    if args.live:
        return _live(args)
    return _one(args) if args.sweep is None else _sweep(args)


def _film(args) -> int:
    from vla_training.evaluation.picture import film

    result = film(args.seeds[0], _maker(args, args.checkpoint)(), _options(args), args.video)
    say(f'{args.video}: seed {result.seed}, {result.duration_s:.1f} s, {result.reason}')
    return 0


def _sweep(args) -> int:
    from vla_training.evaluation.evaluate import evaluate
    from vla_training.evaluation.picture import draw_sweep
    from vla_training.evaluation.sweep import CHECKPOINT, Sweep, table

    sweep, found = Sweep.parse(args.sweep), []
    over = [Path(value) for value in sweep.values] if sweep.key == CHECKPOINT else None
    makers = [_maker(args, folder) for folder in over or [args.checkpoint] * len(sweep.values)]
    for value, maker, options in zip(sweep.values, makers, sweep.options(_options(args))):
        sys.stderr.write(f'{sweep.key} {value}\n')
        found.append(evaluate(maker, args.seeds, options, args.jobs))
    if args.json is not None:
        rows = {value: one.to_dict() for value, one in zip(sweep.values, found)}
        args.json.write_text(json.dumps({'sweep': sweep.key, 'values': rows}, indent=1) + '\n')
    if args.plot is not None:
        draw_sweep(sweep, found, f'{_title(args)}, {len(args.seeds)} seeds', args.plot)
    say(table(sweep, found))
    return 0


def _one(args) -> int:
    from vla_training.evaluation.evaluate import evaluate

    began_s, progress = time.monotonic(), _progress(len(args.seeds))
    maker = _maker(args, args.checkpoint)
    found = evaluate(maker, args.seeds, _options(args), args.jobs, progress)
    return _tell(args, found, began_s)


def _live(args) -> int:
    arguments = live_arguments(args)
    from vla_cli.environment import prepare

    prepare()
    from vla_cli.live_evaluation import evaluate_live

    began_s, options = time.monotonic(), _options(args)
    found = evaluate_live(arguments, args.seeds, options, _progress(len(args.seeds)))
    return _tell(args, found, began_s)


def live_arguments(args) -> list[str]:
    """Return what `vla up` is told; VlaError for an option that only headless knows."""
    parser = Parser()
    add_arguments(parser)
    for option in HEADLESS_ONLY:
        name = option.replace('-', '_')
        if getattr(args, name) != parser.get_default(name):
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


def _progress(count: int):
    done = [0]

    def progress(result) -> None:
        done[0] += 1
        sys.stderr.write(f'{done[0]}/{count}  seed {result.seed}: {result.reason}\n')

    return progress


def _tell(args, found, began_s: float) -> int:
    data = found.to_dict() | {
        'policy': args.policy or str(args.checkpoint), 'seeds': [args.seeds[0], args.seeds[-1]],
        'live': args.live, 'wall_s': round(time.monotonic() - began_s, 1),
    }  # fmt: skip
    if args.live:  # what was not injected is not told
        known = ('task', 'executor', 'limit_s')
        data['options'] = {key: data['options'][key] for key in known}
        data['options']['vl_reuse'] = args.vl_reuse
    if args.json is not None:
        args.json.write_text(json.dumps(data, indent=1) + '\n')
    if args.plot is not None:
        from vla_training.evaluation.picture import draw_evaluation

        draw_evaluation(found, _title(args), args.plot)
    say(_lines(data))
    return 0


def _title(args) -> str:
    who = args.policy or (args.checkpoint.name if args.checkpoint else 'several')
    return f'{who}, task {args.task}'


def _check_who(args) -> None:
    swept = args.sweep is not None and args.sweep.startswith('checkpoint=')
    named = args.checkpoint is not None or swept
    if args.policy == 'mean' and not named:
        raise VlaError('--policy mean: give the --checkpoint whose demonstrations are meant')
    if args.policy in ('scripted', 'hold') and named:
        raise VlaError(f'--policy {args.policy} needs no checkpoint: give one of the two')
    if args.policy is None and not named:
        raise VlaError(f'who acts? give --checkpoint DIR, or --policy {", ".join(POLICIES)}')


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


def _options(args):
    from vla_training.evaluation.options import Delays, EvaluationOptions

    try:
        return EvaluationOptions(
            Delays(args.vlm_delay_ms / 1e3, args.vlm_hz, vl_reuse=args.vl_reuse), args.task,
            args.images, args.sensor, args.camera_jitter, args.executor, args.limit,
            loss=_loss(args.loss),
        )  # fmt: skip
    except ValueError as error:
        raise VlaError(str(error)) from error


def _loss(texts: list[str]):
    from vla_core.errors import did_you_mean
    from vla_training.evaluation.options import Loss, STREAMS

    chances = {}
    for text in texts:
        stream, _, chance = text.partition('=')
        if stream not in STREAMS:
            hint = did_you_mean(stream, STREAMS)
            raise VlaError(f'--loss {text}: expected one of {", ".join(STREAMS)}{hint}')
        try:
            chances[stream] = float(chance)
        except ValueError:
            raise VlaError(f'--loss {text}: expected a number, such as {stream}=0.1') from None
    return Loss(**chances)


def _maker(args, checkpoint: Path | None):
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


def _lines(data: dict) -> str:
    low, high = data['interval']
    rows = [
        f'{data["successes"]} of {data["episodes"]} insertions succeeded: '
        f'{100 * data["success_rate"]:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})',
    ]
    rows += [f'  {count:4d}  {reason}' for reason, count in data['reasons'].items()]
    for key, what in (
        ('entry_error_mm', 'tip off the axis at the opening, mm'),
        ('depth_error_mm', 'depth error at the end, mm'),
        ('peak_force_n', 'peak force, N'),
        ('duration_s', 'duration of successes, s'),
        ('splice_ratio', 'splice ratio'),
        ('image_age_s', 'image age at the tick, s'),
    ):
        values = [data[key][q] for q in ('p50', 'p90', 'p95')]
        if None not in values:
            rows.append(f'  {what}: p50 {values[0]:.3g}, p90 {values[1]:.3g}, p95 {values[2]:.3g}')
    return '\n'.join(rows)
