"""The status as plain lines, for logs, pipes and `--once`: the seed's status block and what it
lacked.

Called by the monitor's loop. No colours, no cursor movement.
"""

from datetime import datetime

from vla_cli.monitor.snapshot import Snapshot
from vla_cli.monitor.view import command_text, goal_text, number


def lines(snapshot: Snapshot) -> list[str]:
    """Return the block, one text per line."""
    vl, actions = snapshot.vl, snapshot.actions
    clock = datetime.fromtimestamp(snapshot.time_ns / 1e9).strftime('%H:%M:%S')
    images = ', '.join(f'{view}:{count}' for view, count in snapshot.images.items())
    filled = '-' if snapshot.sensor_filled is None else snapshot.sensor_filled
    result = [
        f'--- Status ({clock}) ---',
        f'VL Updates: {vl.updates} | VL avg: {number(vl.avg_ms)}ms | {number(vl.hz, 2)} Hz',
        f'Actions: {actions.actions} | Action avg: {number(actions.avg_ms, 1)}ms | '
        f'{number(actions.hz, 2)} Hz | period p50 {number(actions.period_p50_ms, 1)} '
        f'p99 {number(actions.period_p99_ms, 1)} ms | misses {actions.misses}',
        f'Images recv: {images or "-"}',
        f'Sensor buffer: {filled}/{snapshot.sensor_window}',
        f'Robot: J1={number(snapshot.joint1_deg, 2)}°, Px={number(snapshot.position_x_mm, 2)}mm '
        f'{snapshot.robot}'.rstrip(),
        f'Gate: {command_text(snapshot) or "-"}',
        f'Task: {goal_text(snapshot)}',
        'Ages (ms): '
        + ', '.join(f'{age.name} {number(age.age_ms)} {age.level}' for age in snapshot.ages),
        f'Reaction: {snapshot.reaction or "-"} {"; ".join(snapshot.reasons)}'.rstrip(),
        f'Lost: {sum(snapshot.losses.values())}'
        + ''.join(f', {name} {count}' for name, count in snapshot.losses.items() if count),
    ]
    result += [f'{item.level} {item.name}: {item.message}' for item in snapshot.problems]
    for item in snapshot.processes:
        end = f', last end: {item.last_end}' if item.last_end else ''
        result.append(
            f'{item.name}: {item.state}, {item.restarts} restarts, '
            f'{number(item.cpu_cores, 2)} cores, {number(item.rss_mb)} MB{end}'
        )
    if snapshot.note:
        result.append(f'Demo: {snapshot.note}')
    if snapshot.supervisor:
        result.append(snapshot.supervisor)
    return result
