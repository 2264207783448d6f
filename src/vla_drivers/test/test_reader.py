"""The reader loop: back-off, what waited before, bugs are not hidden."""

import threading

import pytest

from vla_core.counters import Counters
from vla_core.errors import DeviceError
from vla_core.health import Level
from vla_drivers.backoff import Backoff
from vla_drivers.reader import DeviceReader
from vla_ros.testing import wait_for


class ScriptedDevice:
    """Yields what the script says; an exception is raised."""

    def __init__(self, script, fail_open=0):
        self.counters = Counters()
        self.opened = self.closed = 0
        self._script = list(script)
        self._fail_open = fail_open

    def open(self):
        self.opened += 1
        if self.opened <= self._fail_open:
            raise DeviceError('still absent')

    def read(self, timeout_s):
        step = self._script.pop(0) if self._script else []
        if isinstance(step, Exception):
            raise step
        return step

    def discard_pending(self):
        return 4

    def close(self):
        self.closed += 1

    def describe(self):
        return {'endpoint': 'nowhere'}


def run(device, handle=lambda readings: None):
    reader = DeviceReader(device, handle)
    reader.discard_waiting()
    thread = threading.Thread(target=reader.run, daemon=True)
    thread.start()
    return reader, thread


def test_readings_are_handed_over_and_what_waited_is_counted():
    got = []
    device = ScriptedDevice([[1, 2], [3]])
    reader, thread = run(device, got.extend)
    wait_for(lambda: got == [1, 2, 3])
    reader.stop()
    thread.join(5)
    assert not thread.is_alive()
    assert device.counters.snapshot() == {'discarded_at_start': 4}


def test_a_device_that_fails_is_reopened_with_back_off_shown_in_the_diagnostics():
    got = []
    device = ScriptedDevice([DeviceError('cable out'), [1]], fail_open=1)
    reader, thread = run(device, got.extend)
    item = wait_for(lambda: (found := reader.health()).level is Level.ERROR and found)
    assert 'again in' in item.message
    wait_for(lambda: got == [1])
    assert reader.health().level is Level.OK
    reader.stop()
    thread.join(5)
    assert device.counters.get('device_errors') == 2
    assert device.counters.get('reopened') == 1


def test_a_stop_ends_the_waiting_between_attempts():
    reader, thread = run(ScriptedDevice([DeviceError('x')] * 9, fail_open=99))
    wait_for(lambda: reader.health().level is Level.ERROR)
    reader.stop()
    thread.join(2)
    assert not thread.is_alive()


def test_an_unexpected_exception_leaves_the_loop():
    with pytest.raises(ZeroDivisionError):
        DeviceReader(ScriptedDevice([ZeroDivisionError()]), lambda readings: None).run()


def test_waiting_times_double_up_to_a_bound_and_begin_anew_after_success():
    backoff = Backoff(first_s=1.0, longest_s=5.0)
    assert [backoff.next_s() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert backoff.next_s() == 1.0
