import threading

from fakes import jpeg, MS, START_NS, VIEWS, wait_for
import pytest

from vla_core.timebase import NS
from vla_inference.engine.image_inbox import ImageInbox, InboxSettings
from vla_inference.engine.pass_schedule import PassSchedule


class Steady:
    """The inbox's steady clock under the test's control."""

    def __init__(self):
        self.ns = 0

    def __call__(self):
        return self.ns


@pytest.fixture
def steady():
    return Steady()


@pytest.fixture
def inbox(steady):
    return ImageInbox(VIEWS, PassSchedule(0), InboxSettings(0.3, 0.1), steady)


def put(inbox, steady, at_ms, *views, content=None):
    steady.ns = at_ms * MS
    for view in views or VIEWS:
        inbox.put(view, START_NS + at_ms * MS, jpeg(at_ms // 10 if content is None else content))


def test_a_set_is_ready_when_every_view_has_an_image(inbox, steady):
    put(inbox, steady, 0, 'view1', 'view2')
    assert inbox.take_if_ready() is None
    put(inbox, steady, 10, 'view3')
    images = inbox.take_if_ready()
    assert [frame.view for frame in images.frames] == list(VIEWS)
    assert (images.oldest_ns, images.newest_ns) == (START_NS, START_NS + 10 * MS)
    assert images.stale_views == ()


def test_a_set_is_used_once(inbox, steady):
    put(inbox, steady, 0)
    assert inbox.take_if_ready() is not None
    steady.ns = 5 * NS
    assert inbox.take_if_ready() is None


def test_a_pass_waits_for_the_last_view_but_not_for_ever(inbox, steady):
    put(inbox, steady, 0)
    inbox.take_if_ready()
    put(inbox, steady, 200, 'view1', 'view2')
    steady.ns = 499 * MS
    assert inbox.take_if_ready() is None
    steady.ns = 500 * MS
    images = inbox.take_if_ready()
    assert images.stale_views == ('view3',)
    assert images.frames[2].stamp_ns == START_NS


def test_a_camera_that_died_before_the_first_image_blocks_every_pass(inbox, steady):
    for at_ms in range(0, 3000, 200):
        put(inbox, steady, at_ms, 'view1', 'view2')
        assert inbox.take_if_ready() is None
    assert inbox.view_ages_s(START_NS + 3 * NS)['view3'] is None


def test_a_frozen_camera_keeps_the_stamp_of_its_content(inbox, steady):
    put(inbox, steady, 0)
    inbox.take_if_ready()
    for at_ms in range(200, 2000, 200):
        put(inbox, steady, at_ms, 'view1', 'view2')
        put(inbox, steady, at_ms, 'view3', content=0)
    images = inbox.take_if_ready()
    assert images.stale_views == ('view3',)
    assert images.frames[2].stamp_ns == START_NS
    assert inbox.counters.get('frozen') == 9
    assert inbox.view_ages_s(START_NS + 2 * NS)['view3'] == 2.0


def test_frames_replaced_before_any_pass_are_counted(inbox, steady):
    for at_ms in (0, 200, 400):
        put(inbox, steady, at_ms)
    assert inbox.counters.get('overwritten') == 6
    assert inbox.take_if_ready().oldest_ns == START_NS + 400 * MS


def test_unknown_views_and_empty_images_are_counted_and_refused(inbox):
    assert not inbox.put('view9', START_NS, jpeg(1))
    assert not inbox.put('view1', START_NS, b'')
    assert inbox.counters.snapshot() == {'empty': 1, 'received': 2, 'unknown_view': 1}


def test_a_set_in_the_midst_of_arriving_is_waited_for(inbox, steady):
    for at_ms in (0, 200, 400):
        put(inbox, steady, at_ms)
    put(inbox, steady, 600, 'view1')
    assert inbox.take_if_ready() is None, 'views 2 and 3 are due this very moment'
    put(inbox, steady, 610, 'view2', 'view3')
    assert inbox.take_if_ready().oldest_ns == START_NS + 600 * MS


def test_a_frame_that_fails_to_come_delays_the_pass_by_its_margin_only(inbox, steady):
    for at_ms in (0, 200, 400):
        put(inbox, steady, at_ms)
    put(inbox, steady, 600, 'view1', 'view2')
    assert inbox.take_if_ready() is None
    steady.ns = 621 * MS
    assert inbox.take_if_ready().oldest_ns == START_NS + 400 * MS


def test_reuse_keeps_the_period_and_takes_the_freshest_set(steady):
    inbox = ImageInbox(VIEWS, PassSchedule(400 * MS), InboxSettings(0.3, 0.0), steady)
    taken = []
    for at_ms in range(0, 4000, 200):
        for skew, view in enumerate(VIEWS):
            put(inbox, steady, at_ms + 5 * skew, view)
            images = inbox.take_if_ready()
            if images:
                taken.append((images.oldest_ns - START_NS) // MS)
    assert taken == list(range(0, 4000, 400))


def test_a_waiting_worker_is_woken_by_the_last_view(inbox):
    real = ImageInbox(VIEWS, PassSchedule(0))
    found = []
    stop = threading.Event()
    thread = threading.Thread(target=lambda: found.append(real.wait_for_set(stop, 10.0)))
    thread.start()
    for number, view in enumerate(VIEWS):
        real.put(view, START_NS + number, jpeg(number))
    wait_for(lambda: found)
    thread.join(5)
    assert found[0].stale_views == ()


def test_stop_ends_the_wait(inbox):
    real = ImageInbox(VIEWS, PassSchedule(0))
    stop = threading.Event()
    thread = threading.Thread(target=lambda: real.wait_for_set(stop, 60.0))
    thread.start()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
