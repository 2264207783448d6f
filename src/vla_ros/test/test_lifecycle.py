"""The lifecycle base: autostart, transitions, refusals, fatal errors, diagnostics."""

from dataclasses import dataclass
import threading

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import pytest
from rclpy.task import Future
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_core.errors import DeviceError
from vla_core.health import HealthItem, Level
from vla_ros import qos
from vla_ros.lifecycle import VlaLifecycleNode
from vla_ros.params import param
from vla_ros.testing import Listener, overrides, spinning, wait_for


@dataclass(frozen=True)
class Parameters:
    trouble: str = param('what goes wrong', default='')


class Example(VlaLifecycleNode):
    def __init__(self, **values):
        self.calls = []
        super().__init__('example', Parameters, parameter_overrides=overrides(**values))

    def configure(self):
        self.calls.append('configure')
        self.stop = threading.Event()
        self.publisher = self.add_publisher(String, 'words', qos.STATUS)
        self.add_timer(0.02, lambda: self.publisher.publish(String(data='hello')))
        if self.params.trouble == 'device':
            raise DeviceError('port 1 is in use: use another')
        if self.params.trouble == 'bug':
            raise ZeroDivisionError

    def activate(self):
        self.calls.append('activate')
        self.stop.clear()
        self.start_worker('worker', self._work)

    def deactivate(self):
        self.calls.append('deactivate')
        self.stop.set()

    def cleanup(self):
        self.calls.append('cleanup')

    def health(self):
        return [HealthItem('example', Level.WARN, 'so so', {'a': '1'})]

    def _work(self):
        if self.params.trouble == 'worker':
            raise KeyError('lost')
        self.stop.wait()


def test_a_node_brings_itself_up_and_publishes(ros):
    node, listener = Example(), Listener()
    heard = listener.hear(String, 'words', qos.STATUS)
    with spinning(node, listener):
        wait_for(lambda: heard)
        assert node.state_label == 'active'
    assert node.calls == ['configure', 'activate', 'deactivate', 'cleanup']


def test_without_autostart_a_node_waits_for_its_manager(ros):
    node, manager = Example(autostart=False), Listener('manager')
    client = manager.create_client(ChangeState, 'example/change_state')
    with spinning(node, manager):
        assert client.wait_for_service(timeout_sec=10)
        assert node.state_label == 'unconfigured'
        answer = client.call_async(
            ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
        )
        wait_for(answer.done)
        assert node.calls == ['configure']


def test_a_deactivated_node_is_silent_and_can_be_activated_again(ros):
    node, listener = Example(autostart=False), Listener()
    heard = listener.hear(String, 'words', qos.STATUS)
    with spinning(listener):
        node.trigger_configure()
        node.trigger_activate()
        node.trigger_deactivate()
        node.publisher.publish(String(data='never'))
        node.trigger_activate()
        wait_for(lambda: node.count_subscribers('words'))
        wait_for(lambda: node.publisher.publish(String(data='now')) or heard)
        assert 'never' not in {message.data for message in heard}
    node.shutdown()
    node.destroy_node()


def test_cleanup_destroys_what_configure_created(ros):
    node = Example(autostart=False)
    node.trigger_configure()
    assert 'words' in {publisher.topic.lstrip('/') for publisher in node.publishers}
    node.trigger_cleanup()
    assert 'words' not in {publisher.topic.lstrip('/') for publisher in node.publishers}
    node.destroy_node()


def test_a_device_error_in_configure_is_fatal_under_autostart(ros):
    node, failures = Example(trouble='device'), []
    node.on_failure = failures.append
    with spinning(node):
        wait_for(lambda: failures)
    assert isinstance(node.failure, DeviceError)
    assert node.calls == ['configure', 'cleanup']


def test_a_device_error_only_refuses_the_transition_when_a_manager_is_in_charge(ros):
    node = Example(trouble='device', autostart=False)
    node.trigger_configure()
    assert node.state_label == 'unconfigured'
    assert node.failure is None
    node.destroy_node()


@pytest.mark.parametrize('trouble', ['bug', 'worker'])
def test_an_unexpected_exception_is_fatal_and_never_silent(ros, trouble):
    node, failures = Example(trouble=trouble), []
    node.on_failure = failures.append
    with spinning(node):
        wait_for(lambda: failures)
    assert isinstance(node.failure, (ZeroDivisionError, KeyError))


def test_health_and_a_failure_show_in_the_diagnostics(ros):
    node, listener = Example(), Listener()
    heard = listener.hear(DiagnosticArray, '/diagnostics', qos.STATUS)

    def levels():
        return {(status.name, status.level) for array in heard for status in array.status}

    with spinning(node, listener):
        wait_for(lambda: ('example: example', b'\x01') in levels())
        assert ('example: lifecycle', b'\x00') in levels()
        node.fail(DeviceError('gone'))
        wait_for(lambda: ('example: lifecycle', b'\x02') in levels())


def test_an_impossible_transition_is_refused_and_the_node_lives_on(ros):
    node, listener = Example(), Listener()
    client = listener.create_client(ChangeState, 'example/change_state')
    with spinning(node, listener):
        wait_for(lambda: node.state_label == 'active')
        assert client.wait_for_service(timeout_sec=10)
        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
        answer = client.call_async(request)
        wait_for(answer.done)
        assert not answer.result().success
        request.transition.id = Transition.TRANSITION_DEACTIVATE
        answer = client.call_async(request)
        wait_for(answer.done)
        assert answer.result().success
        assert node.state_label == 'inactive'


def test_an_attribute_of_rclpy_cannot_be_overwritten_by_a_subclass(ros):
    node = Example(autostart=False)
    with pytest.raises(TypeError, match='_clock belongs to rclpy'):
        node._clock = 'mine'
    node.destroy_node()


def test_overriding_a_transition_callback_of_rclpy_is_refused():
    with pytest.raises(TypeError, match='implement configure'):
        type('Wrong', (VlaLifecycleNode,), {'on_configure': lambda self, state: None})


def test_a_service_that_waits_does_not_hold_up_the_rest_of_its_node(ros):
    done = []

    class Waiting(Example):
        def configure(self):
            super().configure()
            self.add_service(Trigger, 'slow', self._slow)

        async def _slow(self, request, response):
            self.future = Future(executor=self.executor)
            response.success = await self.future
            return response

    node, listener = Waiting(), Listener()
    words = listener.hear(String, 'words', qos.STATUS)
    client = listener.create_client(Trigger, 'slow')
    with spinning(node, listener):
        assert client.wait_for_service(10.0)
        client.call_async(Trigger.Request()).add_done_callback(done.append)
        wait_for(lambda: hasattr(node, 'future'))
        heard = len(words)
        wait_for(lambda: len(words) > heard + 3, what='the timer goes on')
        assert not done
        node.future.set_result(True)
        wait_for(lambda: done)
    assert done[0].result().success
