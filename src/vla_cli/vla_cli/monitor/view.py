"""The terminal view: a Snapshot as a rich renderable that fits 100x30 and stays sensible when
narrower.

Called four times a second by the monitor's loop. It deliberately keeps no state and reads nothing
but the snapshot.
"""

from datetime import datetime
import math

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from vla_cli.monitor.snapshot import AgePart, ProcessPart, Snapshot

LEVEL_STYLE = {
    'ok': 'green',
    'mark': 'yellow',
    'hold': 'bold red',
    'stop': 'bold white on red',
    'none': 'dim',
}
REACTION_STYLE = {
    'USE': 'bold green',
    'MARK': 'bold yellow',
    'HOLD': 'bold red',
    'STOP': 'bold white on red',
    '': 'dim',
}
RESULT_STYLE = {
    'EXECUTED': 'green',
    'LIMITED': 'yellow',
    'HELD': 'bold yellow',
    'STOPPED': 'bold white on red',
    'REFUSED': 'bold red',
    'RETRACTING': 'bold magenta',
}
PROBLEM_STYLE = {'WARN': 'yellow', 'ERROR': 'bold red', 'STALE': 'magenta'}
MAX_PROBLEMS = 5
WIDE = 90  # columns from which the wide layout is drawn


def render(snapshot: Snapshot, width: int, height: int, url: str = ''):
    """Return what to draw on a terminal of this size."""
    wide = width >= WIDE
    parts = [_head(snapshot, url), _status(snapshot, wide), _ages(snapshot, wide)]
    used = 1 + 9 + bool(snapshot.note) + 7
    processes = _processes(snapshot, wide)
    problems = _problems(
        snapshot, max(1, min(MAX_PROBLEMS, height - used - len(snapshot.processes) - 6))
    )
    return Group(*parts, processes, problems)


def number(value: float | None, digits: int = 0, unit: str = '') -> str:
    """Return a number for a person, a dash when it is not known."""
    if value is None or not math.isfinite(value):
        return '-'
    return f'{value:.{digits}f}{unit}'


def _head(snapshot: Snapshot, url: str) -> Table:
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(no_wrap=True, overflow='ellipsis', ratio=1)
    grid.add_column(no_wrap=True, justify='right')
    clock = datetime.fromtimestamp(snapshot.time_ns / 1e9).strftime('%H:%M:%S')
    left = Text(f'vla {clock}  ', style='bold')
    left.append(
        f' {snapshot.reaction or "no actions"} ', REACTION_STYLE[snapshot.reaction] + ' reverse'
    )
    silent = snapshot.chunk_age_s is not None and snapshot.chunk_age_s > 1.0
    if silent:
        left.append(f'  last action {snapshot.chunk_age_s:.0f} s ago', 'bold red')
    elif snapshot.reasons:
        left.append('  ' + '; '.join(snapshot.reasons), 'yellow')
    elif snapshot.last_reason:
        left.append(
            f'  held {snapshot.held_recently} ticks this minute: {snapshot.last_reason}', 'yellow'
        )
    uptime = '' if snapshot.uptime_s is None else f'up {_duration(snapshot.uptime_s)}'
    grid.add_row(left, Text('  '.join(word for word in (url, uptime) if word), 'cyan'))
    return grid


