"""The monitor: model, terminal view, plain lines, page. No ROS."""

from http.client import HTTPConnection
import json
from pathlib import Path

import pytest
from rich.console import Console

from vla_cli.monitor import plain
from vla_cli.monitor.model import Model
from vla_cli.monitor.snapshot import ProcessPart
from vla_cli.monitor.view import render
from vla_cli.monitor.web import StatusPage
from vla_cli.records import (
    ChunkRecord,
    CommandRecord,
    GoalRecord,
    PassRecord,
    RobotRecord,
    StatusRecord,
)
from vla_core.contract import load_contract
from vla_core.errors import VlaError

CONTRACT = (
    Path(__file__).resolve().parents[3] / 'launch' / 'config' / 'contract' / 'insertion.yaml'
)
NS = 1_000_000_000
NOW = 1_700_000_000 * NS
NODES = (
    'vla_sim',
    'robot_driver',
    'camera_driver',
    'sensor_driver',
    'vlm_node',
    'action_expert_node',
    'scripted_expert_node',
    'task_node',
)
PROCESSES = tuple(
    ProcessPart(name, 'running', 4000 + i, i % 2, 0.25, 300.0, 'exit code 1: boom' * (i % 2))
    for i, name in enumerate((*NODES, 'process_reporter'))
)


@pytest.fixture
def model():
    return Model(load_contract(CONTRACT))


def chunk(number, **more):
    tick = NOW + number * NS // 10
    values = {
        'sensor_fill': 1.0, 'image_age_s': 0.3, 'feature_age_s': 0.1, 'sensor_age_s': 0.03,
        'robot_age_s': 0.01, 'inference_s': 0.02, 'task': 'insert'}  # fmt: skip
    return ChunkRecord(number, tick, tick + 2_000_000, **{**values, **more})


def command(**more):
    values = {
        'gate': 'enabled', 'result': 'LIMITED', 'reasons': ('speed',), 'values': (0.031,),
        'limits': (0.025,), 'speed_m_s': 0.025, 'force_n': 0.12, 'refused': 3, 'limited': 17,
    }  # fmt: skip
    return CommandRecord(NOW, **{**values, **more})


def filled(model):
    for number in range(1, 101):
        model.add_chunk(chunk(number))
    for number in range(1, 31):
        done = NOW + number * NS // 3
        model.add_pass(
            PassRecord(number, done - 180_000_000, done, 0.18, (0.01, 0.02, 0.1, 0.04, 0.01))
        )
    model.set_robot(RobotRecord('connected', device='legacy'))
    model.operation.set_command(command(), NOW + 10 * NS)
    model.operation.set_goal(GoalRecord(NOW + 10 * NS, 7.0, 0.42, 0.3, 0.00123, 0.1))
    model.set_pose(joint1_rad=0.7894, position_x_m=0.12345)
    for view in range(1, 6):
        model.add_status(
            StatusRecord(f'camera_driver: view{view}', 0, values={'received_total': '3000'}),
            NOW + 10 * NS,
        )
    return model.snapshot(NOW + 10 * NS, processes=PROCESSES, supervisor='', uptime_s=75.0)


def test_status_block_of_the_seed_is_all_there(model):
    text = '\n'.join(plain.lines(filled(model)))
    for expected in (
        'VL Updates: 30 | VL avg: 180ms', 'Actions: 100 | Action avg: 20.0ms',
        'view1:3000, view2:3000', 'Sensor buffer: 65/65', 'J1=45.23°, Px=123.45mm'):  # fmt: skip
        assert expected in text


def test_rates_come_from_publication_times(model):
    snapshot = filled(model)
    assert snapshot.actions.hz == pytest.approx(10.0)
    assert snapshot.actions.period_p99_ms == pytest.approx(100.0)
    assert snapshot.vl.hz == pytest.approx(3.0)


def test_restarted_node_does_not_give_a_period_across_its_pause(model):
    model.add_chunk(chunk(500))
    for number in range(1, 4):
        model.add_chunk(chunk(number))
    assert model.snapshot(NOW + NS).actions.period_max_ms == pytest.approx(100.0)


