"""What a run leaves to go on from: damaged, foreign, replaced while it was away."""

from types import SimpleNamespace

import numpy as np
import pytest
from training import make_config, make_trainer

from vla_core.errors import VlaError
from vla_training.train.identity import run_identity
from vla_training.train.log import RunLog
from vla_training.train.state import _check_run


@pytest.mark.parametrize(
    'text', ['', '[]', '3', '{"format": 1}', '{"format": 1, "step": 4, "best": "x", "run": {}}']
)
def test_a_state_that_is_none_is_told_in_one_line_that_says_what_to_do(tmp_path, text):
    trainer = make_trainer(make_config(tmp_path, steps=4))
    trainer.train()
    (trainer._run.state.newest / 'state.json').write_text(text)
    with pytest.raises(VlaError, match='cannot be read.*train again: remove .*, or choose'):
        make_trainer(make_config(tmp_path, steps=4)).resume()


def test_a_state_of_another_version_is_told_as_such(tmp_path):
    trainer = make_trainer(make_config(tmp_path, steps=4))
    trainer.train()
    (trainer._run.state.newest / 'state.json').write_text('{"format": 0}')
    with pytest.raises(VlaError, match='of another version'):
        trainer.resume()


def test_a_log_that_cannot_be_written_anew_stays_as_it_was(tmp_path, monkeypatch):
    first = RunLog(tmp_path)
    first.write(1, 'train', {'loss': 1.0})
    first.write(2, 'train', {'loss': 0.5})
    first.close()
    before = (tmp_path / 'log.jsonl').read_text()

    def full(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(VlaError, match='No space left on device'):
        RunLog(tmp_path, 1)
    assert (tmp_path / 'log.jsonl').read_text() == before


@pytest.fixture
def identity(tmp_path):
    """Maker of a run's identity: two recordings, one of which validates, and a correction."""
    corrected = tmp_path / 'corrected.npz'

    def make(digest='1', held='held', weights=(0.5, 0.5), rows=b'rows'):
        corrected.write_bytes(rows)
        recorded = SimpleNamespace(paths=('episodes/a',), digests=[digest])
        side = SimpleNamespace(paths=('episodes/a', corrected))
        other = SimpleNamespace(paths=(f'episodes/{held}',), digests=['2'])
        data = SimpleNamespace(train=side, validation=other, recordings=(recorded, other))
        info = SimpleNamespace(checkpoint_hash='c')
        return run_identity(make_config(tmp_path), info, data, np.array(weights))

    return make


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'digest': '3'}, 'learned from episodes/a was content 1, is content 3'),
        ({'held': 'b'}, 'validated with episodes/b is new; .*episodes/held is gone'),
        ({'weights': (0.4, 0.6)}, 'weights of samples was'),
        ({'rows': b'other'}, r'learned from .*corrected\.npz was content'),
    ],
)
def test_what_differs_from_the_run_that_is_to_go_on_is_named(identity, tmp_path, change, message):
    numbers = {'format': 1, 'run': identity()}
    _check_run(tmp_path, numbers, identity())
    with pytest.raises(VlaError, match=message):
        _check_run(tmp_path, numbers, identity(**change))
