"""Local cameras by OpenCV: a generated video file, absent devices, files that break."""

import time

import cv2
import numpy as np
import pytest
from wire_helpers import read_until

from vla_core.errors import DeviceError
from vla_drivers.devices.opencv_cameras import CaptureSettings, OpenCvCameras
from vla_ros.testing import wait_for

FRAMES = 5


@pytest.fixture
def video(tmp_path):
    path = tmp_path / 'five.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10.0, (64, 48))
    for k in range(FRAMES):
        writer.write(np.full((48, 64, 3), 50 * k, np.uint8))
    writer.release()
    return str(path)


def make(sources, rate_hz=50.0):
    return OpenCvCameras(sources, CaptureSettings(rate_hz=rate_hz, jpeg_quality=90))


def test_a_file_loops_and_every_frame_is_a_jpeg_with_its_own_stamp(video):
    device = make({'view1': video, 'view2': video})
    before_ns = time.time_ns()
    device.open()
    readings = read_until(device, lambda readings: len(readings) > 4 * FRAMES)
    device.close()
    assert device.counters.get('looped') >= 2
    assert {reading.frame.camera for reading in readings} == {'view1', 'view2'}
    first = [reading.frame for reading in readings if reading.frame.camera == 'view1']
    stamps = [frame.stamp_ns for frame in first]
    assert stamps == sorted(set(stamps))
    assert before_ns <= stamps[0] <= stamps[-1] <= time.time_ns()
    image = cv2.imdecode(np.frombuffer(first[3].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (48, 64, 3)
    assert abs(int(image[20, 20, 0]) - 150) < 10


def test_images_nobody_reads_are_overwritten_oldest_first_and_counted(video):
    device = make({'view1': video}, rate_hz=240.0)
    device.open()
    wait_for(lambda: device.counters.get('overwritten') > 3)
    readings = device.read(0.1)
    device.close()
    stamps = [reading.frame.stamp_ns for reading in readings]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize(
    ('source', 'text'),
    [
        ('97', '/dev/video97 cannot be opened'),
        ('/nowhere/film.mp4', 'video file /nowhere/film.mp4 cannot be opened'),
        ('http://127.0.0.1:1/stream', 'URL http://127.0.0.1:1/stream cannot be opened'),
        ('nonsense://x', 'URL nonsense://x cannot be opened'),
    ],
)
def test_an_absent_camera_says_what_to_do(source, text):
    device = make({'view1': source})
    with pytest.raises(DeviceError, match='set parameter opencv_sources') as caught:
        device.open()
    assert text in str(caught.value)


def test_an_absent_camera_gives_back_the_others(video):
    device = make({'view1': video, 'view2': '97'})
    with pytest.raises(DeviceError):
        device.open()
    assert set(device.describe().values()) == {'closed'}


def test_a_camera_lost_at_run_time_is_tried_again_with_back_off_and_shown(video, monkeypatch):
    device = make({'view1': video})
    device.open()
    read_until(device, lambda readings: readings)
    camera = device._cameras[0]
    monkeypatch.setattr(camera, '_grab', lambda due_ns: None)
    wait_for(lambda: 'trying again in' in camera.state)
    monkeypatch.undo()
    wait_for(lambda: device.counters.get('reopened') and camera.state == 'open')
    while device.read(0.01):
        pass
    read_until(device, lambda readings: readings)
    device.close()


def test_a_file_that_is_no_video_is_refused(tmp_path):
    path = tmp_path / 'text.avi'
    path.write_text('not a video')
    with pytest.raises(DeviceError, match='cannot be opened'):
        make({'view1': str(path)}).open()
