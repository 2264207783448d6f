"""Passes and features on the clock of a replay."""

import threading

from fakes import FakeEncoder, features, jpeg, MS, START_NS, VIEWS, wait_for
from ros_fakes import expert_overrides, load_fake_expert

from vla_core.timebase import ManualClock
from vla_inference.engine.image_inbox import ImageInbox, InboxSettings
from vla_inference.engine.lockstep import follow_clock, HeldFeatures, LockstepPasses
from vla_inference.engine.pass_schedule import PassSchedule
from vla_inference.engine.vlm_worker import VlmWorker, WorkerSettings
from vla_inference.nodes.action_expert_node import ActionExpertNode
from vla_ros.testing import ros_context, spinning
from vla_ros.testing import wait_for as wait_longer


class Rig:
    """A worker on a clock that only `at` moves."""

    def __init__(self, latency_ms=80, period_ms=0):
        self.clock, self.published = ManualClock(START_NS), []
        self.inbox = ImageInbox(
            VIEWS, PassSchedule(period_ms * MS), InboxSettings(0.3, 0.1), self.clock.now_ns
        )
        self.worker = VlmWorker(
            self.inbox, FakeEncoder(), WorkerSettings(64, 36, 'c', 'k'),
            lambda made: self.passes.hold(made), self.clock,
        )  # fmt: skip
        self.passes = LockstepPasses(
            self.inbox, self.worker.process, self.published.append, latency_ms * MS
        )

    def at(self, ms, *views):
        self.clock.advance_ns(START_NS + ms * MS - self.clock.now_ns())
        for view in views:
            self.inbox.put(view, self.clock.now_ns(), jpeg(ms + VIEWS.index(view)))
        return self.passes.step(self.clock.now_ns())


def test_a_result_is_published_its_latency_after_the_pass_began_and_not_a_step_sooner():
    rig = Rig(latency_ms=80)
    assert not rig.at(10, *VIEWS)
    assert not any(rig.at(ms) for ms in range(20, 90, 10))
    assert rig.at(90)
    made, = rig.published
    assert (made.started_ns, made.published_ns) == (START_NS + 10 * MS, START_NS + 90 * MS)


def test_no_pass_begins_while_one_is_under_way_and_the_next_uses_the_newest_images():
    rig = Rig(latency_ms=100)
    for ms in range(0, 260, 10):
        rig.at(ms, *(VIEWS if ms % 20 == 0 else ()))
    first, second = rig.published
    assert first.started_ns == START_NS and second.started_ns == START_NS + 100 * MS
    assert second.view_stamps_ns == (START_NS + 100 * MS,) * 3


def test_views_that_are_missing_are_waited_for_in_simulated_time():
    rig = Rig(latency_ms=0)
    rig.at(0, *VIEWS)
    rig.at(100, 'view1', 'view2')
    assert not any(rig.at(ms) for ms in range(110, 400, 10))
    assert rig.at(400) and rig.published[-1].stale_views == ('view3',)


def test_without_latency_a_result_is_published_at_the_step_of_its_pass():
    rig = Rig(latency_ms=0)
    assert rig.at(10, *VIEWS)
    assert rig.published[0].published_ns == START_NS + 10 * MS


def test_features_of_the_time_of_a_tick_wait_for_the_next_whenever_they_come():
    held = HeldFeatures()
    for at_ms, number in ((90, 1), (100, 2)):
        held.add(features(START_NS + at_ms * MS, number))
    assert [item.feature_id for item in held.take(START_NS + 100 * MS)] == [1]
    assert [item.feature_id for item in held.take(START_NS + 200 * MS)] == [2]
    assert held.take(START_NS + 300 * MS) == []


def test_every_new_time_is_worked_on_once_and_then_answered():
    clock, stop, log = ManualClock(0), threading.Event(), []
    step, answer = (lambda ns, what=what: log.append((what, ns)) for what in ('step', 'did'))
    thread = threading.Thread(target=follow_clock, args=(clock, step, answer, stop))
    thread.start()
    try:
        for ns in (10, 20):
            clock.advance_ns(10)
            wait_for(lambda ns=ns: ('did', ns) in log)
    finally:
        stop.set()
        thread.join(5)
    assert log == [('step', 10), ('did', 10), ('step', 20), ('did', 20)]


def test_a_node_in_lockstep_on_the_system_clock_is_refused():
    with ros_context():
        node = ActionExpertNode(
            load_fake_expert, parameter_overrides=expert_overrides(lockstep=True)
        )
        with spinning(node):
            wait_longer(lambda: node.failure is not None)
        assert 'needs use_sim_time' in str(node.failure)
