"""Measure a policy in closed loop: insertions in the simulated lab, with the delays of a real one.

Simulated time, deterministic: the same seeds and options give the same result. Pictures, sensor,
robot, safety gate and chunk executor are those of the live system; the vision-language model's
delay and rate are what you say. `--live` runs the real graph instead. Success: the tip through the
trocar, the gate never stopping the robot, then within 0.5 mm of the depth to hold for 1 s, not
straying further than 0.1 mm (0.25 where the eye moves; --standing-mm); trocar, eye and tissue
unharmed.
"""

from dataclasses import replace
from pathlib import Path
import sys
import time

from vla_cli.arguments import say
from vla_cli.evaluation.arguments import add_arguments, policy_maker, read_options
from vla_cli.evaluation.checks import check
from vla_cli.evaluation.measure import headless, live, measure
from vla_cli.evaluation.outputs import check_outputs, header, identity, write_json, writing

__all__ = ['add_arguments', 'run']


def run(args) -> int:
    """Evaluate, print, write: what was finished, too, where something ends it early."""
    check(args)
    check_outputs(args)
    if args.video is not None:
        return _film(args)
    end = _sweep(args) if args.sweep is not None and not args.live else _one(args)
    if end is not None:
        raise end
    return 0


def _film(args) -> int:
    from vla_training.evaluation.picture import film

    policy = policy_maker(args, args.checkpoint)()
    with writing('video', args.video):
        result = film(args.seeds[0], policy, read_options(args), args.video)
    say(f'{args.video}: seed {result.seed}, {result.duration_s:.1f} s, {result.reason}')
    return 0


def _one(args) -> BaseException | None:
    """Returns what ended it early."""
    episodes = live(args) if args.live else headless(args, args.checkpoint)
    options, head, began_s = read_options(args), header(args), time.monotonic()
    found, end = measure(episodes, options, len(args.seeds))
    if found.results:
        _tell(args, found, found.to_dict() | head | _ending(began_s, end))
    return end


def _sweep(args) -> BaseException | None:
    """Returns what ended it early."""
    from vla_training.evaluation.sweep import CHECKPOINT, Sweep

    sweep, head, began_s = Sweep.parse(args.sweep), header(args), time.monotonic()
    swept = sweep.key == CHECKPOINT
    folders = [Path(value) if swept else args.checkpoint for value in sweep.values]
    runs, who = [headless(args, one) for one in folders], [identity(one) for one in folders]
    found, rows, end = [], {}, None
    for number, options in enumerate(sweep.options(read_options(args))):
        value = sweep.values[number]
        sys.stderr.write(f'{sweep.key} {value}\n')
        one, end = measure(runs[number], options, len(args.seeds))
        if one.results:
            found.append(one)
            rows[value] = one.to_dict() | who[number] | {'partial': end is not None}
        if end is not None:
            break
    if found:
        data = head | _ending(began_s, end) | {'sweep': sweep.key, 'values': rows}
        _tell_sweep(args, replace(sweep, values=sweep.values[: len(found)]), found, data)
    return end


def _ending(began_s: float, end: BaseException | None) -> dict:
    return {'wall_s': round(time.monotonic() - began_s, 1), 'partial': end is not None}


def _tell(args, found, data: dict) -> None:
    if args.live:  # what was not injected is not told
        known = ('task', 'executor', 'limit_s', 'standing_m')
        data['options'] = {key: data['options'][key] for key in known}
        data['options']['vl_reuse'] = args.vl_reuse
    if data['partial']:
        say(f'ended early, {len(found.results)} of {len(args.seeds)} episodes were finished:')
    say(_lines(data))
    if args.json is not None:
        write_json(args.json, data)
    if args.plot is not None:
        from vla_training.evaluation.picture import draw_evaluation

        with writing('plot', args.plot):
            draw_evaluation(found, _title(args), args.plot)


def _tell_sweep(args, sweep, found, data: dict) -> None:
    from vla_training.evaluation.picture import draw_sweep
    from vla_training.evaluation.sweep import table

    if data['partial']:
        say(f'ended early, at {sweep.key} {sweep.values[-1]}:')
    say(table(sweep, found))
    if args.json is not None:
        write_json(args.json, data)
    if args.plot is not None:
        with writing('plot', args.plot):
            draw_sweep(sweep, found, f'{_title(args)}, {len(args.seeds)} seeds', args.plot)


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
