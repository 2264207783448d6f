from functools import partial
import math

from diagnostic_msgs.msg import DiagnosticArray
from fakes import CHECKPOINT, CONTRACT, FakeExpert, features, VIEWS
import pytest
from ros_fakes import expert_overrides, Lab, load_fake_expert

from vla_inference.nodes.action_expert_node import ActionExpertNode
from vla_inference.nodes.messages import features_message
from vla_msgs.msg import ActionChunk, VLFeatures
from vla_ros import convert, qos
from vla_ros.testing import Listener, ros_context, spinning, wait_for


class Bench:
    """An expert node with a fake expert and everything it hears, published by `feed`."""

    def __init__(self, **changes):
        self.expert = FakeExpert()
        self.node = ActionExpertNode(
            partial(load_fake_expert, expert=self.expert),
            parameter_overrides=expert_overrides(**changes),
        )
        self.lab, self.ears = Lab(), Listener()
        self.features = self.lab.create_publisher(VLFeatures, 'vlm/features', qos.FEATURES)
        self.chunks = self.ears.hear(ActionChunk, 'action/chunk', qos.CHUNKS)
        self.health = self.ears.hear(DiagnosticArray, '/diagnostics', qos.STATUS)
        self.changes = {}
        self.sending = True
        self._sent = 0
        self.lab.create_timer(0.01, self.feed)

    def feed(self):
        if not self.sending:
            return
        self._sent += 1
        self.lab.sense()
        if self._sent % 10 == 0:
            made = features(self.lab.now_ns(), feature_id=self._sent, **self.changes)
            self.features.publish(features_message(made))

    def wait(self, accepts):
        """Wait for a chunk that comes from now on and is as wanted."""
        seen = len(self.chunks)
        return wait_for(
            lambda: next((chunk for chunk in self.chunks[seen:] if accepts(chunk)), None)
        )


@pytest.fixture
def bench():
    with ros_context():
        made = Bench()
        with spinning(made.node, made.lab, made.ears):
            wait_for(lambda: made.node.state_label == 'active')
            yield made


def test_every_field_of_a_chunk_message_is_filled(bench):
    chunk = bench.wait(lambda chunk: chunk.reaction == ActionChunk.USE)
    tick_ns = convert.to_ns(chunk.header.stamp)
    stamps, delta = convert.chunk_steps(chunk)
    assert [stamp - tick_ns for stamp in stamps] == [n * 100_000_000 for n in range(8)]
    assert delta.shape == (8, 6) and (delta == 1e-3).all()
    assert chunk.header.frame_id == 'base_link' and chunk.chunk_id > 0 and chunk.reasons == []
    assert (chunk.task, chunk.checkpoint_hash) == ('insert the needle', CHECKPOINT)
    assert chunk.contract_hash == CONTRACT.hash
    assert convert.to_ns(chunk.published_stamp) >= tick_ns
    assert chunk.total_s > 0 and chunk.snapshot_s > 0 and chunk.inference_s > 0
    line = chunk.lineage
    assert tuple(line.views) == VIEWS and line.feature_id > 0
    assert all(convert.to_ns(stamp) > 0 for stamp in line.view_stamps)
    for stamp in (line.features_stamp, line.sensor_first, line.sensor_last, line.robot_stamp):
        # A tick that begins late may still use what came between the grid point and its snapshot.
        assert -50_000_000 <= tick_ns - convert.to_ns(stamp) < 1_000_000_000
    assert line.sensor_samples > 50 and line.sensor_fill > 0.9 and line.sensor_max_gap_s > 0
    for age_s in (line.image_age_s, line.feature_age_s, line.sensor_age_s, line.robot_age_s):
        assert math.isfinite(age_s) and age_s > -0.01


def test_chunks_come_from_the_start_and_say_what_is_missing():
    with ros_context():
        made = Bench()
        made.sending = False
        with spinning(made.node, made.lab, made.ears):
            chunk = made.wait(lambda chunk: True)
    assert chunk.reaction == ActionChunk.HOLD and not any(chunk.delta)
    assert list(chunk.reasons) == [
        f'{name}: nothing received yet' for name in ('features', 'sensor', 'robot')
    ]
    assert math.isnan(chunk.lineage.image_age_s)


def test_the_expert_holds_when_everything_ceases_and_goes_on_when_it_returns(bench):
    bench.wait(lambda chunk: chunk.reaction == ActionChunk.USE)
    bench.sending = False
    chunk = bench.wait(lambda chunk: chunk.reaction == ActionChunk.HOLD)
    assert any(reason.startswith('sensor: ') for reason in chunk.reasons)
    bench.sending = True
    bench.wait(lambda chunk: chunk.reaction == ActionChunk.USE)


def test_features_of_another_checkpoint_are_refused_and_shown(bench):
    bench.changes = {'checkpoint_hash': 'beef'}
    text = f'features: refused, made with checkpoint beef, this expert has {CHECKPOINT} (hold)'
    chunk = bench.wait(lambda chunk: text in chunk.reasons)
    assert chunk.reaction >= ActionChunk.HOLD
    wait_for(
        lambda: any(
            'of another model refused' in status.message
            for array in bench.health
            for status in array.status
        )
    )


def test_a_change_of_task_is_marked_until_features_for_it_come(bench):
    bench.wait(lambda chunk: chunk.reaction == ActionChunk.USE)
    bench.lab.instruct('retract')
    chunk = bench.wait(lambda chunk: chunk.task == 'retract')
    assert chunk.reaction == ActionChunk.MARK
    assert chunk.reasons[-1].startswith(
        "task: features are for 'insert the needle', current 'retract'"
    )
    bench.changes = {'task': 'retract'}
    bench.wait(lambda chunk: chunk.task == 'retract' and chunk.reaction == ActionChunk.USE)


def test_an_expert_that_fails_holds_and_recovers(bench):
    bench.expert.result = RuntimeError('boom')
    chunk = bench.wait(
        lambda chunk: any('RuntimeError: boom' in reason for reason in chunk.reasons)
    )
    assert chunk.reaction == ActionChunk.HOLD and not any(chunk.delta)
    bench.expert.result = None
    bench.wait(lambda chunk: chunk.reaction == ActionChunk.USE)


def test_malformed_batches_are_counted_and_not_fatal(bench):
    message = convert.sensor_batch(*_batch())
    message.profile_length = 3
    bench.lab.samples.publish(message)
    wait_for(lambda: bench.node._counters.get('bad_shape'))
    bench.wait(lambda chunk: chunk.reaction == ActionChunk.USE)


def _batch():
    import numpy as np

    return (
        np.array([1_700_000_000_000_000_000]),
        np.ones(1, np.float32),
        np.ones((1, 4), np.float32),
    )


def test_in_the_shadow_of_another_expert_the_chunks_have_a_topic_of_their_own():
    with ros_context():
        made = Bench(shadow=True)
        shadows = made.ears.hear(ActionChunk, 'action/chunk_shadow', qos.CHUNKS)
        with spinning(made.node, made.lab, made.ears):
            wait_for(lambda: len(shadows) >= 3)
            assert made.chunks == []


def test_chunks_continue_the_one_before_and_say_how_many_steps_are_committed():
    with ros_context():
        made = Bench(chunk_policy='rtc')
        with spinning(made.node, made.lab, made.ears):
            made.wait(lambda chunk: chunk.committed_steps == 1)
            prefix, committed = made.expert.prefixes[-1]
            assert prefix.shape == (7, 6) and committed == 1
            wait_for(
                lambda: any(
                    value.key == 'rtc_continued'
                    for array in made.health
                    for status in array.status
                    for value in status.values
                )
            )
