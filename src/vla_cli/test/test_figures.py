"""The benchmark's figures on records whose answer is known."""

import math

import pytest

from vla_cli.bench.figures import action_figures, age_figures, floor_p50_ms, rate_hz, vl_figures
from vla_cli.bench.live import Settings
from vla_cli.records import ChunkRecord, PassRecord

NS = 1_000_000_000
START = 1_700_000_000 * NS
MS = 1_000_000


def passes(count=11, period_ms=200, latency_ms=150):
    """Passes that begin when their images are taken."""
    result = []
    for k in range(count):
        capture = START + k * period_ms * MS
        result.append(
            PassRecord(
                feature_id=k + 1, started_ns=capture, published_ns=capture + latency_ms * MS,
                total_s=latency_ms / 1e3, stages_s=(0.01, 0.02, 0.03, 0.04, 0.05),
                view_stamps_ns=(capture,) * 5)
        )  # fmt: skip
    return result


def chunks(made, count=100, period_ms=100, action_ms=2, phase_ms=0, **more):
    """Ticks on an exact grid that act on the newest features published before the tick."""
    result = []
    for k in range(count):
        tick = made[0].published_ns + (k * period_ms + phase_ms) * MS
        newest = [p for p in made if p.published_ns <= tick][-1]
        result.append(
            ChunkRecord(
                chunk_id=k + 1, tick_ns=tick, published_ns=tick + action_ms * MS,
                view_stamps_ns=newest.view_stamps_ns, features_ns=newest.published_ns,
                sensor_last_ns=tick - 31 * MS, robot_ns=tick - 5 * MS, sensor_fill=1.0,
                total_s=action_ms / 1e3, **more)
        )  # fmt: skip
    return result


def test_rates_and_periods_of_an_exact_grid():
    figures = action_figures(chunks(passes()))
    assert figures['action_hz'] == pytest.approx(10.0)
    assert figures['action_period_ms'] == pytest.approx(
        {'p50': 100.0, 'p99': 100.0, 'p99_9': 100.0, 'max': 100.0}
    )
    assert figures['window_full_ratio'] == 1.0
    assert figures['deadline_misses'] == 0 and figures['chunks_lost_on_topic'] == 0


def test_misses_are_the_growth_of_the_counter_and_ticks_that_of_the_id():
    made = chunks(passes(), count=3)
    first, last = made[0], made[2]
    last = ChunkRecord(**{**last.__dict__, 'deadline_misses': 4, 'chunk_id': 9})
    figures = action_figures([first, last])
    assert figures['deadline_misses'] == 4
    assert figures['ticks'] == 8
    assert figures['deadline_miss_ratio'] == 0.5
    assert figures['chunks_lost_on_topic'] == 7


def test_one_window_that_is_not_full_shows_in_the_ratio():
    made = chunks(passes(), count=100)
    made[5] = ChunkRecord(**{**made[5].__dict__, 'sensor_fill': 64 / 65})
    assert action_figures(made)['window_full_ratio'] == pytest.approx(0.99)


def test_reasons_are_counted_by_input_and_not_by_their_numbers():
    made = chunks(passes(), count=2)
    made = [
        ChunkRecord(**{**c.__dict__, 'reaction': 2, 'reasons': (f'images: age {k} s',)})
        for k, c in enumerate(made)
    ]
    figures = action_figures(made)
    assert figures['reactions'] == {'USE': 0, 'MARK': 0, 'HOLD': 2, 'STOP': 0}
    assert figures['reasons'] == {'images': 2}


def test_ages_are_told_at_the_publication_of_the_chunk():
    figures = age_figures(chunks(passes()), passes(), 0.2)
    assert figures['sensor_age_ms']['p50'] == pytest.approx(33.0)
    assert figures['robot_age_ms']['p50'] == pytest.approx(7.0)
    assert figures['image_age_ms']['max'] >= 252.0


def test_age_of_images_is_that_of_the_oldest_view_and_unknown_without_images():
    made = chunks(passes(), count=2)
    late = ChunkRecord(**{**made[0].__dict__, 'view_stamps_ns': (START, START - NS)})
    age_ms = age_figures([late, late], passes(), 0.2)['image_age_ms']['p50']
    assert age_ms == pytest.approx((late.published_ns - START + NS) / MS)
    none = ChunkRecord(**{**made[0].__dict__, 'view_stamps_ns': (), 'features_ns': 0})
    assert age_figures([none, none], passes(), 0.2)['image_age_ms']['p50'] is None


def test_floor_is_latency_and_half_a_period_and_the_action_stage():
    made = passes(period_ms=200, latency_ms=150)
    assert floor_p50_ms(chunks(made), made, 0.2) == pytest.approx(150 + 100 + 2)


def test_floor_takes_the_camera_period_when_passes_come_more_often_than_images():
    made = passes(period_ms=50, latency_ms=40)
    assert floor_p50_ms(chunks(made), made, 0.2) == pytest.approx(40 + 100 + 2)


def test_perfectly_scheduled_passes_reach_the_floor_over_all_phases():
    made = passes(count=60)
    pooled = [c for phase in range(0, 100, 5) for c in chunks(made, count=80, phase_ms=phase)]
    age_ms = age_figures(pooled, made, 0.2)['image_age_ms']
    assert age_ms['p50'] == pytest.approx(age_ms['floor_p50'], rel=0.03)


def test_vl_latency_is_from_start_to_publication():
    figures = vl_figures(passes())
    assert figures['vl_hz'] == pytest.approx(5.0)
    assert figures['vl_latency_ms']['p50'] == pytest.approx(150.0)
    assert figures['vl_stages_ms_p50']['vision'] == pytest.approx(30.0)


def test_images_age_at_publication_tells_the_waiting_before_a_pass():
    late = PassRecord(1, START, START + 150 * MS, 0.15, view_stamps_ns=(START - 20 * MS, START))
    assert vl_figures([late])['vl_image_age_ms']['p50'] == pytest.approx(170.0)


@pytest.mark.parametrize('seconds', [20.0, 60.0, 120.0])
def test_cameras_drift_by_one_tick_over_the_measurement_so_that_no_phase_is_favoured(seconds):
    settings = Settings(seconds, 5.0, 90.0, 'nano')
    drift_s = seconds - seconds * settings.drifting_camera_hz / settings.camera_hz
    assert drift_s == pytest.approx(0.1)


def test_without_records_figures_are_empty_and_nothing_fails():
    assert vl_figures([])['vl_hz'] is None
    assert action_figures([])['window_full_ratio'] is None
    assert age_figures([], [], 0.2)['image_age_ms'] == {
        'p50': None, 'p99': None, 'max': None, 'floor_p50': None}  # fmt: skip
    assert rate_hz([5]) is None
    assert not math.isnan(rate_hz([0, NS]))
