import math

import numpy as np
import pytest

from vla_core.surface import SurfaceSettings
from vla_core.timebase import NS
from vla_inference.engine.instructions import Aim, aim_of
from vla_inference.engine.task_success import Success, SuccessSettings
from vla_inference.engine.task_watch import (
    ChunkView,
    End,
    GateView,
    Outcome,
    Progress,
    TaskWatch,
    WatchSettings,
)

START_NS = 1_700_000_000 * NS
TICK_NS = NS // 10
IN, OUT = 'insert the needle into the trocar', 'retract the needle'
BINS = SurfaceSettings()
AXIS = np.array([0.0, 0.0, -1.0])
REST, MOTION = np.zeros((8, 6)), np.full((8, 6), 1e-3)


def scan(distance_m):
    """An A-scan with a surface at a distance, or none."""
    profile = np.full(1025, 46.0)
    if not math.isnan(distance_m):
        profile[round(distance_m / BINS.depth_per_bin_m)] = 200.0
    return profile


def ahead(depth_m):
    """What lies ahead of a needle in a trocar: the valve at 1 mm, then the tissue at 19 mm."""
    distance_m = (0.001 if depth_m < 0.0008 else 0.019) - depth_m
    return distance_m if distance_m < 0.0036 else math.nan


class Story:
    """A watch whose world is told tick by tick."""

    def __init__(self, gate='enabled'):
        self.watch = TaskWatch(WatchSettings(), SuccessSettings(), BINS)
        self.now_ns = START_NS
        self.gate = gate
        self.report()

    def report(self, **more):
        self.watch.observe_gate(GateView(self.now_ns, self.gate, **more))

    def begin(self, instruction=IN, timeout_s=0.0):
        assert self.watch.refusal(instruction, timeout_s, self.now_ns) == ''
        self.watch.begin(instruction, timeout_s, self.now_ns)
        self.instruction = instruction
        return self

    def tick(self, depth_m=0.0, seen_m=math.nan, force_n=0.1, delta=MOTION, task=None, **more):
        self.now_ns += TICK_NS
        self.report()
        self.watch.observe_tip(AXIS * depth_m, AXIS)
        if seen_m is not None:
            for _ in range(5):
                self.watch.observe_samples(
                    np.array([force_n], np.float32), scan(seen_m)[None], self.now_ns
                )
        self.watch.observe_chunk(task or self.instruction, delta, ChunkView())
        return self.watch.tick(self.now_ns, **more)

    def insert(self, to_m=0.018):
        """Valve in sight at 2.7 mm before the opening, then in to the hold depth."""
        for depth_m in np.arange(-0.0027, to_m + 1e-9, 0.0006):
            assert isinstance(self.tick(depth_m, ahead(depth_m)), Progress)
        return depth_m


def last(story, ticks, **what):
    for _ in range(ticks):
        verdict = story.tick(**what)
        if isinstance(verdict, End):
            return verdict
    return verdict


@pytest.mark.parametrize(
    ('text', 'aim'),
    [
        (IN, Aim.INSERT),
        ('Insert the needle', Aim.INSERT),
        (OUT, Aim.RETRACT),
        ('pull the needle out of the eye', Aim.RETRACT),
        ('withdraw', Aim.RETRACT),
        ('go into the trocar', Aim.INSERT),
        ('dance', None),
        ('', None),
    ],
)
def test_the_first_word_that_tells_decides_the_aim(text, aim):
    assert aim_of(text) is aim


def test_insertion_succeeds_when_the_surface_stays_at_the_target_for_its_time():
    story = Story().begin()
    depth_m = story.insert()
    end = last(story, 20, depth_m=depth_m, seen_m=0.0011)
    assert end.outcome is Outcome.SUCCESS
    assert '1.10 mm' in end.detail
    assert 1.0 <= end.duration_s < 6.0
    assert not story.watch.running


