"""`vla pretrain`: what it refuses before it starts."""

import pytest

from vla_cli.main import main


@pytest.mark.parametrize(
    ('words', 'error'),
    [
        (('--threads', '0'), '--threads'),
        (('--batch', '0'), '--batch'),
        (('--sets', '0'), '--sets'),
        (('--jobs', '-1'), '--jobs'),
        (('--seed', '-1'), '--seed'),
        (('--steps', '1.5'), '--steps'),
        (('--trunk-steps', '-2'), '--trunk-steps'),
        (('--sensing-steps', 'many'), '--sensing-steps'),
    ],
)
def test_numbers_that_cannot_be_are_refused_in_one_line(capsys, tmp_path, words, error):
    folders = [part for name in ('checkpoint', 'scenes', 'out')
               for part in (f'--{name}', str(tmp_path / name))]  # fmt: skip
    assert main(['pretrain', *folders, *words]) == 1
    said = capsys.readouterr().err
    assert error in said and 'is not a whole number from' in said and said.count('\n') == 1
    assert not list(tmp_path.iterdir())
