"""`vla eval`: what it refuses before it starts, and what it tells the running graph."""

import json
from pathlib import Path

import pytest

from vla_cli import workspace
from vla_cli.arguments import Parser
from vla_cli.evaluation.arguments import add_arguments, live_arguments, read_options, seed_range
from vla_cli.main import main
from vla_core.errors import VlaError

CONTRACT = Path(__file__).resolve().parents[3] / 'launch/config/contract/insertion.yaml'


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