@pytest.mark.parametrize(
    ('age_s', 'level'),
    [(0.3, 'ok'), (0.7, 'mark'), (1.5, 'hold'), (4.0, 'stop'), (float('nan'), 'none')],
)
def test_age_is_coloured_by_the_limits_of_the_contract(model, age_s, level):
    model.add_chunk(chunk(1, image_age_s=age_s))
    assert model.snapshot(NOW).ages[0].level == level


def test_reason_of_a_hold_stays_visible_for_a_while_after_it(model):
    model.add_chunk(chunk(1, reaction=2, reasons=('images: age 1.30 s > 1.20 s (hold)',)))
    model.add_chunk(chunk(2))
    snapshot = model.snapshot(NOW + NS)
    assert (snapshot.reaction, snapshot.held_recently) == ('USE', 1)
    assert snapshot.last_reason.startswith('images')


def test_history_is_bounded_but_the_last_known_state_stays(model):
    for number in range(1, 2001):
        model.add_chunk(chunk(number))
        if number % 100 == 0:
            model.snapshot(NOW + number * NS // 10)
    assert len(model._chunks) < 650
    assert model.snapshot(NOW + 10_000 * NS).actions.actions == 2000


def test_diagnostics_that_are_not_ok_are_problems_gravest_first(model):
    for name, level in (('a: x', 1), ('b: y', 2), ('c: z', 0)):
        model.add_status(StatusRecord(name, level, 'm'), NOW)
    problems = model.snapshot(NOW + NS).problems
    assert [(p.level, p.name) for p in problems] == [('ERROR', 'b: y'), ('WARN', 'a: x')]


def test_node_whose_diagnostics_cease_is_stale_and_later_forgotten(model):
    for item in 'xyz':
        model.add_status(StatusRecord(f'a: {item}', 0), NOW)
    problems = model.snapshot(NOW + 5 * NS).problems
    assert [(p.name, p.message) for p in problems] == [('a', 'no diagnostics for 5 s')]
    assert model.snapshot(NOW + 100 * NS).problems == ()


def test_gate_commands_and_goal_are_shown_with_reason_value_and_limit(model):
    text = '\n'.join(plain.lines(filled(model)))
    expected = 'Gate: enabled  LIMITED speed 0.031/0.025  25.0 mm/s  force 0.12 N'
    assert f'{expected}  (refused 3 limited 17)' in text
    assert '42%' in text and 'surface 1.23 mm' in text


def test_silent_gate_and_ended_goal_are_not_shown_as_if_they_lived(model):
    filled(model)
    later = model.snapshot(NOW + 12 * NS)
    assert later.command.gate == '' and not later.goal.running


def test_refusal_between_two_looks_stays_visible_for_a_while(model):
    model.operation.set_command(command(result='EXECUTED', reasons=()), NOW)
    refusal = command(result='REFUSED', reasons=('huge_step',), values=(0.2,), limits=(0.006,))
    model.operation.set_command(refusal, NOW)
    model.operation.set_command(command(result='EXECUTED', reasons=()), NOW + NS // 10)
    part = model.snapshot(NOW + NS // 10).command
    assert part.result == 'EXECUTED' and part.why == 'chunk refused: huge_step 0.2/0.006'
    model.operation.set_command(command(result='EXECUTED', reasons=()), NOW + 4 * NS)
    assert model.snapshot(NOW + 4 * NS).command.why == ''


def test_outcomes_and_the_last_end_come_from_the_diagnostics(model):
    values = {'outcome_success': '4', 'outcome_timeout': '1', 'bad_shape': '2'}
    entry = StatusRecord('lab/task_node: task', 0, 'last: timeout: no success', values)
    model.add_status(entry, NOW)
    goal = model.snapshot(NOW).goal
    assert goal.outcomes == {'success': 4, 'timeout': 1}
    assert goal.last == 'last: timeout: no success'


def test_what_the_gate_refuses_is_no_loss_of_data(model):
    model.add_status(StatusRecord('robot_driver: gate', 0, values={'chunks_refused': '9'}), NOW)
    assert model.snapshot(NOW).losses == {}


def test_expert_that_knows_no_sensor_window_has_no_fill(model):
    model.add_chunk(chunk(1, sensor_fill=0.0, checkpoint_hash='scripted'))
    snapshot = model.snapshot(NOW)
    assert snapshot.sensor_filled is None and snapshot.policy == 'scripted'
    model.add_chunk(chunk(2, sensor_fill=0.0, sensor_age_s=float('nan')))
    assert model.snapshot(NOW).sensor_filled == 0


def test_only_losses_are_losses(model):
    values = {
        'lost_total': '3',
        'late': '5',
        'reordered': '7',
        'rate_hz': '1',
        'samples_refused': 'x',
    }
    model.add_status(StatusRecord('sensor_driver: samples', 0, values=values), NOW)
    losses = model.snapshot(NOW).losses
    item = 'sensor_driver: samples'
    assert losses == {f'{item} lost_total': 3, f'{item} samples_refused': 0}


@pytest.mark.parametrize(('width', 'height'), [(100, 30), (120, 40), (80, 30), (60, 30)])
def test_view_fits_the_terminal(model, width, height):
    for number in range(8):
        model.add_status(
            StatusRecord(f'node: item {number}', 2, 'a long message ' * 10), NOW + 10 * NS
        )
    console = Console(width=width, height=height)
    with console.capture() as capture:
        console.print(render(filled(model), width, height, 'http://127.0.0.1:8600'))
    text = capture.get()
    assert len(text.rstrip('\n').split('\n')) <= height
    for expected in ('VL updates', 'J1=45.23°', '65/65', 'action_expert_node', 'robot state'):
        assert expected in text


def test_view_of_nothing_shows_dashes(model):
    console = Console(width=100, height=30)
    with console.capture() as capture:
        console.print(render(model.snapshot(NOW), 100, 30))
    assert 'no actions' in capture.get()
    assert 'Reaction: -' in '\n'.join(plain.lines(model.snapshot(NOW)))


@pytest.fixture
def page():
    page = StatusPage(0, ('view1', 'view2'))
    yield page
    page.close()


def get(page, path, host=None):
    connection = HTTPConnection(page.url.removeprefix('http://'), timeout=5)
    connection.request('GET', path, headers={'Host': host} if host else {})
    response = connection.getresponse()
    return response.status, response.read()


def test_page_serves_status_and_pictures(page, model):
    page.update(filled(model), {'view1': (1, b'\xff\xd8jpeg')})
    status, body = get(page, '/status.json')
    assert status == 200 and json.loads(body)['vl']['updates'] == 30
    assert get(page, '/view/view1.jpg?5') == (200, b'\xff\xd8jpeg')
    assert get(page, '/view/view2.jpg') == (204, b'')
    assert b'"view1", "view2"' in get(page, '/')[1]
    assert get(page, '/etc/passwd')[0] == 404


def test_status_without_any_data_is_valid_json(page, model):
    model.add_chunk(chunk(1, image_age_s=float('nan')))
    page.update(model.snapshot(NOW), {})
    body = get(page, '/status.json')[1]
    json.loads(body, parse_constant=lambda word: pytest.fail(f'{word} is not JSON'))


def test_pictures_are_watched_only_when_somebody_asks_for_them(page):
    get(page, '/status.json')
    assert not page.watched()
    get(page, '/view/view1.jpg')
    assert page.watched()


def test_foreign_host_name_is_refused(page):
    assert get(page, '/status.json', host='evil.example:80')[0] == 403
    assert get(page, '/status.json', host='localhost:8600')[0] == 200


def test_port_in_use_is_one_clear_error(page):
    with pytest.raises(VlaError, match='in use'):
        StatusPage(int(page.url.rpartition(':')[2]), ())
