"""Measure a policy in closed loop: insertions in the simulated lab, with the delays of a real one.

Simulated time, deterministic: the same seeds and options give the same result. Pictures, sensor,
robot, safety gate and chunk executor are those of the live system; the vision-language model's
delay and rate are what you say. `--live` runs the real graph instead. Success: the tip through the
trocar, the gate never stopping the robot, then within 0.5 mm of the depth to hold for 1 s, not
straying further than 0.25 mm (--standing-mm), the tissue not punctured.
"""

import json
from pathlib import Path
import sys
import time

from vla_cli.arguments import say
from vla_cli.evaluation.arguments import (
    add_arguments,
    check_who,
    live_arguments,
    policy_maker,
    read_options,
)
from vla_core.errors import VlaError

__all__ = ['add_arguments', 'run']

def run(args) -> int:
    """Evaluate, print, write."""
    for option in ('json', 'plot', 'video'):
        path = getattr(args, option)
        if path is not None and not path.absolute().parent.is_dir():
            raise VlaError(f'--{option} {path}: the folder {path.parent} does not exist')
    check_who(args)
    if args.video is not None:
        return _film(args)
    if args.live:
        return _live(args)
    return _one(args) if args.sweep is None else _sweep(args)


def _film(args) -> int:
    from vla_training.evaluation.picture import film

    policy = policy_maker(args, args.checkpoint)()
    result = film(args.seeds[0], policy, read_options(args), args.video)
    say(f'{args.video}: seed {result.seed}, {result.duration_s:.1f} s, {result.reason}')
    return 0


def _sweep(args) -> int:
    from vla_training.evaluation.evaluate import evaluate
    from vla_training.evaluation.picture import draw_sweep
    from vla_training.evaluation.sweep import CHECKPOINT, Sweep, table

    sweep, found = Sweep.parse(args.sweep), []
    folders = [args.checkpoint] * len(sweep.values)
    if sweep.key == CHECKPOINT:
        folders = [Path(value) for value in sweep.values]
    makers = [policy_maker(args, folder) for folder in folders]
    for value, maker, options in zip(sweep.values, makers, sweep.options(read_options(args))):
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
    maker = policy_maker(args, args.checkpoint)
    found = evaluate(maker, args.seeds, read_options(args), args.jobs, progress)
    return _tell(args, found, began_s)


def _live(args) -> int:
    arguments = live_arguments(args)
    from vla_cli.environment import prepare

    prepare()
    from vla_cli.evaluation.live import evaluate_live

    began_s, options = time.monotonic(), read_options(args)
    found = evaluate_live(arguments, args.seeds, options, _progress(len(args.seeds)))
    return _tell(args, found, began_s)


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
        known = ('task', 'executor', 'limit_s', 'standing_m')
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
        ('peak_force_n', 'peak force along the needle, N'),
        ('peak_side_n', "peak force on the trocar's wall, N"),
        ('duration_s', 'duration of successes, s'),
        ('splice_ratio', 'splice ratio'),
        ('image_age_s', 'image age at the tick, s'),
    ):
        values = {name: data[key][name] for name in ('p50', 'p90', 'p95', 'max')}
        if None not in values.values():
            text = ', '.join(f'{name} {value:.3g}' for name, value in values.items())
            few = data[key]['n'] < data['episodes']
            rows.append(f'  {what}: {text}' + (f' (of {data[key]["n"]})' if few else ''))
    return '\n'.join(rows)
