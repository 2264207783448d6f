"""`vla eval`: what it refuses before it starts, and what it tells the running graph."""

import json
from pathlib import Path

import pytest

from vla_cli import workspace
from vla_cli.arguments import Parser
from vla_cli.evaluation.arguments import add_arguments, live_arguments, read_options, seed_range
from vla_cli.evaluation.outputs import check_outputs, write_json
from vla_cli.main import main
from vla_core.errors import VlaError
from vla_training.evaluation import evaluate as evaluation

LAUNCH = Path(__file__).resolve().parents[3] / 'launch'
CONTRACT = LAUNCH / 'config/contract/insertion.yaml'
NANO = LAUNCH / 'checkpoints/nano'
SHORT = ('--limit', '0.3', '--seeds')


def parsed(*argv):
    parser = Parser()
    add_arguments(parser)
    return parser.parse_args(argv)


def refused(capsys, *argv):
    assert main(['eval', *argv]) == 1
    error = capsys.readouterr().err.strip()
    assert '\n' not in error
    return error


@pytest.mark.parametrize(
    ('argv', 'error'),
    [
        ((), 'who acts?'),
        (('--policy', 'mean'), 'give the --checkpoint'),
        (('--policy', 'scripted', '--checkpoint', 'x'), 'needs no checkpoint'),
        (('--policy', 'hold', '--loss', 'sensr=0.1'), 'did you mean sensor?'),
        (('--policy', 'hold', '--loss', 'sensor=much'), 'expected a number'),
        (('--policy', 'hold', '--loss', 'sensor=1.5'), '0 to less than 1'),
        (('--policy', 'hold', '--vl-reuse', '-1'), 'vl_reuse -1: expected'),
        (('--policy', 'hold', '--vlm-delay-ms', 'inf'), 'vlm_delay_s inf: expected'),
        (('--policy', 'hold', '--sweep', 'vlm-hz=1,1e-300'), 'vlm_hz 1e-300: expected'),
        (('--policy', 'hold', '--camera-jitter', 'nan'), 'camera_jitter nan: expected'),
        (('--policy', 'hold', '--seeds', '9-3'), 'expected a range'),
        (('--policy', 'hold', '--json', '/nowhere/x.json'), 'does not exist'),
        (('--policy', 'hold', '--json', '/proc/x.json'), '/proc/x.json: cannot be written'),
        (('--policy', 'hold', '--json', '/tmp'), '--json /tmp: is a folder'),
        (('--policy', 'hold', '--json', ''), 'is a folder'),
        (('--policy', 'hold', '--plot', 'x.xyz'), 'ends in .png, .pdf, .svg'),
        (('--policy', 'hold', '--video', 'v.txt'), 'ends in .mp4'),
        (('--policy', 'hold', '--video', '/proc/v.mp4'), '/proc/v.mp4: cannot be written'),
        (('--policy', 'hold', '--video', 'v.mp4', '--jobs', '2'), 'leave out --jobs'),
        (('--policy', 'scripted', '--video', 'v.mp4', '--live'), 'leave out --live'),
        (('--policy', 'hold', '--video', 'v.mp4', '--sweep', 'task=still'), 'leave out --sweep'),
        (('--policy', 'hold', '--video', 'v.mp4', '--json', 'x.json'), 'leave out --json'),
        (('--policy', 'hold', '--video', 'v.mp4', '--plot', 'x.png'), 'leave out --plot'),
        (('--checkpoint', 'a', '--sweep', 'checkpoint=b'), 'leave out --checkpoint'),
        (('--policy', 'hold', '--task', 'moving', '--sweep', 'task=still'), 'leave out --task'),
        (
            ('--policy', 'hold', '--loss', 'sensor=0.1', '--sweep', 'sensor-loss=0,1'),
            'leave out --loss sensor=0.1',
        ),
        (('--policy', 'hold', '--sweep', 'x=1'), '--sweep x: expected one of'),
        (
            ('--policy', 'hold', '--loss', 'sensor=0.5', '--loss', 'sensor=0.1'),
            'sensor has a number already',
        ),
        (('--policy', 'hold', '--jobs', '0'), 'from 1 to 256'),
        (('--policy', 'hold', '--jobs', '-3'), 'from 1 to 256'),
        (('--policy', 'hold', '--sweep', 'task=still,jumping'), 'jumping'),
        (('--policy', 'hold', '--live'), 'headless episodes'),
        (('--policy', 'scripted', '--live', '--vlm-delay-ms', '0'), 'cannot be injected'),
        (('--checkpoint', 'nowhere'), 'nowhere'),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(capsys, monkeypatch, argv, error):
    monkeypatch.setattr(workspace, 'default_contract', lambda: CONTRACT)
    assert error in refused(capsys, *argv)


def test_the_command_line_reaches_the_options():
    options = read_options(
        parsed(
            '--policy', 'hold', '--vlm-delay-ms', '800', '--vl-reuse', '4', '--task', 'moving',
            '--executor', 'rtc', '--loss', 'sensor=0.1', '--loss', 'chunks=0.2',
        )
    )  # fmt: skip
    assert options.delays.vlm_delay_s == 0.8 and options.delays.vl_reuse == 4
    assert options.task == 'moving' and options.executor == 'rtc'
    assert options.loss.sensor == 0.1 and options.loss.chunks == 0.2
    assert list(seed_range('1000-1002')) == [1000, 1001, 1002] and list(seed_range('7')) == [7]
    with pytest.raises(VlaError):
        seed_range('a-b')


def test_the_running_graph_gets_checkpoint_reuse_and_executor(tmp_path):
    words = live_arguments(
        parsed('--checkpoint', str(tmp_path), '--live', '--executor', 'rtc', '--vl-reuse', '4')
    )
    assert words[:4] == ['--policy', 'model', '--checkpoint', str(tmp_path)]
    assert 'vlm_node.vl_reuse=4' in words and 'action_expert_node.chunk_policy=rtc' in words
    assert 'robot_driver.chunk_policy=rtc' in words


def test_a_result_is_told_and_written(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(workspace, 'default_contract', lambda: CONTRACT)
    path = tmp_path / 'result.json'
    argv = ('--policy', 'hold', '--seeds', '1000-1001', '--limit', '0.3', '--json', str(path))
    assert main(['eval', *argv, '--plot', str(tmp_path / 'spread.png')]) == 0
    output = capsys.readouterr()
    assert '0 of 2 insertions succeeded' in output.out and 'time-out' in output.out
    assert '2/2  seed 1001' in output.err
    data = json.loads(path.read_text())
    assert data['policy'] == 'hold' and data['seeds'] == [1000, 1001] and data['episodes'] == 2
    assert (tmp_path / 'spread.png').stat().st_size > 10_000


def test_a_result_says_who_was_measured_by_which_code(monkeypatch, tmp_path):
    monkeypatch.setattr(workspace, 'default_contract', lambda: CONTRACT)
    path = tmp_path / 'result.json'
    who = ('--policy', 'mean', '--checkpoint', str(NANO), '--json', str(path), *SHORT, '1000')
    told = json.loads((NANO / 'manifest.json').read_text())['checkpoint_hash']
    for more in ((), ('--sweep', 'vlm-delay-ms=0,381')):
        assert main(['eval', *who, *more]) == 0
        data = json.loads(path.read_text())
        assert data['policy'] == 'mean' and data['checkpoint'] == str(NANO)
        assert data['checkpoint_hash'] == told and data['version'].startswith('0.1.0')
        assert data['seeds'] == [1000, 1000] and data['wall_s'] > 0
        assert data['live'] is data['partial'] is False
    assert [row['checkpoint_hash'] for row in data['values'].values()] == [told, told]


def test_outputs_are_tried_without_a_trace(tmp_path):
    there, new = tmp_path / 'there.json', tmp_path / 'new.png'
    there.write_text('kept')
    check_outputs(parsed('--json', str(there), '--plot', str(new)))
    assert there.read_text() == 'kept' and not new.exists()
    with pytest.raises(VlaError, match='--json .* cannot be written'):
        write_json(tmp_path / 'gone' / 'x.json', {})


@pytest.mark.parametrize(
    ('error', 'code'), [(KeyboardInterrupt(), 130), (VlaError('a worker was killed'), 1)]
)
def test_what_was_finished_before_the_end_is_told_and_written(
    capsys, monkeypatch, tmp_path, error, code
):
    monkeypatch.setattr(workspace, 'default_contract', lambda: CONTRACT)
    whole, calls = evaluation.evaluate, []

    def ended(maker, seeds, options, jobs, progress):
        calls.append(seeds)
        if len(calls) == 2:
            return whole(maker, seeds, options, jobs, progress)
        whole(maker, seeds[:1], options, jobs, progress)
        raise error

    monkeypatch.setattr(evaluation, 'evaluate', ended)
    path = tmp_path / 'result.json'
    argv = ['eval', '--policy', 'hold', '--json', str(path), *SHORT, '1000-1001']
    assert main(argv) == code
    assert 'ended early, 1 of 2 episodes' in capsys.readouterr().out
    data = json.loads(path.read_text())
    assert data['partial'] is True and data['episodes'] == 1
    assert main([*argv, '--sweep', 'vlm-delay-ms=0,381,800']) == code
    assert 'ended early, at vlm-delay-ms 381' in capsys.readouterr().out
    data = json.loads(path.read_text())
    assert data['partial'] is True
    rows = {value: (row['episodes'], row['partial']) for value, row in data['values'].items()}
    assert rows == {'0': (2, False), '381': (1, True)}


def test_nothing_finished_is_nothing_written(monkeypatch, tmp_path):
    monkeypatch.setattr(workspace, 'default_contract', lambda: CONTRACT)

    def ended(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, 'evaluate', ended)
    path = tmp_path / 'result.json'
    assert main(['eval', '--policy', 'hold', '--json', str(path), *SHORT, '1000']) == 130
    assert not path.exists()
