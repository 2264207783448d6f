"""The UDP sensor device on real sockets: bursts, hostile datagrams, ports."""

import socket
import struct
import threading
import time

from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import pytest
from wire_helpers import datagram, NS, PERIOD_NS, read_until, records, T0_NS, udp_sender

from vla_core.errors import DeviceError
from vla_core.wire import oct_force
from vla_drivers.devices.udp_sensor import UdpSensor


@pytest.fixture
def device():
    device = UdpSensor('127.0.0.1', 0, 4 << 20)
    device.open()
    yield device
    device.close()


def total(readings):
    return sum(len(reading.records) for reading in readings)


def test_both_variants_arrive_with_the_kernels_receive_time(device):
    with udp_sender(device.port) as sender:
        before_ns = time.time_ns()
        sender.send(datagram(13))
        sender.send(oct_force.encode_b(records(1, start_ns=T0_NS + NS)))
        sent_ns = time.time_ns()
        readings = read_until(device, lambda readings: len(readings) == 2)
    assert [len(reading.records) for reading in readings] == [13, 1]
    # The kernel stamps on delivery, so reading late does not make the datagram late.
    assert all(before_ns - NS // 1000 <= r.receive_ns <= sent_ns + NS // 100 for r in readings)


def test_what_is_there_is_returned_at_once_and_never_waits_for_more(device):
    readings = []
    reader = threading.Thread(target=lambda: readings.extend(device.read(60.0)), daemon=True)
    with udp_sender(device.port) as sender:
        sender.send(datagram(13))
        reader.start()
        reader.join(10.0)
    assert len(readings) == 1


def test_a_burst_of_a_second_of_data_is_held_by_the_kernel_and_drained(device):
    with udp_sender(device.port) as sender:
        for k in range(50):
            sender.send(datagram(13, start_ns=T0_NS + k * 13 * PERIOD_NS))
        readings = read_until(device, lambda readings: total(readings) == 650)
    assert len(readings) == 50
    assert device.counters.snapshot() == {}


@pytest.mark.parametrize(
    ('data', 'kind'),
    [
        (b'', 'bad_length'),
        (b'hello', 'bad_length'),
        (datagram(13)[:-1], 'bad_length'),
        (bytes(65_507), 'bad_length'),
        (struct.pack('<I', 12) + datagram(13)[4:], 'bad_count'),
        (datagram(1)[:4] + struct.pack('<d', float('nan')) + datagram(1)[12:], 'bad_time'),
    ],
)
def test_hostile_datagrams_are_counted_by_kind_and_the_next_good_one_is_read(device, data, kind):
    with udp_sender(device.port) as sender:
        sender.send(data)
        sender.send(datagram(2))
        readings = read_until(device, lambda readings: readings)
    assert total(readings) == 2
    assert device.counters.snapshot() == {kind: 1}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.one_of(st.binary(max_size=300), st.integers(0, 8244).map(lambda n: datagram(2)[:n])))
def test_no_datagram_whatever_raises(device, data):
    before = sum(device.counters.snapshot().values())
    with udp_sender(device.port) as sender:
        sender.send(data)
        deadline = time.monotonic() + 5
        readings = []
        while not readings and sum(device.counters.snapshot().values()) == before:
            assert time.monotonic() < deadline
            readings = device.read(0.05)


def test_a_sender_that_is_not_ours_is_refused_and_counted():
    device = UdpSensor('127.0.0.1', 0, 1 << 20, sender='127.0.0.2')
    device.open()
    with udp_sender(device.port) as foreign, socket.socket(type=socket.SOCK_DGRAM) as ours:
        ours.bind(('127.0.0.2', 0))
        foreign.send(datagram(3))
        ours.sendto(datagram(2), ('127.0.0.1', device.port))
        readings = read_until(device, lambda readings: readings)
    device.close()
    assert total(readings) == 2
    assert device.counters.snapshot() == {'foreign_sender': 1}


def test_datagrams_the_kernel_dropped_are_counted():
    device = UdpSensor('127.0.0.1', 0, 65_536)
    device.open()
    with udp_sender(device.port) as sender:
        for k in range(60):
            sender.send(datagram(13, start_ns=T0_NS + k * 13 * PERIOD_NS))
        got = len(read_until(device, lambda readings: readings))
        while more := device.read(0.05):
            got += len(more)
        sender.send(datagram(13, start_ns=T0_NS + NS))  # the count travels with the next datagram
        got += len(read_until(device, lambda readings: readings))
    device.close()
    dropped = device.counters.get('kernel_dropped')
    assert dropped > 0
    assert got + dropped == 61


def test_the_size_of_the_kernels_buffer_is_reported(device):
    assert int(device.describe()['receive_buffer_bytes']) == device.buffer_bytes >= 65_536


def test_a_port_in_use_says_what_to_do(device):
    second = UdpSensor('127.0.0.1', device.port, 65_536)
    with pytest.raises(
        DeviceError, match=f'UDP port {device.port} is in use .*set parameter port'
    ):
        second.open()


@pytest.mark.parametrize('address', ['203.0.113.7', 'no.such.host.invalid', '300.1.1.1'])
def test_an_address_that_is_not_ours_says_what_to_do(address):
    with pytest.raises(DeviceError, match='set parameter bind'):
        UdpSensor(address, 0, 65_536).open()


def test_closing_frees_the_port_and_waiting_datagrams_can_be_discarded(device):
    port = device.port
    with udp_sender(port) as sender:
        for k in range(3):
            sender.send(datagram(1, start_ns=T0_NS + k * NS))
        deadline = time.monotonic() + 5
        discarded = 0
        while discarded < 3:
            assert time.monotonic() < deadline
            discarded += device.discard_pending()
    device.close()
    device.close()
    again = UdpSensor('127.0.0.1', port, 65_536)
    again.open()
    again.close()
