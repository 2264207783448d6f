"""The command line: verbs, options, errors in one line."""

import json
from pathlib import Path
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from vla_cli import main as vla

PACKAGE = Path(__file__).resolve().parents[1]


def run(capsys, *argv):
    code = vla.main(list(argv))
    output = capsys.readouterr()
    return code, output.out, output.err


@pytest.mark.parametrize(
    ('argv', 'expected'),
    [
        (['dmo'], 'unknown verb dmo; did you mean demo?'),
        (['bench', 'life'], 'needs one of: live, splice, vlm, samples; did you mean live?'),
        (['bench'], 'needs one of: live, splice, vlm, samples'),
        (['bench', 'samples', '/no/such/bag'], '/no/such/bag: does not exist'),
        (['bench', 'samples', '--jump', '3'], 'did you mean --jumps?'),
        (['checkpoint', 'mak'], 'create, show'),
        (['--versin'], 'unknown option --versin; did you mean --version?'),
        (['up', '--chekpoint', 'x'], 'unknown option --chekpoint; did you mean --checkpoint?'),
        (['up', '--set', 'robot_drver.port=1'], 'did you mean robot_driver?'),
        (['up', '--group', 'driver'], 'did you mean drivers?'),
        (['up', '--log-level', 'inf'], 'did you mean info?'),
        (['up', '--params-file', '/no/such.yaml'], '/no/such.yaml'),
        (['up', '--stack', '/no/such.yaml'], 'no such file'),
        (['demo', '--no-simm'], 'did you mean --no-sim?'),
        (['monitor', '--web', 'x'], 'not a port'),
        (['monitor', 'x'], 'unknown argument x'),
        (['train', 'out=x', '--plan', 'preset=nanoo'], 'did you mean nano?'),  # on both sides
        (['train', 'out=x', '--processes', '0'], 'expected a whole number of at least 1'),
        (['bench', 'live', '--seconds', '-1'], 'not a number above 0'),
        (['bench', 'live', '--json', '/no/such/file.json'], 'does not exist'),
        (['bench', 'splice', '--json', '/no/such/file.json'], 'does not exist'),
        (['bench', 'splice', '--ticks', '0'], 'not a number above 0'),
        (['bench', 'splice', '--decay', '-1'], 'ensemble_decay'),
        (['bench', 'splice', '--checkpoint', '/no/such/folder'], '/no/such/folder'),
        (['checkpoint', 'show', '/no/such/folder'], '/no/such/folder'),
        (['checkpoint', 'create'], '--out'),
    ],
)
def test_mistake_is_one_line_with_what_is_valid_and_exit_code_1(capsys, argv, expected):
    code, _, err = run(capsys, *argv)
    assert code == 1
    assert expected in err
    assert err.count('\n') == 1 and 'Traceback' not in err


def test_version_is_that_of_the_package(capsys):
    version = ElementTree.parse(PACKAGE / 'package.xml').findtext('version')
    assert run(capsys, '--version') == (0, f'vla {version}\n', '')


def test_help_names_every_verb(capsys):
    code, out, _ = run(capsys, '--help')
    assert code == 0
    assert all(verb in out for verb in vla.VERBS)


@pytest.mark.parametrize('verb', [v for v in vla.VERBS if v not in ('sim', 'bench vlm')])
def test_every_verb_explains_itself(capsys, verb):
    with pytest.raises(SystemExit) as caught:
        vla.main([*verb.split(), '--help'])
    assert caught.value.code == 0
    assert f'usage: vla {verb}' in capsys.readouterr().out


def test_dry_run_prints_the_commands_and_starts_nothing(capsys):
    code, out, _ = run(capsys, 'up', '--dry-run', '--no-sim', '--set', 'robot_driver.port=7')
    assert code == 0
    assert 'port:=7' in out and 'vla_sim' not in out
    assert len(out.splitlines()) == 6


def test_help_imports_neither_ros_nor_torch_nor_numpy():
    code = (
        'import sys; from vla_cli.main import main; main(["--help"]); '
        'bad = {"rclpy", "torch", "numpy", "rich"} & set(sys.modules); '
        'sys.exit(str(bad) if bad else 0)'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_bench_splice_prints_the_policies_and_writes_them(capsys, tmp_path):
    file = tmp_path / 'splice.json'
    code, out, err = run(capsys, 'bench', 'splice', '--ticks', '40', '--json', str(file))
    assert (code, err) == (0, '')
    assert all(policy in out for policy in ('latest', 'ensemble', 'rtc'))
    policies = json.loads(file.read_text())['results'][0]['policies']
    assert policies['rtc']['ratio_p50'] < policies['latest']['ratio_p50']