def test_insertion_needs_the_whole_hold_time_without_a_break():
    story = Story().begin()
    depth_m = story.insert()
    for _ in range(4):
        assert isinstance(last(story, 8, depth_m=depth_m, seen_m=0.001), Progress)
        assert story.tick(depth_m=depth_m, seen_m=0.0025).held_s == 0.0


@pytest.mark.parametrize(('mm_s', 'inserted'), [(0.6, False), (0.2, True), (0.0, True)])
def test_needle_that_creeps_through_the_depth_is_not_held(mm_s, inserted):
    story = Story().begin()
    depth_m = story.insert(0.0177)
    verdict = None
    for _ in range(13):
        verdict = story.tick(depth_m, ahead(depth_m))
        depth_m += 1e-4 * mm_s
        if isinstance(verdict, End):
            break
    assert isinstance(verdict, End) is inserted


def test_needle_that_stops_in_front_of_the_eye_is_no_insertion():
    story = Story().begin()
    for depth_m in np.arange(-0.04, 0.0, 0.001):  # a long way, but seen only at its end
        story.tick(depth_m, ahead(depth_m))
    assert isinstance(last(story, 50, depth_m=0.0, seen_m=0.001), Progress)


def test_one_bad_scan_neither_makes_nor_breaks_a_success():
    story = Story().begin()
    depth_m = story.insert()
    last(story, 5, depth_m=depth_m, seen_m=0.001)
    story.watch.observe_samples(np.zeros(1), scan(math.nan)[None], story.now_ns)
    assert story.watch.tick(story.now_ns + TICK_NS).held_s > 0.3


def test_stale_sensor_is_no_success():
    story = Story().begin()
    depth_m = story.insert()
    story.tick(depth_m=depth_m, seen_m=0.001)
    for _ in range(5):
        verdict = story.tick(depth_m=depth_m, seen_m=None)
    assert isinstance(verdict, Progress) and verdict.held_s == 0.0


def test_retraction_succeeds_when_free_and_the_policy_rests():
    story = Story().begin(OUT)
    assert isinstance(last(story, 30, seen_m=0.001, delta=REST), Progress)  # still inside
    assert isinstance(last(story, 30, delta=MOTION), Progress)
    end = last(story, 15, delta=REST)
    assert end.outcome is Outcome.SUCCESS and 'at rest' in end.detail


def test_retraction_succeeds_in_the_end_though_the_policy_never_rests():
    story = Story().begin(OUT)
    end = last(story, 120, delta=MOTION)
    assert end.outcome is Outcome.SUCCESS
    assert 9.5 < end.duration_s < 10.5


def test_rest_of_a_chunk_made_for_another_instruction_does_not_count():
    story = Story().begin(OUT)
    assert isinstance(last(story, 40, delta=REST, task='something else'), Progress)


def test_goal_is_refused_while_the_gate_is_not_enabled():
    for gate, advice in (
        ('disabled', 'vla robot enable'),
        ('stopped', 'reset'),
        ('emergency_stop', 'reset'),
        ('', 'mecademic'),
    ):
        story = Story(gate)
        assert advice in story.watch.refusal(IN, 0.0, story.now_ns)


def test_goal_is_refused_by_a_device_that_takes_no_commands():
    story = Story('disabled')
    story.report(reasons=('device_state_only',))
    assert 'mecademic' in story.watch.refusal(IN, 0.0, story.now_ns)


def test_goal_is_refused_when_the_driver_is_silent():
    watch = TaskWatch(WatchSettings(), SuccessSettings(), BINS)
    assert 'silent' in watch.refusal(IN, 0.0, START_NS)
    story = Story()
    assert 'silent' in story.watch.refusal(IN, 0.0, story.now_ns + 2 * NS)


@pytest.mark.parametrize('timeout_s', [-1.0, math.nan, math.inf])
def test_goal_with_a_bad_timeout_is_refused(timeout_s):
    story = Story()
    assert 'timeout_s' in story.watch.refusal(IN, timeout_s, story.now_ns)


