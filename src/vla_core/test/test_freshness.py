"""Ages, limits, and age by new content."""

import math

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_core.freshness import ContentTracker, judge, Limits, Reaction, Verdict, worst
from vla_core.timebase import NS

LIMITS = Limits(0.6, 1.2, 3.0)
START_NS = 1_700_000_000 * NS


@pytest.mark.parametrize(
    'age_s, reaction, reason',
    [
        (0.0, Reaction.USE, ''),
        (0.6, Reaction.USE, ''),
        (0.81, Reaction.MARK, 'images: age 0.81 s > 0.60 s (mark)'),
        (1.5, Reaction.HOLD, 'images: age 1.50 s > 1.20 s (hold)'),
        (3.01, Reaction.STOP, 'images: age 3.01 s > 3.00 s (stop)'),
        (math.inf, Reaction.STOP, 'images: age inf s > 3.00 s (stop)'),
        (None, Reaction.HOLD, 'images: nothing received yet'),
        (math.nan, Reaction.HOLD, 'images: nothing received yet'),
        (-0.05, Reaction.USE, ''),
        (-3.0, Reaction.HOLD, 'images: dated 3.00 s ahead of this clock (hold); check the clocks'),
    ],
)
def test_reaction_and_reason_follow_the_age(age_s, reaction, reason):
    verdict = judge('images', age_s, LIMITS)
    assert (verdict.reaction, verdict.reason) == (reaction, reason)


def test_worst_is_the_gravest_reaction_and_use_without_inputs():
    verdicts = [judge('a', 0.0, LIMITS), judge('b', 2.0, LIMITS), judge('c', 0.7, LIMITS)]
    assert worst(verdicts) is Reaction.HOLD
    assert worst([]) is Reaction.USE
    assert worst([Verdict('x', Reaction.STOP, 'why')]) is Reaction.STOP


@given(st.floats(0, 100), st.floats(0, 100))
def test_older_is_never_judged_better(age_s, more_s):
    assert judge('x', age_s, LIMITS).reaction <= judge('x', age_s + more_s, LIMITS).reaction


@pytest.mark.parametrize('values', [(0, 1, 2), (1, 0.5, 2), (1, 2, 1.5), (-1, 1, 2)])
def test_limits_must_rise(values):
    with pytest.raises(ValueError, match='mark_s <= hold_s <= stop_s'):
        Limits(*values)


def test_frozen_camera_grows_old_although_frames_keep_coming():
    tracker = ContentTracker()
    assert tracker.age_s(START_NS) is None
    assert tracker.observe(START_NS, b'frame')
    for second in range(1, 4):
        assert not tracker.observe(START_NS + second * NS, b'frame')
    assert tracker.age_s(START_NS + 3 * NS) == 3.0
    assert (tracker.frozen_count, tracker.frozen_total) == (3, 3)
    assert tracker.seen_ns == START_NS + 3 * NS
    assert tracker.observe(START_NS + 4 * NS, b'other')
    assert tracker.age_s(START_NS + 4 * NS) == 0.0
    assert (tracker.frozen_count, tracker.frozen_total) == (0, 3)


def test_content_may_be_given_as_a_hash_or_a_view():
    tracker = ContentTracker()
    assert tracker.observe(START_NS, 17)
    assert not tracker.observe(START_NS + 1, 17)
    assert tracker.observe(START_NS + 2, memoryview(b'ab'))
    assert not tracker.observe(START_NS + 3, bytearray(b'ab'))


def test_reordered_new_content_does_not_make_the_source_older():
    tracker = ContentTracker()
    tracker.observe(START_NS + 100, b'b')
    tracker.observe(START_NS, b'a')
    assert tracker.changed_ns == START_NS + 100


def test_source_clock_set_back_does_not_look_fresh_until_it_catches_up():
    tracker = ContentTracker()
    tracker.observe(START_NS, b'a')
    tracker.observe(START_NS - 3600 * NS, b'b')
    assert tracker.changed_ns == START_NS - 3600 * NS
    assert tracker.clock_steps == 1
