"""`vla cache`: episodes that give nothing are named, and nothing at all is a failure."""

import json
from pathlib import Path

import pytest

from vla_cli.main import main
from vla_training.cache import build as building
from vla_training.cache.encoding import Encoded
from vla_training.cache.identity import EncoderIdentity

IDENTITY = EncoderIdentity('b', '', 'p', 32, 16, 'float32')
ARGUMENTS = ('cache', '--checkpoint', 'c', '--episodes', 'e', '--out', 'o')


@pytest.mark.parametrize(('sets', 'code'), [(7, 0), (0, 1)])
def test_episodes_without_an_image_set_are_named(capsys, monkeypatch, sets, code):
    encoded = Encoded(sets, 0, 2, empty=[Path('e/blind')])
    outcome = building.Outcome(IDENTITY, encoded, 0, 0)
    monkeypatch.setattr(building, 'build', lambda order, tell: outcome)
    paths = Path('e/blind'), Path('e/seen')
    monkeypatch.setattr(building, 'episode_folders', lambda folders: paths)
    assert main(list(ARGUMENTS)) == code
    said = capsys.readouterr()
    assert 'e/blind: gives no image set' in said.err and 'vla episodes check' in said.err
    assert f'{sets} image sets of 2 episodes' in said.out and '2 pictures could not' in said.out
    assert main([*ARGUMENTS, '--json']) == code
    assert json.loads(capsys.readouterr().out)['without_sets'] == ['e/blind']


@pytest.mark.parametrize('jobs', ['0', '-1', '1000', 'x'])
def test_numbers_of_processes_that_cannot_be_are_refused(capsys, jobs):
    assert main([*ARGUMENTS, '--jobs', jobs]) == 1
    said = capsys.readouterr().err
    assert 'is not a whole number from 1 to 256' in said and said.count('\n') == 1
