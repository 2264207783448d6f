"""`vla import`, `vla export`, `vla episodes check` and `plot` on the command line."""

import json
from pathlib import Path
import sys

import pytest

from vla_cli import main as vla

CHECKOUT = Path(__file__).resolve().parents[3]
sys.path.append(str(CHECKOUT / 'src/vla_data/test'))

from legacy_folders import make_collector, make_recv_all, make_v4  # noqa: E402
from made_bag import CONTRACT, Scene, VIEWS, write  # noqa: E402

from vla_data.bag_reader import open_bag  # noqa: E402

FILE = str(CHECKOUT / 'launch/config/contract/insertion.yaml')


def run(capsys, *argv):
    code = vla.main([str(word) for word in argv])
    output = capsys.readouterr()
    return code, output.out, output.err


def test_import_takes_a_folder_of_all_layouts_and_names_what_it_refuses(capsys, tmp_path):
    old, out = tmp_path / 'old', tmp_path / 'episodes'
    make_collector(old, views=2)
    make_recv_all(old)
    make_v4(old)
    argv = ('import', old, '--out', out, '--contract', FILE, '--task', 'insert')
    code, text, err = run(capsys, *argv)
    assert code == 1
    assert '2 imported, 1 refused' in text and 'right_eye' in text
    assert err.count('\n') == 1 and '.h5: its times are float32' in err
    made = sorted(path.name for path in out.iterdir())
    assert made == ['episode_20251027_170308', 'recv_all_20251027_170308']
    with open_bag(out / made[1]) as bag:
        assert bag.info.task == 'insert' and bag.info.source == 'import recv_all'
        assert bag.info.extra['import']['findings']
        assert bag.find('robot/tcp_pose') == '/robot/tcp_pose'
    code, text, err = run(capsys, *argv)
    assert code == 1 and 'exists already' in err


def test_import_takes_the_statements_of_the_user(capsys, tmp_path):
    file = make_v4(tmp_path / 'old')
    code, text, _ = run(
        capsys, 'import', file, '--out', tmp_path / 'x', '--contract', FILE, '--json',
        '--rebuild-times', '15', '--sensor-rate', '700', '--view', 'camera1=view5',
        '--offset', 'sensor=0.01', '--force-scale', '2',
    )  # fmt: skip
    assert code == 0
    report = json.loads(text)[0]
    assert {'view5', 'view2', 'view3', 'sensor', 'robot'} <= set(report['streams'])
    assert Path(report['episode']).is_dir()


@pytest.mark.parametrize(
    ('argv', 'expected'),
    [
        (['/no/such'], 'no such file or folder'),
        (['/tmp', '--clock', 'robott=trusted'], 'did you mean robot?'),
        (['/tmp', '--clock', 'robot=estimate'], 'did you mean estimated?'),
        (['/tmp', '--clock', 'robot'], "'robot' is not NAME=VALUE"),
        (['/tmp', '--offset', 'sensor=x'], "'x' is not a number of seconds"),
        (['/tmp', '--rebuild-times', '-3'], 'not a number above 0'),
    ],
)
def test_mistakes_of_import_are_one_line(capsys, tmp_path, argv, expected):
    code, _, err = run(capsys, 'import', *argv, '--out', tmp_path, '--contract', FILE)
    assert code == 1 and expected in err and err.count('\n') == 1


def test_a_folder_without_recordings_is_told(capsys, tmp_path):
    (tmp_path / 'empty').mkdir()
    code, _, err = run(
        capsys, 'import', tmp_path / 'empty', '--out', tmp_path / 'x', '--contract', FILE
    )
    assert code == 1 and 'no legacy recording' in err


def test_check_fails_with_exit_code_1_and_passes_with_0(capsys, tmp_path):
    good = write(tmp_path / 'good', Scene(seconds=1.5))
    bad = write(tmp_path / 'bad', Scene(seconds=1.5, streams=(*VIEWS, 'joints', 'pose')))
    code, text, _ = run(capsys, 'episodes', 'check', good)
    assert code == 0 and 'pass: 0 failures' in text
    code, text, _ = run(capsys, 'episodes', 'check', good, bad, '--json')
    assert code == 1 and [item['passed'] for item in json.loads(text)] == [True, False]


@pytest.mark.parametrize('verb', ['check', 'plot'])
def test_a_file_that_is_no_bag_is_one_line(capsys, tmp_path, verb):
    path = tmp_path / 'x.mcap'
    path.write_bytes(b'no bag')
    code, _, err = run(capsys, 'episodes', verb, path)
    assert code == 1 and str(path) in err and err.count('\n') == 1


def test_plot_writes_png_and_html(capsys, tmp_path):
    episode = write(tmp_path / 'one', Scene(seconds=1.5))
    code, text, _ = run(capsys, 'episodes', 'plot', episode, '--out', tmp_path / 'pages')
    assert code == 0 and (tmp_path / 'pages/one.png').is_file()
    assert (tmp_path / 'pages/one.html').stat().st_size > 10_000
    assert 'one.html' in text


def test_export_writes_a_dataset_and_a_summary(capsys, tmp_path):
    episode = write(tmp_path / 'one', Scene(seconds=1.5))
    code, text, _ = run(
        capsys, 'export', episode, '--format', 'lerobot', '--out', tmp_path / 'set',
        '--fps', '20', '--size', '64x36', '--views', 'view1,view2', '--json',
    )  # fmt: skip
    assert code == 0
    result = json.loads(text)
    info = json.loads((tmp_path / 'set/meta/info.json').read_text())
    assert info['fps'] == 20 and info['total_frames'] == result['frames'] > 20
    assert info['vla']['contract_hash'] == CONTRACT.hash


@pytest.mark.parametrize(
    ('argv', 'expected'),
    [
        (['--views', 'view9'], 'view9'),
        (['--fps', '0'], '--fps 0'),
        (['--size', '63x36'], 'two even numbers'),
        (['--size', '63'], 'is not WIDTHxHEIGHT'),
        (['--format', 'rlds'], 'invalid choice'),
    ],
)
def test_mistakes_of_export_are_one_line_and_leave_nothing(capsys, tmp_path, argv, expected):
    episode = write(tmp_path / 'one', Scene(seconds=1.0))
    code, _, err = run(capsys, 'export', episode, '--out', tmp_path / 'set', *argv)
    assert code == 1 and expected in err and err.count('\n') == 1
    assert not (tmp_path / 'set').exists()
