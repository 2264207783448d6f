"""Camera images: routing to views, frozen pictures, what is counted."""

import time

import pytest
from wire_helpers import image, NS

from vla_core.clock_model import make_clock
from vla_core.counters import Counters
from vla_core.errors import ConfigError
from vla_core.health import Level
from vla_drivers.camera_stream import CameraLimits, CameraStream, parse_assignments
from vla_drivers.devices.base import CameraReading

NAMES = {'view1': ['ZED_1_left', 'zed_1_left'], 'view5': ['OAK', 'oak_CAM_A']}
LIMITS = CameraLimits(rate_hz=5.0, warn_share=0.9, error_share=0.5, frozen_s=1.0, late_s=0.5)


@pytest.fixture
def stream():
    return CameraStream(NAMES, ['*_right'], make_clock('trusted'), LIMITS, Counters())


def reading(camera, stamp_ns, seed=0, delay_ns=20_000_000):
    return CameraReading(image(camera, stamp_ns, seed), stamp_ns + delay_ns)


def level_of(stream, name, now_ns):
    return {item.name: item for item in stream.health(now_ns)}[name]


def test_old_and_new_names_reach_the_same_view_with_the_jpeg_untouched(stream):
    now_ns = time.time_ns()
    first, second = image('OAK', now_ns, 1), image('oak_CAM_A', now_ns + 1000, 2)
    images = stream.accept([CameraReading(first, now_ns), CameraReading(second, now_ns + 2000)])
    assert [item.view for item in images] == ['view5', 'view5']
    assert [item.jpeg for item in images] == [first.jpeg, second.jpeg]
    assert images[0].stamp_ns == now_ns


def test_right_eyes_are_ignored_by_name_and_counted(stream):
    assert stream.accept([reading('ZED_1_right', time.time_ns())]) == []
    assert stream._counters.snapshot() == {'ignored': 1}


def test_unknown_cameras_are_counted_and_named_but_never_without_bound(stream):
    now_ns = time.time_ns()
    stream.accept([reading(f'webcam{k}', now_ns) for k in range(100)])
    assert stream._counters.snapshot() == {'unknown_camera': 100}
    item = level_of(stream, 'unknown cameras', now_ns)
    assert item.level is Level.WARN
    assert 'webcam0' in item.message
    assert len(item.values) == 5


def test_duplicated_reordered_and_late_images_are_counted(stream):
    now_ns = time.time_ns()
    stream.accept([reading('OAK', now_ns + ms * 1_000_000, ms) for ms in (0, 400, 200, 400)])
    stream.accept([reading('ZED_1_left', now_ns, delay_ns=NS)])
    assert stream._counters.snapshot() == {'duplicate': 1, 'late': 1, 'reordered': 1}


def test_a_camera_that_resends_one_picture_is_frozen_but_passed_on(stream):
    start_ns = time.time_ns()
    images = stream.accept([reading('OAK', start_ns + k * NS // 5) for k in range(10)])
    assert len(images) == 10
    assert stream._counters.snapshot() == {'frozen': 9}
    stream._views['view5'].rate.tick(time.monotonic_ns() - NS)
    item = level_of(stream, 'view5', start_ns + 2 * NS)
    assert item.level is Level.ERROR
    assert 'same for 1.8 s > 1.0 s' in item.message


def test_a_view_that_sends_nothing_is_stale(stream):
    assert level_of(stream, 'view1', time.time_ns()).level is Level.STALE


@pytest.mark.parametrize(
    'entries', [['view1'], ['view1:'], [': OAK'], ['a: x', 'a: y'], [], ['my view: x']]
)
def test_a_bad_assignment_is_refused(entries):
    with pytest.raises(ConfigError, match='cameras'):
        parse_assignments(entries, 'cameras')


def test_assignments_keep_urls_whole():
    assert parse_assignments(['v: rtsp://h:5/x'], 'k') == {'v': ['rtsp://h:5/x']}


def test_a_camera_of_two_views_is_refused():
    with pytest.raises(ConfigError, match='one view only'):
        CameraStream({'a': ['X'], 'b': ['X']}, [], make_clock('trusted'), LIMITS, Counters())
