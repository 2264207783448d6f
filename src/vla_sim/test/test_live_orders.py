"""Orders to a running simulator: faults on the wire, a push, and the truth about it all."""

import json

import numpy as np
import pytest
from wire_tools import free_port, receiving, running, wait_for

from vla_core.errors import DeviceError
from vla_core.wire import oct_force
from vla_sim.control import ControlClient
from vla_sim.faults import Fault, FaultPlan, LiveFaults, parse_fault
from vla_sim.shared import LIVE_FAULTS, SharedState
from vla_sim.truth import TruthClient


class Bench:
    """A running simulator without cameras' load, its receiver, truth and orders."""

    def __init__(self, receiver, stats_file, *options):
        self.receiver, self._stats_file = receiver, stats_file
        truth_port, order_port = free_port(), free_port()
        self.options = (
            *(port for port in receiver.ports if 'truth' not in port),
            f'--truth-port={truth_port}',
            f'--control-port={order_port}',
            f'--stats-file={stats_file}',
            '--camera-rate=1',
            *options,
        )
        self.truth = TruthClient(truth_port)
        self.orders = ControlClient(order_port, timeout_s=10.0)

    def newest(self, samples=100):
        """The newest sensor records, decoded."""
        datagrams = list(self.receiver.sensor)[-samples // 5 :]
        return [oct_force.decode(data) for data in datagrams]

    def forces(self):
        return np.concatenate([records.force for records in self.newest()])

    def stats(self):
        return json.loads(self._stats_file.read_text())

    def close(self):
        self.truth.close()
        self.orders.close()


@pytest.fixture(scope='module')
def bench(tmp_path_factory):
    with receiving() as receiver:
        bench = Bench(receiver, tmp_path_factory.mktemp('orders') / 'stats.json')
        try:
            with running(*bench.options):
                wait_for(lambda: len(receiver.sensor) > 50, what='sensor datagrams')
                yield bench
        finally:
            bench.close()


def test_a_frozen_sensor_repeats_itself_until_the_fault_is_switched_off(bench):
    assert len(set(bench.forces().tolist())) > 50
    bench.orders.fault('freeze', 'sensor')
    wait_for(lambda: len(set(bench.forces().tolist())) == 1, what='a frozen force')
    bench.orders.fault('freeze', 'sensor', value=0)
    wait_for(lambda: len(set(bench.forces().tolist())) > 50, what='a living force')
    wait_for(lambda: bench.stats()['streams']['sensor']['frozen'] > 50, what='the count')


def test_a_lost_stream_is_silent_for_its_time_and_comes_back(bench):
    bench.orders.fault('loss', 'robot', seconds=0.5)
    wait_for(lambda: bench.stats()['streams']['robot']['lost'] >= 20, what='lost states')
    before = len(bench.receiver.robot)
    wait_for(lambda: len(bench.receiver.robot) > before + 20, what='states again')


def test_a_push_is_felt_by_the_sensor_and_ends(bench):
    still = bench.forces().mean()
    bench.orders.push(0.5, 60.0)
    assert bench.truth.wait(lambda s: s.force_n > 0.4).force_n == pytest.approx(0.5, abs=0.01)
    wait_for(lambda: bench.forces().mean() > still + 0.1, what='the push in the signal')
    bench.orders.push(0.0, 0.0)
    wait_for(lambda: abs(bench.forces().mean() - still) < 0.05, what='the end of the push')


def test_the_truth_knows_scene_and_robot(bench):
    truth = bench.orders.truth()
    along = np.array(truth.tip_m) - truth.opening_m
    assert along @ truth.axis == pytest.approx(truth.depth_m, abs=1e-9)
    assert np.linalg.norm(truth.axis) == pytest.approx(1.0)
    assert not truth.activated and truth.powered and truth.error == 0
    later = bench.truth.wait()
    assert later.stamp_ns > truth.stamp_ns


def test_the_sensor_keeps_its_schedule_without_a_lead(bench):
    capture = np.concatenate([records.capture_ns for records in bench.newest(500)])
    np.testing.assert_allclose(np.diff(capture), 1e9 / 650, atol=2500)
    assert bench.stats()['streams']['sensor']['skipped'] == 0


def test_nobody_answers_on_another_port():
    orders = ControlClient(free_port(), timeout_s=0.2)
    with pytest.raises(DeviceError, match='--control-port'):
        orders.truth()
    orders.close()


def test_live_faults_join_those_of_the_command_line():
    shared = SharedState()
    live = LiveFaults(shared)
    plan = FaultPlan('view2', [parse_fault('loss', 'cameras=0.1')], live)
    assert plan.any and plan.value('loss', 1.0) == 0.1
    live.switch(Fault('loss', 'view2', 0.5, 2.0, 1.0))
    live.switch(Fault('freeze', 'sensor', 1.0))
    assert plan.any
    assert [plan.value('loss', time_s) for time_s in (1.0, 2.5, 3.5)] == [0.1, 0.5, 0.1]
    assert plan.value('freeze', 2.5) == 0.0
    live.clear()
    assert plan.any and plan.value('loss', 2.5) == 0.1


def test_more_live_faults_than_there_is_room_for_are_refused():
    live = LiveFaults(SharedState())
    kinds, targets = ('loss', 'freeze', 'corrupt', 'reorder', 'duplicate'), range(1, 6)
    pairs = [(kind, f'view{i}') for kind in kinds for i in targets]
    pairs += [(kind, target) for kind in kinds for target in ('robot', 'sensor')]
    for kind, target in pairs[:LIVE_FAULTS]:
        live.switch(Fault(kind, target, 1.0))
    with pytest.raises(DeviceError, match='too many|more than'):
        live.switch(Fault(*pairs[LIVE_FAULTS], 1.0))
    live.switch(Fault(*pairs[0], 0.0))
    live.switch(Fault(*pairs[LIVE_FAULTS], 1.0))
    assert len(live.read()) == LIVE_FAULTS
