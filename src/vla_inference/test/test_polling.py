from std_msgs.msg import String

from vla_inference.nodes.polling import IdlePhase, LEAD_NS, Poller
from vla_ros import qos
from vla_ros.testing import Listener, ros_context, spinning, wait_for


def test_polled_messages_wait_for_the_drain_and_come_in_order():
    with ros_context():
        node, heard, poller = Listener(), [], Poller()
        subscription = node.create_subscription(
            String, 'words', heard.append, qos.SENSOR_STREAM, callback_group=poller.group
        )
        poller.add(subscription)
        publisher = node.create_publisher(String, 'words', qos.SENSOR_STREAM)
        other = node.hear(String, 'words', qos.SENSOR_STREAM)
        with spinning(node):
            wait_for(publisher.get_subscription_count)
            for number in range(20):
                publisher.publish(String(data=str(number)))
            wait_for(lambda: len(other) == 20)
            assert heard == [], 'the executor leaves them alone'
            wait_for(lambda: poller.drain() or heard)
            wait_for(lambda: (poller.drain(), len(heard) == 20)[1])
            assert [message.data for message in heard] == [str(number) for number in range(20)]
            assert poller.drain() == 0


def test_the_idle_phase_cleans_up_sleeps_and_drains_just_before_the_tick():
    calls = []
    phase = IdlePhase(
        lambda: calls.append('drain') or 0,
        lambda remaining_ns: calls.append(('housekeeping', remaining_ns)),
        lambda seconds: calls.append(('sleep', seconds)),
        lambda: 0,
    )
    phase(80_000_000)
    assert calls == [
        ('housekeeping', 80_000_000),
        ('sleep', (80_000_000 - LEAD_NS) / 1e9),
        'drain',
    ]


def test_a_late_tick_is_not_delayed_by_the_idle_phase():
    calls = []
    phase = IdlePhase(calls.append, lambda remaining_ns: None, calls.append, lambda: 0)
    phase(LEAD_NS // 2)
    phase(-5)
    assert calls == []
