from functools import partial

from diagnostic_msgs.msg import DiagnosticArray
from fakes import CHECKPOINT, CONTRACT, FakeEncoder, VIEWS
import pytest
from ros_fakes import Lab, load_fake_vlm, vlm_overrides

from vla_inference.nodes.vlm_node import VlmNode
from vla_msgs.msg import VLFeatureInfo, VLFeatures
from vla_ros import convert, qos
from vla_ros.testing import Listener, ros_context, spinning, wait_for


class Bench:
    """A VLM node with a fake encoder, a lab that publishes images, and a listener."""

    def __init__(self, **changes):
        self.encoder = FakeEncoder()
        self.node = VlmNode(
            partial(load_fake_vlm, encoder=self.encoder),
            parameter_overrides=vlm_overrides(**changes),
        )
        self.lab, self.ears = Lab(), Listener()
        self.features = self.ears.hear(VLFeatures, 'vlm/features', qos.FEATURES)
        self.info = self.ears.hear(VLFeatureInfo, 'vlm/info', qos.CHUNKS)
        self.health = self.ears.hear(DiagnosticArray, '/diagnostics', qos.STATUS)

    def ready(self):
        wait_for(lambda: self.node.state_label == 'active')
        for topic in ('vlm/features', 'vlm/info'):
            self.ears.wait_for_publisher(topic)
        wait_for(lambda: all(pub.get_subscription_count() for pub in self.lab.images.values()))
        wait_for(lambda: self.node.count_subscribers('vlm/features'))

    def next(self, *views):
        """Shoot until a new feature comes; DDS may still lose the very first image."""
        seen = len(self.features)
        self.lab.shoot(*views)
        return wait_for(lambda: self.features[seen:])[0]


@pytest.fixture
def bench():
    with ros_context():
        made = Bench()
        with spinning(made.node, made.lab, made.ears):
            made.ready()
            yield made


def test_every_field_of_a_feature_message_is_filled(bench):
    before_ns = bench.lab.now_ns()
    message = bench.next()
    info = wait_for(lambda: bench.info)[0]
    assert message.info == info and message.header == info.header
    assert convert.features_array(message).shape == (3, 4) == (info.tokens, info.width)
    assert (info.feature_id, info.checkpoint_hash, info.contract_hash) == (
        1,
        CHECKPOINT,
        CONTRACT.hash,
    )
    assert (
        info.task == 'insert the needle' and tuple(info.views) == VIEWS and info.stale_views == []
    )
    stamps = [convert.to_ns(stamp) for stamp in info.view_stamps]
    assert before_ns <= convert.to_ns(info.header.stamp) == min(stamps)
    assert convert.to_ns(info.started_stamp) <= convert.to_ns(info.published_stamp)
    assert info.image_age_s > 0 and info.view_skew_s == 0
    stages = ('decode_s', 'preprocess_s', 'vision_s', 'language_s', 'pool_s', 'total_s')
    assert all(getattr(info, stage) > 0 for stage in stages)
    assert info.images_received_total == 3


def test_a_change_of_task_reaches_the_next_pass(bench):
    bench.next()
    bench.lab.instruct('retract')
    wait_for(lambda: bench.node._worker.task == 'retract')
    assert bench.next().info.task == 'retract'
    assert bench.encoder.calls[-1][1] == 'retract'
    bench.lab.instruct('  ')
    wait_for(lambda: bench.node._worker.counters.get('empty_task'))
    assert bench.node._worker.task == 'retract'


def test_a_missing_view_is_named_and_the_pass_goes_on(bench):
    bench.next()
    assert bench.next('view1', 'view3').info.stale_views == ['view2']


def test_diagnostics_show_passes_and_views(bench):
    bench.next()
    names = {'vlm_node: vlm', 'vlm_node: images', 'vlm_node: lifecycle'}
    status = wait_for(
        lambda: next(
            (
                {item.name: item for item in array.status}
                for array in bench.health
                if names <= {item.name for item in array.status}
            ),
            None,
        )
    )
    values = {item.key: item.value for item in status['vlm_node: images'].values}
    assert values['received'] == '3' and 'view2_age_s' in values


def test_a_deactivated_node_is_silent_and_starts_again_on_new_images(bench):
    bench.next()
    bench.node.trigger_deactivate()
    count = len(bench.features)
    bench.lab.shoot()
    wait_for(lambda: bench.node._inbox.counters.get('received') == 6)
    bench.node.trigger_activate()
    bench.next()
    assert len(bench.features) == count + 1
