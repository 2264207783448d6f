import threading

from fakes import CHECKPOINT, FakeEncoder, jpeg, MS, START_NS, TASK, VIEWS, wait_for
import numpy as np
import pytest

from vla_core.timebase import ManualClock
from vla_inference.engine.image_inbox import ImageInbox
from vla_inference.engine.pass_schedule import PassSchedule
from vla_inference.engine.vlm_worker import MOST_FAILURES, VlmWorker, WorkerSettings


@pytest.fixture
def rig():
    return Rig()


class Rig:
    """A worker at 64x36 with a fake encoder; `step` puts a set and runs one pass."""

    def __init__(self, **encoder):
        self.clock = ManualClock(START_NS)
        self.inbox = ImageInbox(VIEWS, PassSchedule(0))
        self.encoder = FakeEncoder(**encoder)
        self.published, self.errors = [], []
        settings = WorkerSettings(64, 36, CHECKPOINT, 'contract')
        self.worker = VlmWorker(
            self.inbox,
            self.encoder,
            settings,
            self.published.append,
            self.clock,
            TASK,
            self.errors.append,
        )

    def put(self, at_ms, bad=()):
        for number, view in enumerate(VIEWS):
            data = b'\xff\xd8 rubbish %d' % at_ms if view in bad else jpeg(at_ms + 40 * number)
            self.inbox.put(view, START_NS + (at_ms - number) * MS, data)

    def step(self, at_ms, bad=()):
        self.put(at_ms, bad)
        self.clock.advance_ns(START_NS + (at_ms + 50) * MS - self.clock.now_ns())
        return self.worker.process(self.inbox.take_if_ready())


def test_every_field_of_a_pass_is_filled(rig):
    made = rig.step(200)
    assert rig.published == [made] and rig.worker.last is made
    assert (made.feature_id, made.task, made.checkpoint_hash) == (1, TASK, CHECKPOINT)
    assert made.contract_hash == 'contract' and made.views == VIEWS
    assert made.view_stamps_ns == tuple(START_NS + (200 - n) * MS for n in range(3))
    assert made.started_ns == made.published_ns == START_NS + 250 * MS
    assert set(made.stages_s) == {'decode', 'preprocess', 'vision', 'language', 'pool', 'total'}
    assert made.stages_s['decode'] > 0 and made.stages_s['total'] >= made.stages_s['decode']
    assert (made.images_received, made.images_overwritten, made.images_rejected) == (3, 0, 0)
    assert made.tokens.shape == (3, 4) and made.stale_views == ()


def test_pictures_reach_the_encoder_in_model_order_and_size(rig):
    rig.step(100)
    pictures, task = rig.encoder.calls[0]
    assert [picture.shape for picture in pictures] == [(36, 64, 3)] * 3
    assert [round(float(picture.mean())) for picture in pictures] == [100, 140, 180]
    assert task == TASK


def test_the_next_pass_after_a_change_of_task_uses_the_new_one(rig):
    rig.step(0)
    rig.worker.task = 'retract'
    assert rig.step(200).task == 'retract'
    assert [task for _, task in rig.encoder.calls] == [TASK, 'retract']


def test_an_undecodable_image_is_replaced_by_the_last_good_one_and_counted(rig):
    rig.step(0)
    made = rig.step(200, bad=('view2',))
    assert made.stale_views == ('view2',)
    assert made.view_stamps_ns[1] == START_NS - MS
    assert made.images_rejected == 1 and 'view2' in rig.errors[0]
    assert rig.step(400).stale_views == ()


def test_without_one_good_picture_of_a_view_there_is_no_pass(rig):
    assert rig.step(0, bad=('view1',)) is None
    assert rig.published == [] and rig.encoder.calls == []
    assert rig.step(200).feature_id == 1


def test_features_that_are_not_finite_are_counted_and_not_published():
    rig = Rig(tokens=np.full((3, 4), np.nan, np.float16))
    assert rig.step(0) is None
    assert rig.published == [] and rig.worker.counters.get('not_finite') == 1


def test_a_pass_that_fails_is_counted_and_the_next_one_runs(rig):
    rig.encoder.error = RuntimeError('out of memory')
    assert rig.step(0) is None
    rig.encoder.error = None
    assert rig.step(200).feature_id == 1
    assert rig.worker.counters.get('encode_failed') == 1 and 'out of memory' in rig.errors[0]


def test_an_encoder_that_always_fails_ends_the_worker(rig):
    rig.encoder.error = RuntimeError('device lost')
    for number in range(MOST_FAILURES - 1):
        rig.step(200 * number)
    with pytest.raises(RuntimeError, match='device lost'):
        rig.step(10_000)


def test_the_thread_runs_passes_and_stops(rig):
    stop = threading.Event()
    thread = threading.Thread(target=rig.worker.run, args=(stop,))
    thread.start()
    for number in range(3):
        rig.put(10 * number)
        wait_for(lambda: len(rig.published) > number)  # noqa: B023 - called before the next round
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert [made.feature_id for made in rig.published] == [1, 2, 3]


def test_warm_up_runs_the_encoder_and_publishes_nothing(rig):
    assert rig.worker.warm_up() >= 0
    assert len(rig.encoder.calls) == 1 and rig.published == []
