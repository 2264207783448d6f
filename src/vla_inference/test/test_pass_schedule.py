from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_core.timebase import NS
from vla_inference.engine.pass_schedule import least_period_ns, PassSchedule

MS = NS // 1000


def passes(stamps_ns, period_ns):
    schedule, taken = PassSchedule(period_ns), []
    for stamp_ns in stamps_ns:
        schedule.follow(stamp_ns)
        if schedule.is_due(stamp_ns):
            schedule.taken(stamp_ns)
            taken.append(stamp_ns)
    return taken


@pytest.mark.parametrize(
    ('vl_reuse', 'max_rate_hz', 'period_ms'),
    [(0, 0.0, 0), (4, 0.0, 400), (0, 5.0, 200), (4, 10.0, 400), (1, 2.0, 500)],
)
def test_the_longer_of_reuse_and_rate_wins(vl_reuse, max_rate_hz, period_ms):
    assert least_period_ns(vl_reuse, max_rate_hz) == period_ms * MS


@given(
    st.lists(st.integers(-20, 20), min_size=40, max_size=60),
    st.sampled_from([2, 4, 6]),
)
def test_camera_jitter_never_slips_a_whole_frame(jitter_ms, vl_reuse):
    stamps = [(200 * n + late) * MS + NS * 1000 for n, late in enumerate(jitter_ms)]
    taken = passes(stamps, vl_reuse * 100 * MS)
    frames_a_pass = vl_reuse // 2
    assert [stamps.index(stamp) for stamp in taken] == list(range(0, len(stamps), frames_a_pass))


def test_mean_rate_is_kept_when_the_period_is_no_multiple_of_the_cameras():
    stamps = [200 * MS * n for n in range(1, 302)]
    taken = passes(stamps, 300 * MS)
    assert len(taken) == pytest.approx(60_000 / 300, abs=2)


def test_back_to_back_takes_every_frame():
    stamps = [33 * MS * n for n in range(1, 50)]
    assert passes(stamps, 0) == stamps


def test_a_pass_just_over_the_period_does_not_slip_to_twice_the_period():
    # The legacy system counted ticks: 410 ms of work with k = 4 made 800 ms of period.
    schedule, start_ns, starts = PassSchedule(400 * MS), 1000 * NS, []
    for _ in range(20):
        frame_ns = start_ns // (33 * MS) * 33 * MS
        while not schedule.is_due(frame_ns):
            frame_ns += 33 * MS
        start_ns = max(start_ns, frame_ns)
        schedule.taken(frame_ns)
        starts.append(start_ns)
        start_ns += 410 * MS
    periods = [(b - a) / MS for a, b in zip(starts, starts[1:])]
    assert max(periods) <= 450 and sum(periods) / len(periods) < 420


def test_cameras_whose_clock_is_set_back_start_a_new_grid():
    stamps = [(10_000 + 400 * n) * MS for n in range(5)] + [(400 * n) * MS for n in range(1, 6)]
    assert passes(stamps, 400 * MS) == stamps
