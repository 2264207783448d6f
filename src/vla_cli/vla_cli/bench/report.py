"""The benchmark's result as a table with targets, for people; the JSON beside it is for programs.

Targets are those of the project; where they come from is in the README.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """One line with a target: `value` and `good` look at the result."""

    name: str
    wanted: str
    value: Callable[[dict], str]
    good: Callable[[dict], bool]


def _lost(result: dict, what: str) -> int:
    return result[f'{what}_sent'] - result[f'{what}_received']


TARGETS = (
    Target('sensor samples lost', '0',
           lambda r: f'{_lost(r, "sensor_samples")} of {r["sensor_samples_sent"]}',
           lambda r: _lost(r, 'sensor_samples') == 0),
    Target('images lost', '0', lambda r: f'{_lost(r, "images")} of {r["images_sent"]}',
           lambda r: _lost(r, 'images') == 0),
    Target('VL features', '>= 2.5 Hz', lambda r: f'{r["vl_hz"]:.2f} Hz',
           lambda r: r['vl_hz'] >= 2.5),
    Target('actions', '10.0 Hz', lambda r: f'{r["action_hz"]:.3f} Hz',
           lambda r: abs(r['action_hz'] - 10.0) < 0.05),
    Target('action period p99', '100 +- 5 ms', lambda r: f'{r["action_period_ms"]["p99"]:.1f} ms',
           lambda r: abs(r['action_period_ms']['p99'] - 100.0) <= 5.0),
    Target('deadline misses', '< 0.5 %', lambda r: f'{r["deadline_miss_ratio"]:.2%}',
           lambda r: r['deadline_miss_ratio'] < 0.005),
    Target('full windows', '>= 99.9 %', lambda r: f'{r["window_full_ratio"]:.2%}',
           lambda r: r['window_full_ratio'] >= 0.999),
    Target('image age p50', '<= 1.15 x floor',
           lambda r: '{p50:.0f} ms, floor {floor_p50:.0f}'.format(**r['image_age_ms']),
           lambda r: r['image_age_ms']['p50'] <= 1.15 * r['image_age_ms']['floor_p50']),
    Target('CPU, all processes', '< 2 cores', lambda r: f'{r["cpu_cores_total"]:.2f} cores',
           lambda r: r['cpu_cores_total'] < 2.0),
    Target('memory, all processes', '< 3 GB',
           lambda r: f'{r["rss_mb_total"] / 1e3:.2f} GB resident',
           lambda r: r['rss_mb_total'] < 3000),
)  # fmt: skip


def judge(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every target with its value and whether it is met; a value that is missing is not
    met.
    """
    rows = []
    for target in TARGETS:
        try:
            value, good = target.value(result), bool(target.good(result))
        except (TypeError, KeyError):
            value, good = 'not measured', False
        rows.append({'name': target.name, 'target': target.wanted, 'value': value, 'met': good})
    return rows


def lines(result: dict[str, Any]) -> list[str]:
    """Return the table as plain lines."""
    machine, settings = result['machine'], result['settings']
    rows = [
        (row['name'], row['value'], row['target'], 'pass' if row['met'] else 'FAIL')
        for row in result['targets']
    ]
    text = [
        f'{machine["cpu"]}, {machine["cores"]} cores; commit {result["commit"] or "-"}; '
        f'{settings["seconds"]:g} s; checkpoint {settings["checkpoint"]}',
        '',
    ]
    text += _columns([('', 'measured', 'target', ''), *rows])
    text += [
        '',
        *_columns(
            [
                ('age at action, ms', 'p50', 'p99', 'max'),
                *(_age(result, name) for name in ('image', 'feature', 'sensor', 'robot')),
            ]
        ),
    ]
    period, latency = result['action_period_ms'], result['vl_latency_ms']
    text += [
        '',
        'action period, ms   ' + _figures(period),
        'VL latency, ms      ' + _figures(latency),
    ]
    text += [
        '',
        *_columns(
            [
                ('process', 'cores', 'MB', 'PSS MB'),
                *(
                    (
                        name,
                        f'{cores:.2f}',
                        f'{result["rss_mb_by_process"][name]:.0f}',
                        _number(result['pss_mb_by_process'].get(name)),
                    )
                    for name, cores in result['cpu_cores_by_process'].items()
                ),
            ]
        ),
    ]
    text.append(f'(the measurement itself: {result["cpu_cores_bench"]:.2f} cores, not included)')
    held = {name: count for name, count in result['reactions'].items() if name != 'USE' and count}
    if held:
        text.append(f'reactions other than USE: {held}, because of {result["reasons"]}')
    return text


def _age(result: dict, name: str) -> tuple:
    ages = result[f'{name}_age_ms']
    return (name, *(_number(ages[key]) for key in ('p50', 'p99', 'max')))


def _figures(values: dict) -> str:
    return ', '.join(
        f'{key.replace("_", ".")} {_number(value, 1)}' for key, value in values.items()
    )


def _number(value: float | None, digits: int = 0) -> str:
    return '-' if value is None else f'{value:.{digits}f}'


def _columns(rows: list[tuple]) -> list[str]:
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    return [
        '  '.join(
            str(cell).ljust(width) if index == 0 else str(cell).rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