def test_second_goal_is_refused():
    story = Story().begin()
    assert 'busy' in story.watch.refusal(OUT, 0.0, story.now_ns)


def test_instruction_without_an_aim_is_refused():
    story = Story()
    assert 'insert' in story.watch.refusal('dance', 0.0, story.now_ns)


@pytest.mark.parametrize('gate', ['disabled', 'stopped', 'emergency_stop'])
def test_gate_ends_the_goal_with_reason_value_and_limit(gate):
    story = Story().begin()
    assert isinstance(story.tick(), Progress)
    story.gate = gate
    story.report(reasons=('force_limit',), values=(1.31,), limits=(1.0,))
    end = story.watch.tick(story.now_ns)
    assert end.outcome is Outcome.GATE_STOP
    assert gate in end.detail and 'force_limit 1.31/1' in end.detail


def test_refused_chunk_says_that_the_driver_lives_and_hides_no_reason():
    watch = TaskWatch(WatchSettings(), SuccessSettings(), BINS)
    assert not watch.refused(START_NS)
    story = Story().begin()
    story.gate = 'stopped'
    story.report(reasons=('sensor_age',), values=(2.1,), limits=(2.0,))
    assert story.watch.refused(story.now_ns + 5 * NS)
    end = story.watch.tick(story.now_ns + 5 * NS)
    assert end.outcome is Outcome.GATE_STOP and 'sensor_age 2.1/2' in end.detail


def test_driver_that_falls_silent_ends_the_goal():
    story = Story().begin()
    story.tick()
    end = story.watch.tick(story.now_ns + 2 * NS)
    assert end.outcome is Outcome.GATE_STOP and 'driver' in end.detail


def test_time_out_names_how_far_it_was():
    story = Story().begin(timeout_s=2.0)
    end = last(story, 40, depth_m=0.0, seen_m=0.002)
    assert end.outcome is Outcome.TIMEOUT
    assert 2.0 <= end.duration_s < 2.2 and '2.00 mm' in end.detail


def test_cancel_ends_the_goal_and_a_gate_stop_goes_before_it():
    assert Story().begin().tick(canceled=True).outcome is Outcome.CANCELED
    story = Story().begin()
    story.gate = 'stopped'
    assert story.tick(canceled=True).outcome is Outcome.GATE_STOP


def test_peak_force_is_the_largest_magnitude_of_all_samples():
    story = Story().begin(timeout_s=1.0)
    story.tick(force_n=-0.7)
    story.watch.observe_samples(
        np.array([0.2, math.nan, 0.3], np.float32), scan(math.nan)[None].repeat(3, 0), story.now_ns
    )
    assert last(story, 20).peak_force_n == pytest.approx(0.7)


def test_progress_grows_with_the_way_and_ends_with_the_hold():
    story = Story().begin()
    seen = []
    for depth_m in np.arange(-0.0027, 0.018, 0.001):
        seen.append(story.tick(depth_m, ahead(depth_m)).progress)
    seen += [story.tick(0.018, 0.001).progress for _ in range(8)]
    assert seen[0] == 0.0 and seen[-1] > 0.95
    assert (np.diff(seen) >= -1e-9).all()


def test_a_goal_after_another_starts_from_nothing():
    story = Story().begin()
    depth_m = story.insert()
    assert last(story, 20, depth_m=depth_m, seen_m=0.001).outcome is Outcome.SUCCESS
    story.begin()
    verdict = story.tick(depth_m, 0.001)
    assert verdict.progress == 0.0 and verdict.elapsed_s == pytest.approx(0.1)


def test_clock_that_is_set_back_is_no_success():
    success = Success(Aim.INSERT, SuccessSettings(insertion_travel_m=0.0))
    for _ in range(5):
        success.observe_surface(0.001)
    assert success.tick(START_NS, True) == ''
    assert success.tick(START_NS - 100 * NS, True) == ''
    assert success.held_s <= 0.0 or success.held_s < 1.0
