"""The demo's graph, live: what flows, what every message knows, and how it ends.

One stack for all tests here.
"""

import cv2
import numpy as np
import psutil
import pytest
from std_msgs.msg import String
from vla_system_tests.ears import listening
from vla_system_tests.lab import running_lab

from vla_msgs.msg import ActionChunk, CommandStatus, RobotStatus
from vla_ros.testing import wait_for

VIEWS = ['view1', 'view2', 'view3', 'view4', 'view5']


@pytest.fixture(scope='module')
def graph(tmp_path_factory, checkpoint):
    with (
        running_lab(tmp_path_factory.mktemp('live') / 'run', checkpoint) as lab,
        listening() as ears,
    ):
        ears.wait_until_used()
        yield lab, ears


def ns(stamp):
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def test_every_chunk_knows_the_age_of_every_input(graph):
    _, ears = graph
    chunk = ears.wait_until_used()
    lineage = chunk.lineage
    assert lineage.feature_id > 0 and list(lineage.views) == VIEWS
    tick = ns(chunk.header.stamp)
    oldest = min(ns(stamp) for stamp in lineage.view_stamps)
    assert lineage.image_age_s == pytest.approx((tick - oldest) / 1e9, abs=1e-4)
    assert lineage.feature_age_s == pytest.approx(
        (tick - ns(lineage.features_stamp)) / 1e9, abs=1e-4
    )
    assert lineage.robot_age_s == pytest.approx((tick - ns(lineage.robot_stamp)) / 1e9, abs=1e-4)
    assert lineage.sensor_fill == 1.0 and lineage.sensor_samples == 65
    assert 0.09 < (ns(lineage.sensor_last) - ns(lineage.sensor_first)) / 1e9 < 0.11
    assert chunk.inference_s > 0 and chunk.total_s >= chunk.inference_s


def test_every_step_has_its_absolute_time_on_the_grid(graph):
    _, ears = graph
    chunk = ears.wait_until_used()
    times = [ns(stamp) for stamp in chunk.step_stamps]
    assert len(times) == 8 and chunk.dims == 6 and len(chunk.delta) == 48
    assert np.allclose(np.diff(times), 100_000_000, atol=1000)
    assert np.isfinite(chunk.delta).all() and np.any(np.asarray(chunk.delta) != 0)


def test_five_views_arrive_as_the_cameras_jpegs(graph):
    _, ears = graph
    heard = {view: ears.hear_images(view) for view in VIEWS}
    wait_for(
        lambda: all(len(images) >= 3 for images in heard.values()), 10, 'three images of each view'
    )
    for images in heard.values():
        picture = cv2.imdecode(np.frombuffer(images[-1].data, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (360, 640, 3)
        assert ns(images[1].header.stamp) - ns(images[0].header.stamp) == pytest.approx(
            2e8, rel=0.2
        )
    assert len({bytes(images[-1].data) for images in heard.values()}) == 5


def test_samples_are_stamped_one_by_one_at_650_hz(graph):
    _, ears = graph
    batches = ears.hear_samples()
    wait_for(
        lambda: sum(len(batch.stamp_ns) for batch in batches) > 650, 10, 'a second of samples'
    )
    stamps = np.concatenate([np.asarray(batch.stamp_ns) for batch in batches])
    assert np.all(np.diff(stamps) > 0)
    assert np.median(np.diff(stamps)) == pytest.approx(1e9 / 650, rel=0.02)


def test_the_instruction_changes_while_running(graph):
    _, ears = graph
    ears.task.publish(String(data='retract the needle'))
    wait_for(
        lambda: ears.infos and ears.infos[-1].task == 'retract the needle',
        10,
        'features for the new task',
    )
    ears.wait_for_chunk(
        lambda chunk: chunk.task == 'retract the needle' and chunk.reaction == ActionChunk.USE,
        10,
        'an action for the new task',
    )


def test_a_state_only_robot_refuses_every_chunk_and_says_so(graph):
    _, ears = graph
    status = wait_for(lambda: ears.commands and ears.commands[-1], 10, 'an answer to a chunk')
    assert status.result == CommandStatus.REFUSED and 'device_state_only' in status.reasons
    robot = wait_for(lambda: ears.robot and ears.robot[-1], 10, 'the robot status')
    assert robot.state == RobotStatus.CONNECTED and not robot.accepts_commands


def test_ctrl_c_ends_everything_within_five_seconds_without_orphans(graph):
    lab, _ = graph
    family = lab.family()
    assert len(family) >= 7
    assert lab.interrupt() < 5.0
    _, left = psutil.wait_procs(family, timeout=1)
    assert [process.name() for process in left] == []
