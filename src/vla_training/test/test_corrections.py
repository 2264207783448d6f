"""Corrections on disk and in batches: whole, of one encoder, beside recordings."""

import json

import numpy as np
import pytest
import torch

from vla_core.errors import VlaError
from vla_policy.expert.batch import ExpertBatch
from vla_training.data import corrections
from vla_training.data.batch import Batch, TRUTH
from vla_training.data.corrected import CorrectionDataset
from vla_training.data.corrections import Correction, correction_files, INPUTS
from vla_training.data.joined import JoinedDataset
from vla_training.data.weights import sample_weights

VIEWS = 5


def correction(number):
    """A tick whose every number tells which it is."""
    inputs = ExpertBatch(
        torch.full((1, 6, 4), float(number)), torch.full((1, 5, 6), number + 0.5),
        torch.tensor([[True, True, False, True, True]]), torch.full((1, 12), float(number)),
        torch.tensor([0.01]), torch.full((1, 10), 0.4), torch.full((1, 10, 6), float('nan')),
        torch.tensor([0.2]),
    )  # fmt: skip
    return Correction(inputs, np.full((8, 6), number * 1e-3), np.full(TRUTH, number * 1e-2))


@pytest.fixture
def folder(tmp_path, nano):
    corrections.claim(tmp_path / 'd', nano, {'axis_m': 0.0008})
    corrections.write(tmp_path / 'd', 'one', [correction(0), correction(1)])
    corrections.write(tmp_path / 'd', 'two', [correction(2)])
    return tmp_path / 'd'


def test_what_was_written_comes_back(folder, nano):
    files = correction_files([folder], nano)
    assert [path.name for path in files] == ['one.npz', 'two.npz']
    data = CorrectionDataset(files, VIEWS, 2)
    assert len(data) == 3 and data.episode_of.tolist() == [0, 0, 1]
    batch = data.batch(np.array([2, 0]), np.random.default_rng(0))
    for row, number in enumerate((2, 0)):
        wanted = correction(number)
        for name in INPUTS:
            found, own = getattr(batch.inputs, name)[row], getattr(wanted.inputs, name)[0]
            if name == 'window':
                own = own.masked_fill(~wanted.inputs.window_mask[0][:, None], 0.0)
            torch.testing.assert_close(found, own, equal_nan=True)
        np.testing.assert_allclose(batch.actions[row], wanted.actions, rtol=1e-6)
        np.testing.assert_allclose(batch.truth[row], wanted.truth, rtol=1e-6)
    assert batch.mask.all()


