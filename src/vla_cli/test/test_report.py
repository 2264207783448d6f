"""The benchmark's table."""

import pytest

from vla_cli.bench import report


@pytest.fixture
def result():
    ages = {'p50': 260.0, 'p99': 360.0, 'max': 400.0}
    data = {
        'machine': {'cpu': 'cpu', 'cores': 2}, 'commit': 'abc',
        'settings': {'seconds': 60.0, 'checkpoint': 'nano'},
        'sensor_samples_sent': 39000, 'sensor_samples_received': 39000,
        'images_sent': 1500, 'images_received': 1500, 'vl_hz': 4.9, 'action_hz': 10.0,
        'vl_latency_ms': {'p50': 150.0, 'p99': 200.0},
        'action_period_ms': {'p50': 100.0, 'p99': 101.0, 'p99_9': 102.0, 'max': 103.0},
        'deadline_miss_ratio': 0.0, 'window_full_ratio': 1.0,
        'image_age_ms': {**ages, 'floor_p50': 250.0}, 'feature_age_ms': ages,
        'sensor_age_ms': ages, 'robot_age_ms': ages,
        'cpu_cores_total': 1.5, 'rss_mb_total': 2000.0,
        'cpu_cores_by_process': {'sim': 1.0}, 'rss_mb_by_process': {'sim': 300.0},
        'pss_mb_by_process': {}, 'cpu_cores_bench': 0.02,
        'reactions': {'USE': 600, 'MARK': 0, 'HOLD': 0, 'STOP': 0}, 'reasons': {},
    }  # fmt: skip
    data['targets'] = report.judge(data)
    return data


def test_good_run_meets_every_target(result):
    assert all(row['met'] for row in result['targets'])
    assert not any('FAIL' in line for line in report.lines(result))


@pytest.mark.parametrize(
    ('change', 'target'),
    [
        ({'sensor_samples_received': 38999}, 'sensor samples lost'),
        ({'images_received': 1499}, 'images lost'),
        ({'vl_hz': 2.4}, 'VL features'),
        ({'vl_hz': None}, 'VL features'),
        ({'action_hz': 9.9}, 'actions'),
        ({'deadline_miss_ratio': 0.006}, 'deadline misses'),
        ({'window_full_ratio': 0.998}, 'full windows'),
        ({'cpu_cores_total': 2.0}, 'CPU, all processes'),
        ({'rss_mb_total': 3000.0}, 'memory, all processes'),
        ({'image_age_ms': {'p50': 290.0, 'floor_p50': 250.0}}, 'image age p50'),
        ({'action_period_ms': {'p99': 105.5}}, 'action period p99'),
    ],
)
def test_each_missed_target_is_named(result, change, target):
    missed = [row['name'] for row in report.judge({**result, **change}) if not row['met']]
    assert missed == [target]


def test_held_ticks_are_shown_with_their_reasons(result):
    result['reactions']['HOLD'], result['reasons'] = 3, {'images': 3}
    assert "{'HOLD': 3}" in report.lines(result)[-1]
