"""`vla dagger`: what it refuses before it starts."""

import pytest

from vla_cli.main import main


@pytest.mark.parametrize(
    ('words', 'error'),
    [
        (('--seed', '-1'), "'-1' is not a seed from 0 to"),
        (('--episodes', '0'), "'0' is not a number of episodes from 1 to 100000"),
        (('--jobs', '0'), 'a number of processes from 1 to 256'),
        (('--jobs', '-3'), 'a number of processes from 1 to 256'),
        (('--teacher-share', '2'), 'expected a number from 0 to 1'),
        ((), 'no such checkpoint folder'),
    ],
)
def test_what_cannot_be_collected_is_refused_in_one_line(capsys, tmp_path, words, error):
    folders = ('--checkpoint', str(tmp_path / 'no'), '--out', str(tmp_path / 'out'))
    assert main(['dagger', *folders, *words]) == 1
    said = capsys.readouterr().err
    assert error in said and said.count('\n') == 1
