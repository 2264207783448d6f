"""`vla episodes ...`, and what `vla record` and `vla replay` refuse before they start."""

import json

import pytest

from vla_cli import main as vla
from vla_data.episode import EpisodeInfo
from vla_data.recording.writer import EpisodeWriter
from vla_data.tagging import read_info
from vla_data.types import make_typestore

NS = 1_000_000_000
START_NS = 1_700_000_000 * NS
STRING = 'std_msgs/msg/String'


def make(path, seconds=2, **info):
    store = make_typestore()
    with EpisodeWriter(path, EpisodeInfo(started_ns=START_NS, **info)) as writer:
        writer.add_topic('/task', STRING)
        for k in range(seconds + 1):
            data = bytes(store.serialize_cdr(store.types[STRING](data=str(k)), STRING))
            writer.write('/task', START_NS + k * NS, START_NS + k * NS, data)
    return path


@pytest.fixture
def folder(tmp_path):
    make(tmp_path / 'a', task='insert', outcome='success', tags=('train',))
    make(tmp_path / 'b', seconds=5, task='withdraw', outcome='failure')
    return tmp_path


def run(capsys, *argv):
    code = vla.main([str(word) for word in argv])
    output = capsys.readouterr()
    return code, output.out, output.err


def test_list_shows_one_line_an_episode(capsys, folder):
    code, out, err = run(capsys, 'episodes', 'list', folder)
    assert (code, err) == (0, '')
    lines = out.splitlines()
    assert len(lines) == 3
    assert lines[1].split()[0] == 'a' and 'success' in lines[1] and 'train' in lines[1]
    assert '5.0' in lines[2]


def test_list_as_json_is_complete(capsys, folder):
    code, out, _ = run(capsys, 'episodes', 'list', folder, '--json')
    first = json.loads(out)[0]
    assert code == 0
    assert (first['task'], first['outcome'], first['messages']) == ('insert', 'success', 3)
    assert first['topics'] == {'/task': 3}


def test_what_cannot_be_read_is_shown_and_gives_exit_code_1(capsys, folder):
    (folder / 'c').mkdir()
    (folder / 'c' / 'c_0.mcap').write_bytes(b'no recording')
    code, out, _ = run(capsys, 'episodes', 'list', folder)
    assert code == 1 and 'is no MCAP file' in out
    code, out, err = run(capsys, 'episodes', 'filter', folder)
    assert code == 1 and 'is no MCAP file' in err
    assert out.split() == [str(folder / 'a'), str(folder / 'b')]


def test_filter_prints_the_paths_that_match(capsys, folder):
    assert run(capsys, 'episodes', 'filter', folder, '--outcome', 'success')[1] == (
        f'{folder / "a"}\n'
    )
    assert run(capsys, 'episodes', 'filter', folder, '--min-seconds', 4)[1] == f'{folder / "b"}\n'
    assert run(capsys, 'episodes', 'filter', folder, '--until', '2020-01-01') == (0, '', '')


def test_tag_changes_several_episodes(capsys, folder):
    code, out, _ = run(
        capsys, 'episodes', 'tag', folder / 'a', folder / 'b', '--add', 'x', '--remove', 'train',
        '--outcome', 'aborted')  # fmt: skip
    assert code == 0 and len(out.splitlines()) == 2
    for name in 'ab':
        assert read_info(folder / name).tags == ('x',)
        assert read_info(folder / name).outcome == 'aborted'


@pytest.mark.parametrize(
    ('argv', 'expected'),
    [
        (['episodes', 'list', '/no/such'], '/no/such: no such folder'),
        (['episodes', 'lst'], 'did you mean list?'),
        (['episodes', 'tag', '/no/such', '--add', 'a'], 'is no episode'),
        (['episodes', 'tag', '/tmp'], 'nothing to change'),
        (['episodes', 'filter', '/tmp', '--outcome', 'sucess'], 'expected one of'),
        (['episodes', 'filter', '/tmp', '--since', 'monday'], 'expected a date'),
        (['replay', '/no/such'], '/no/such'),
        (['replay', '/no/such', '--rate', '0'], 'not a number above 0'),
        (['record', '--episodes', '3'], '--episodes needs --seconds'),
        (['record', '--seconds', '1', '--episodes', '0'], 'expected 1 or more'),
        (['record', '--seconds', '1', '--outcome', 'sucess'], 'invalid choice'),
        (['record', '--sceonds', '1'], 'did you mean --seconds?'),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(capsys, argv, expected):
    code, _, err = run(capsys, *argv)
    assert code == 1
    assert expected in err
    assert err.count('\n') == 1 and 'Traceback' not in err


def test_record_without_a_terminal_needs_a_length(capsys, monkeypatch):
    monkeypatch.setattr('sys.stdin.isatty', lambda: False, raising=False)
    code, _, err = run(capsys, 'record')
    assert code == 1 and 'give --seconds' in err


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (['--start', '100'], 'only 2.0 s long'),
        (['--topics', 'tsk'], 'no topic tsk'),
        (['--exclude', 'task'], 'no messages of these topics'),
    ],
)
def test_a_replay_that_cannot_be_is_refused_before_ros_starts(capsys, folder, options, expected):
    code, _, err = run(capsys, 'replay', folder / 'a', *options)
    assert code == 1 and expected in err
