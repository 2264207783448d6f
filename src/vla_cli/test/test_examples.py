"""Headless example episodes: the format of live ones, aligned, judged by truth, reproducible."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vla_cli.examples.options import EpisodeOptions, INSERT
from vla_cli.examples.run import Batch, check, generate, summary
from vla_cli.main import main
from vla_core.errors import VlaError
from vla_core.rotation import relative_rotvec
from vla_core.timebase import NS
from vla_data.bag_reader import open_bag
from vla_data.quality.check import check_episode
from vla_data.samples.reader import SampleReader
from vla_sim.expert import HOLD_ABOVE_TISSUE_M
from vla_sim.lab import PHYSICS_STEP_S
from vla_sim.scripted_values import Goal
from vla_sim.shared import COLUMNS, WIDTH
from vla_training.simulation.judge import HOLD_S, Judge

LAUNCH = Path(__file__).resolve().parents[3] / 'launch' / 'config'
CONTRACT = LAUNCH / 'contract' / 'insertion.yaml'
MANIFEST = LAUNCH / 'recorder' / 'manifest.yaml'
SECONDS = 2.5


def batch(out, count=1, **options):
    values = {'seed': 3, 'width': 64, 'height': 48, 'seconds': SECONDS, **options}
    return Batch(out, count, 1, EpisodeOptions(**values), CONTRACT, MANIFEST)


def make(out, **options):
    order = batch(out, **options)
    results = generate(order, lambda result: None)
    return out / order.names()[0], results


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp('episodes'))


@pytest.fixture(scope='module')
def bag(made):
    with open_bag(made[0]) as bag:
        yield bag


def test_episode_passes_the_check_of_its_own_contract(bag):
    quality = check_episode(bag)
    assert quality.passed and not quality.verdicts, [v.text for v in quality.verdicts]
    rates = {stream.name: stream.median_hz for stream in quality.streams}
    assert rates['view1'] == pytest.approx(5.0, rel=0.01)
    assert rates['sensor'] == pytest.approx(650.0, rel=0.01)
    assert rates['joints'] == rates['pose'] == pytest.approx(50.0, rel=0.01)
    assert rates['chunks'] == pytest.approx(10.0, rel=0.01)


def test_topics_and_types_are_those_of_the_manifest_and_absent_ones_are_named(bag):
    from vla_data.recording.manifest import load_manifest

    manifest = load_manifest(MANIFEST).resolved()
    assert {n: t.type for n, t in bag.topics.items()}.items() <= {
        n: t.type for n, t in manifest.items()
    }.items()
    absent = {name.strip('/') for name in manifest} - {n.strip('/') for n in bag.topics}
    assert {'vlm/features', 'vlm/info'} <= absent
    assert {name.strip('/') for name in bag.info.extra['absent_topics']} == absent


def test_info_says_how_it_was_made(bag):
    info = bag.info
    assert (info.task, info.operator, info.source) == (INSERT, 'scripted', 'headless')
    assert info.extra['seed'] == 3 and info.contract() is not None and info.software_version
    assert info.outcome == 'failure'  # there was no time to insert
    assert info.extra['judgement']['held'] is False
    assert info.extra['chunks_refused'] <= 4  # those before the gate was enabled
    assert info.loss['/sensor/samples']['written'] == bag.topics['/sensor/samples'].count


def test_samples_are_full_and_young(bag):
    with SampleReader(bag.path) as reader:
        samples = list(reader)
    assert len(samples) > 15
    later = [s for s in samples if s.tick_ns > samples[0].tick_ns + 300_000_000]
    for sample in later:
        assert sample.window_mask.all() and len(sample.views) == 5
        assert 0.02 < sample.sensor_age_s < 0.05 and 0.0 <= sample.state_age_s < 0.03
        assert 0.04 < sample.image_age_s.min() and sample.image_age_s.max() < 0.3
        assert sample.task == INSERT and sample.recorded is not None


def test_actions_are_what_the_robot_was_told_and_did(bag):
    with SampleReader(bag.path) as reader:
        samples = [s for s in reader if s.action_mask.all()]
    moving = samples[5:]
    assert max(np.linalg.norm(s.action[:, :3].sum(axis=0)) for s in moving) > 0.003, 'it moved'
    for sample in moving:
        moved_m, asked_m = sample.action[:, :3].sum(axis=0), sample.recorded.delta[:, :3].sum(0)
        assert np.linalg.norm(moved_m - asked_m) < 0.0012  # the arm follows 0.05 s later


def test_actions_equal_the_recorded_poses(bag):
    from vla_ros.convert import pose_arrays

    poses = {
        m.header.stamp.sec * 10**9 + m.header.stamp.nanosec: pose_arrays(m)
        for _, _, m in bag.messages(['/robot/tcp_pose'])
    }
    with SampleReader(bag.path) as reader:
        sample = reader[8]
    begin, end = poses[sample.tick_ns], poses[sample.tick_ns + 100_000_000]
    np.testing.assert_allclose(sample.action[0, :3], end[0] - begin[0], atol=1e-5)
    turn = relative_rotvec(begin[1], end[1])
    np.testing.assert_allclose(sample.action[0, 3:], turn, atol=1e-4)


def test_commands_were_executed_by_an_enabled_gate(bag):
    reports = [m for _, _, m in bag.messages(['/robot/command_status'])]
    assert {m.gate for m in reports} == {'enabled'}
    assert sum(m.result == 0 for m in reports[3:]) > 0.9 * len(reports[3:])
    states = [m for _, _, m in bag.messages(['/robot/status'])]
    assert states and all(m.enabled and m.homed and m.state == 1 for m in states)


def everything(path):
    with open_bag(path) as bag:
        return [(topic, log_ns, bytes(data)) for topic, log_ns, data in bag.raw()]


def test_same_seed_gives_the_same_messages_byte_for_byte(made, tmp_path):
    again, _ = make(tmp_path / 'again')
    assert everything(again) == everything(made[0])


def test_number_of_processes_changes_nothing_but_the_time(tmp_path):
    orders = [
        replace(batch(tmp_path / str(jobs), count=2, seconds=0.3), jobs=jobs) for jobs in (1, 2)
    ]
    told = []
    for order in orders:
        generate(order, told.append)
    assert len(told) == 4
    for name in orders[0].names():
        assert everything(orders[0].out / name) == everything(orders[1].out / name)


def test_pushes_are_marked_and_change_the_motion(tmp_path):
    pushed, _ = make(tmp_path / 'pushed', noise=True, seconds=SECONDS)
    with open_bag(pushed) as bag:
        assert bag.info.tags == ('disturbed',)
        assert bag.info.extra['generator']['noise'] is True


def test_robot_holds_still_when_that_is_the_task(tmp_path):
    still, results = make(tmp_path / 'still', task='still', seconds=1.0)
    with open_bag(still) as bag:
        assert check_episode(bag).passed and bag.info.outcome == results[0]['outcome'] == ''
        chunks = [m for _, _, m in bag.messages(['/action/chunk'])]
        assert all(m.reaction == m.HOLD and not np.any(m.delta) for m in chunks)
        poses = [m.pose.position for _, _, m in bag.messages(['/robot/tcp_pose'])]
    path = np.array([[p.x, p.y, p.z] for p in poses])
    assert np.ptp(path, axis=0).max() < 1e-4


def test_an_insertion_that_lingers_shows_how_the_needle_is_held():
    from vla_cli.examples.headless import HeadlessEpisode

    episode = HeadlessEpisode.__new__(HeadlessEpisode)
    episode._goal, episode._held_ns = Goal.INSERT, None
    episode._options = EpisodeOptions(linger=2.0)
    episode._devices = SimpleNamespace(now_ns=10 * NS, state=state())
    episode._judge = Judge(0.018)
    assert not episode._done() and episode._outcome() == 'failure'
    for _ in range(round(HOLD_S / PHYSICS_STEP_S)):
        episode._look()
    assert not episode._done() and episode._outcome() == 'success'
    episode._devices.state = state(depth_error_m=0.001)  # pushed off, yet it succeeded
    episode._look()
    episode._devices.now_ns = 12 * NS
    assert episode._done() and episode._outcome() == 'success'
    episode._judge.look(state(force_n=0.5, flags=0))
    assert episode._outcome() == 'failure', 'the rim was touched'


def test_a_retraction_begins_inside_the_eye_and_ends_at_rest_outside(tmp_path):
    path, results = make(tmp_path / 'out', task='retract', noise=True, seconds=None)
    with open_bag(path) as bag:
        assert check_episode(bag).passed and bag.info.outcome == 'success'
        assert bag.info.task == 'retract the needle'
        chunks = [m for _, _, m in bag.messages(['/action/chunk'])]
        first, last = (np.reshape(m.delta, (8, 6)) for m in (chunks[3], chunks[-1]))
        poses = [m.pose.position for _, _, m in bag.messages(['/robot/tcp_pose'])]
        pictures = [log for _, log, _ in bag.messages(['/cameras/view1/image_raw/compressed'])]
    assert results[0]['outcome'] == 'success' and results[0]['duration_s'] < 25.0
    assert {m.task for m in chunks} == {bag.info.task}
    path_m = np.array([[p.x, p.y, p.z] for p in poses])
    assert np.linalg.norm(path_m[-1] - path_m[0]) > 0.03, 'out of the eye and back'
    assert np.linalg.norm(first[:, :3].sum(0)) > 0.002 > np.linalg.norm(last[:, :3].sum(0))
    assert pictures and min(pictures) - bag.start_ns < 400_000_000


def test_summary_tells_the_speed(made):
    text = summary(made[1], 10.0)
    assert text.startswith('1 episodes, 0 succeeded')
    assert '0.25 x real time (' in text and 'x for each core' in text


def state(depth_error_m=0.0, force_n=0.0, flags=1):
    values = np.zeros(WIDTH)
    values[COLUMNS.depth] = 0.018 - HOLD_ABOVE_TISSUE_M + depth_error_m
    values[COLUMNS.force], values[COLUMNS.flags] = force_n, flags
    return values


@pytest.mark.parametrize(
    ('first', 'outcome'),
    [
        (state(), 'success'),
        (state(force_n=0.2, flags=0), 'failure'),  # the rim
        (state(flags=5), 'failure'),  # the tissue
        (state(depth_error_m=0.001), 'success'),  # came there later
    ],
)
def test_insertion_succeeds_after_a_second_at_depth_without_the_rim(first, outcome):
    judge = Judge(0.018)
    judge.look(first)
    steps = round(HOLD_S / PHYSICS_STEP_S)
    for _ in range(steps - 2):
        judge.look(state())
    assert not judge.held and judge.outcome == 'failure'
    judge.look(state())
    judge.look(state())
    assert judge.held and judge.outcome == outcome


@pytest.mark.parametrize(
    ('words', 'text'),
    [
        (['--record', '0', '--out', 'x'], "--record: '0' is not a number of episodes"),
        (['--record', '1', '--out', 'x', '--seed', '-1'], "'-1' is not a seed from 0"),
        (['--record', '1'], '--out'),
        (['--headless', '--out', 'x'], '--record N'),
        (['--record', '1', '--out', 'x', '--task', 'still'], '--headless only'),
        (['--record', '1', '--out', 'x', '--headless', '--width', '3'], '--width 3'),
        (['--record', '1', '--out', 'x', '--headless', '--hight', '3'], '--height'),
        (['--record', '1', '--out', 'x', '--headless', '--jobs', '0'], 'from 1 to 256'),
        (['--record', '2', '--out', 'x', '--headless', '--seed', '999'], 'for evaluation'),
        (['--record', '1', '--out', '/proc/x/y', '--headless'], '/proc/x/y'),
        (['--record', '1', '--out', 'x', '--headless', '--contract', 'no'], 'no'),
    ],
)
def test_wrong_requests_are_refused_in_one_line(words, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['sim', *words]) == 1
    said = capsys.readouterr()
    assert text in said.err and len(said.err.strip().splitlines()) == 1


def test_an_existing_episode_is_not_touched(made):
    with pytest.raises(VlaError, match='exists already'):
        check(batch(made[0].parent))