def test_where_corrections_cannot_lie_is_said(folder, nano, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(VlaError, match='cannot be written there.*choose another folder'):
        corrections.claim(tmp_path / 'file' / 'x', nano, {})
    for text, problem in (('{', 'cannot be read'), ('[]', 'another encoder')):
        (folder / 'corrections.json').write_text(text)
        with pytest.raises(VlaError, match=problem):
            corrections.claim(folder, nano, {})


def test_an_absent_sensor_is_masked_as_a_whole(folder, nano):
    data = CorrectionDataset(correction_files([folder], nano), VIEWS, 2, sensor=False)
    inputs = data.batch(np.array([1]), np.random.default_rng(0)).inputs
    assert not inputs.window_mask.any() and not inputs.window.any()


def test_an_episode_is_there_when_its_rows_are(folder):
    assert corrections.is_written(folder, 'one') and not corrections.is_written(folder, 'three')
    (folder / 'three.window.npy').write_bytes(b'')  # as a killed run leaves it
    assert not corrections.is_written(folder, 'three')


def test_episodes_without_a_tick_are_passed_over_and_only_such_are_an_error(folder, nano):
    corrections.write(folder, 'empty', [])
    files = correction_files([folder], nano)
    assert len(CorrectionDataset(files, VIEWS, 2)) == 3
    with pytest.raises(VlaError, match='no tick'):
        CorrectionDataset([path for path in files if path.stem == 'empty'], VIEWS, 2)


def test_features_of_another_encoder_are_refused(folder, init):
    for use in (
        lambda: correction_files([folder], init),
        lambda: corrections.claim(folder, init, {'axis_m': 0.0008}),
    ):
        with pytest.raises(VlaError, match=r'another encoder.*vla dagger'):
            use()


def test_answers_of_two_demonstrators_do_not_get_into_one_folder(folder, nano):
    corrections.claim(folder, nano, {'axis_m': 0.0008})
    with pytest.raises(VlaError, match='demonstrator with other settings.*another folder'):
        corrections.claim(folder, nano, {'axis_m': 0.0004})
    assert len(correction_files([folder], nano)) == 2  # to be learned from all the same


def cut(path, length):
    path.write_bytes(path.read_bytes()[:length])


def change(path, **values):
    """Lay other arrays over those of an episode."""
    with np.load(path) as file:
        there = dict(file)
    np.savez(path, **{**there, **values})


@pytest.mark.parametrize(
    'spoil',
    [
        lambda folder: cut(folder / 'one.npz', 300),
        lambda folder: cut(folder / 'one.npz', 0),
        lambda folder: cut(folder / 'one.features.npy', 0),
        lambda folder: cut(folder / 'one.features.npy', 140),
        lambda folder: np.save(folder / 'one.features.npy', np.zeros((1, 6, 4), np.float16)),
        lambda folder: np.save(folder / 'one.window.npy', np.zeros((2, 4, 6), np.float16)),
        lambda folder: change(folder / 'one.npz', state=np.zeros(2, np.float32)),
        lambda folder: change(folder / 'one.npz', image_age_s=np.zeros((2, 9), np.float32)),
        lambda folder: change(folder / 'one.npz', truth=np.zeros((2, 5), np.float32)),
    ],
)
def test_a_damaged_episode_is_named_before_anything_is_learned(folder, nano, spoil):
    spoil(folder)
    with pytest.raises(VlaError, match=r'one\.npz cannot be read.*remove it and run vla dagger'):
        CorrectionDataset(correction_files([folder], nano), VIEWS, 2)


def test_episodes_of_other_sizes_are_named_before_anything_is_learned(folder, nano):
    change(folder / 'two.npz', actions=np.zeros((1, 4, 6), np.float32))
    with pytest.raises(VlaError, match=r'two\.npz: actions is float32 \(4, 6\).*one\.npz'):
        CorrectionDataset(correction_files([folder], nano), VIEWS, 2)


@pytest.mark.parametrize(
    ('text', 'problem'), [('', 'cannot be read'), ('{', 'cannot be read'), ('[]', 'another')]
)
def test_a_note_that_was_cut_off_is_named(folder, nano, text, problem):
    (folder / 'corrections.json').write_text(text)
    for use in (
        lambda: correction_files([folder], nano),
        lambda: corrections.claim(folder, nano, {'axis_m': 0.0008}),
    ):
        with pytest.raises(VlaError, match=f'{folder}.*{problem}'):
            use()


def test_what_a_folder_holds_is_collected_in_one_way(tmp_path, nano):
    new = tmp_path / 'new'
    corrections.claim(new, nano, {})
    corrections.note_setting(new, {'policy': 'one', 'delay_s': (0.0, 0.8)})
    corrections.write(new, 'one', [correction(0)])
    corrections.claim(new, nano, {})
    corrections.note_setting(new, {'policy': 'one', 'delay_s': (0.0, 0.8)})
    with pytest.raises(VlaError, match='policy was one, is other.*another folder'):
        corrections.note_setting(new, {'policy': 'other', 'delay_s': (0.0, 0.8)})
    assert len(correction_files([new], nano)) == 1


def test_a_folder_of_before_which_does_not_tell_how_is_taken_as_it_is(folder):
    note = (folder / 'corrections.json').read_text()
    corrections.note_setting(folder, {'policy': 'one'})
    corrections.note_setting(folder, {'policy': 'other'})
    assert (folder / 'corrections.json').read_text() == note and json.loads(note)


def test_fewer_passes_may_be_used_than_were_kept_and_not_more(folder, nano):
    files = correction_files([folder], nano)
    data = CorrectionDataset(files, VIEWS, 1)
    inputs = data.batch(np.arange(2), np.random.default_rng(0)).inputs
    assert inputs.features.shape == (2, 3, 4)
    assert inputs.image_age_s.shape == (2, 5) and inputs.view_motion.shape == (2, 5, 6)
    with pytest.raises(VlaError, match=r'one\.npz holds 2 passes, 3 are wanted'):
        CorrectionDataset(files, VIEWS, 3)


def test_a_folder_without_corrections_and_a_spoilt_file_are_named(folder, nano, tmp_path):
    with pytest.raises(VlaError, match='holds no corrections; vla dagger makes them'):
        correction_files([tmp_path], nano)
    (folder / 'two.npz').write_bytes(b'nonsense')
    with pytest.raises(VlaError, match=r'two\.npz cannot be read.*run vla dagger again'):
        CorrectionDataset(correction_files([folder], nano), VIEWS, 2)


@pytest.mark.parametrize('name', ['features', 'window', 'state', 'actions'])
def test_a_number_that_is_not_finite_is_told_with_its_file(folder, nano, name):
    row = correction(5)
    (row.actions if name == 'actions' else getattr(row.inputs, name)[0])[0] = float('nan')
    corrections.write(folder, 'bad', [row])
    with pytest.raises(VlaError, match=rf'bad\.npz: {name} holds a number that is not finite'):
        CorrectionDataset(correction_files([folder], nano), VIEWS, 2)


def test_what_is_masked_may_be_no_number(folder, nano):
    row = correction(5)
    row.inputs.window[0, 2] = float('nan')
    corrections.write(folder, 'three', [row])
    batch = CorrectionDataset(correction_files([folder], nano), VIEWS, 2).batch(
        np.array([2]), np.random.default_rng(0)
    )
    assert batch.inputs.window.isfinite().all()


class Recordings:
    """Two episodes with three samples, told by their actions: 100, 101, 102."""

    paths, names = ('a', 'b'), [{'demos'}, {'demos', 'disturbed'}]
    episode_of = np.array([0, 1, 1])

    def __len__(self):
        return 3

    def batch(self, indices, rng):
        rows = [correction(100 + index) for index in indices]
        inputs = ExpertBatch.stack([row.inputs for row in rows])
        actions = torch.from_numpy(np.stack([row.actions for row in rows])).float()
        mask = torch.ones(actions.shape[:2]).bool()
        return Batch(inputs, actions, mask, torch.full((len(rows), TRUTH), torch.nan))


@pytest.fixture
def joined(folder, nano):
    corrected = CorrectionDataset(correction_files([folder], nano), VIEWS, 2)
    return JoinedDataset(Recordings(), corrected)


def test_corrections_of_other_sizes_than_the_recordings_are_told(folder, nano):
    corrected = CorrectionDataset(correction_files([folder], nano), VIEWS, 1)
    with pytest.raises(VlaError, match=r'do not fit.*features is \(3, 4\) a tick, there \(6, 4\)'):
        JoinedDataset(Recordings(), corrected)


@pytest.mark.parametrize('order', [[4, 0, 3, 2], [5, 3], [2, 1], [0, 5, 1, 4, 2, 3]])
def test_a_joined_batch_keeps_the_order_it_was_asked_for(joined, order):
    batch = joined.batch(np.array(order), np.random.default_rng(0))
    told = [100, 101, 102, 0, 1, 2]
    wanted = torch.tensor([told[index] for index in order], dtype=torch.float32)
    torch.testing.assert_close(batch.actions[:, 0, 0], wanted * 1e-3)
    torch.testing.assert_close(batch.inputs.state[:, 0], wanted)
    torch.testing.assert_close(batch.truth[:, 0].isnan(), wanted >= 100)


def test_priorities_name_recordings_and_corrections(joined):
    assert joined.episode_of.tolist() == [0, 1, 1, 2, 2, 3]
    weights = sample_weights(joined, {'d': 3.0, 'disturbed': 2.0})
    np.testing.assert_allclose(weights * 14, [1, 2, 2, 3, 3, 3])
    with pytest.raises(VlaError, match='did you mean demos'):
        sample_weights(joined, {'demo': 2.0})