def _status(snapshot: Snapshot, wide: bool) -> Panel:
    """The lines of the seed's status block, with rates and percentiles beside them."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style='bold', no_wrap=True, min_width=10)
    grid.add_column(no_wrap=True, overflow='ellipsis')
    vl, actions = snapshot.vl, snapshot.actions
    stages = ' '.join(f'{name} {value:.0f}' for name, value in vl.stages_ms.items())
    grid.add_row(
        'VL updates',
        f'{vl.updates}  avg {number(vl.avg_ms)} ms  p99 {number(vl.p99_ms)} ms  '
        f'{number(vl.hz, 2)} Hz' + (f'  ({stages})' if wide and stages else ''),
    )
    grid.add_row(
        'Actions',
        f'{actions.actions}  avg {number(actions.avg_ms, 1)} ms  '
        f'{number(actions.hz, 2)} Hz  period p50 {number(actions.period_p50_ms, 1)} '
        f'p99 {number(actions.period_p99_ms, 1)} max {number(actions.period_max_ms, 1)} ms  '
        f'misses {actions.misses}',
    )
    images = '  '.join(f'{view}:{count}' for view, count in snapshot.images.items())
    unused = f'  ({snapshot.images_unused} unused)' if snapshot.images_unused else ''
    grid.add_row('Images', (images or '-') + unused)
    filled = '-' if snapshot.sensor_filled is None else str(snapshot.sensor_filled)
    grid.add_row(
        'Sensor',
        Text(f'{filled}/{snapshot.sensor_window}', _fill_style(snapshot)).append(
            f'  largest gap {number(snapshot.sensor_gap_ms, 1)} ms', 'default'
        ),
    )
    grid.add_row(
        'Robot',
        f'J1={number(snapshot.joint1_deg, 2)}°  '
        f'Px={number(snapshot.position_x_mm, 2)} mm  {snapshot.robot}',
    )
    style = RESULT_STYLE.get(snapshot.command.result, 'dim')
    grid.add_row('Gate', Text(command_text(snapshot) or '-', style))
    if snapshot.note:
        grid.add_row('Demo', Text(snapshot.note, 'cyan'))
    grid.add_row('Goal', Text(goal_text(snapshot), 'green' if snapshot.goal.running else 'dim'))
    policy = f'  by {snapshot.policy}' if snapshot.policy else ''
    title = f'task: {snapshot.task or "-"}{policy}'
    return Panel(grid, title=title, title_align='left', padding=(0, 1))


def command_text(snapshot: Snapshot) -> str:
    """Gate, what became of the newest command and why, speed, force, counts; '' without any."""
    command = snapshot.command
    if not command.gate:
        return ''
    text = f'{command.gate}  {command.result}'
    text += f' {command.why}' if command.why else ''
    text += f'  {number(command.speed_mm_s, 1)} mm/s  force {number(command.force_n, 2)} N'
    counts = (
        ('refused', command.refused),
        ('limited', command.limited),
        ('held', command.held),
        ('stopped', command.stopped),
    )
    shown = ' '.join(f'{word} {count}' for word, count in counts if count)
    return text + (f'  ({shown})' if shown else '')


def goal_text(snapshot: Snapshot) -> str:
    """The goal that runs with its progress, or how the last one ended; and the outcomes so far."""
    goal = snapshot.goal
    if goal.running:
        bar = '#' * round(10 * goal.progress)
        text = (
            f'[{bar:<10}] {goal.progress:.0%}  {goal.elapsed_s:.0f} s  '
            f'surface {number(goal.surface_mm, 2)} mm  held {goal.held_s:.1f} s'
        )
    else:
        text = goal.last or '-'
    outcomes = ', '.join(f'{name} {count}' for name, count in goal.outcomes.items())
    return text + (f'  ({outcomes})' if outcomes else '')


def _fill_style(snapshot: Snapshot) -> str:
    if snapshot.sensor_filled is None:
        return 'dim'
    return 'green' if snapshot.sensor_filled >= snapshot.sensor_window else 'bold red'


def _ages(snapshot: Snapshot, wide: bool) -> Panel:
    both = Table.grid(expand=True, padding=(0, 2))
    both.add_column(no_wrap=True)
    both.add_column(ratio=1)
    table = Table.grid(padding=(0, 2))
    for justify in ('left', 'right', 'right', 'right', 'right'):
        table.add_column(justify=justify, no_wrap=True)
    table.add_row(
        *(Text(word, 'dim') for word in ('age at action, ms', 'now', 'p50', 'max', 'limits'))
    )
    for age in snapshot.ages:
        table.add_row(*_age_row(age))
    if not wide:
        return Panel(table, padding=(0, 1))
    lost = {name: count for name, count in snapshot.losses.items() if count}
    text = Text('lost ', 'dim')
    total = sum(snapshot.losses.values())
    text.append(
        'nothing' if snapshot.losses and not total else str(total) if snapshot.losses else '-',
        'green' if not total else 'yellow',
    )
    for name, count in sorted(lost.items(), key=lambda item: -item[1])[:4]:
        text.append(f'\n{name} {count}', 'yellow')
    text.no_wrap, text.overflow = True, 'ellipsis'
    both.add_row(table, text)
    return Panel(both, padding=(0, 1))


def _age_row(age: AgePart) -> tuple:
    limits = '/'.join(f'{limit:.0f}' for limit in age.limits_ms)
    return (
        age.name,
        Text(number(age.age_ms), LEVEL_STYLE[age.level]),
        number(age.p50_ms),
        number(age.max_ms),
        Text(limits, 'dim'),
    )


def _processes(snapshot: Snapshot, wide: bool):
    table = Table(box=None, padding=(0, 1), expand=True, header_style='dim')
    table.add_column('process', no_wrap=True)
    table.add_column('state', no_wrap=True)
    for head in ('restarts', 'cores', 'MB'):
        table.add_column(head, justify='right', no_wrap=True)
    if wide:
        table.add_column('pid', justify='right', no_wrap=True)
        table.add_column('last end', no_wrap=True, overflow='ellipsis', ratio=1)
    for item in snapshot.processes:
        table.add_row(*_process_row(item, wide))
    if snapshot.processes:
        cores = sum(item.cpu_cores or 0.0 for item in snapshot.processes)
        rss_mb = sum(item.rss_mb or 0.0 for item in snapshot.processes)
        table.add_row(
            Text('all', 'bold'),
            '',
            '',
            Text(f'{cores:.2f}', 'bold'),
            Text(f'{rss_mb:.0f}', 'bold'),
        )
    if snapshot.supervisor:
        return Group(
            *([table] if snapshot.processes else []), Text(f' {snapshot.supervisor}', 'dim')
        )
    return table


def _process_row(item: ProcessPart, wide: bool) -> list:
    style = {'running': 'green', 'stopping': 'yellow', 'stopped': 'dim'}.get(
        item.state, 'bold red'
    )
    restarts = Text(str(item.restarts), 'bold yellow' if item.restarts else 'default')
    row = [
        item.name,
        Text(item.state, style),
        restarts,
        number(item.cpu_cores, 2),
        number(item.rss_mb),
    ]
    return row + [str(item.pid or '-'), item.last_end] if wide else row


def _problems(snapshot: Snapshot, most: int) -> Text:
    if not snapshot.problems:
        return Text(' diagnostics: all OK' if snapshot.reaction else ' diagnostics: -', 'dim')
    text = Text(no_wrap=True, overflow='ellipsis')
    for item in snapshot.problems[:most]:
        text.append(f' {item.level:<5} {item.name}: {item.message}\n', PROBLEM_STYLE[item.level])
    hidden = len(snapshot.problems) - most
    if hidden > 0:
        text.append(f' and {hidden} more on /diagnostics\n', 'dim')
    text.rstrip()
    return text


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{rest:02}'
