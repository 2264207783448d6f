"""The loop: it learns, resumes bit for bit, averages, clips, stops and tells."""

import os
import signal

import numpy as np
import pytest
import torch
from training import MadeUpData, make_config, make_model, make_trainer

from vla_core.errors import VlaError
from vla_training.train.average import Average
from vla_training.train.config import OptimizerConfig
from vla_training.train.log import read_log
from vla_training.train.model import parameter_groups
from vla_training.train.state import Progress
from vla_training.train.validation import Validation

FAST = OptimizerConfig(learning_rate=3e-3, sensor_learning_rate=3e-3, warm_up=0.05)


def weights_of(trainer_model):
    return {name: value.clone() for name, value in trainer_model.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize('head', ['flow', 'diffusion', 'regression'])
def test_every_head_learns_a_small_set_by_heart(tmp_path, head):
    data = MadeUpData(16)
    model = make_model(head=head)
    config = make_config(
        tmp_path, steps=250, batch=16, accumulation=1, validate_every=1000, save_every=1000,
        optimizer=FAST, averaging=0.0,
    )  # fmt: skip
    validation = Validation(data, 16, 16, 0)
    before = validation.score(model)
    make_trainer(config, model, data).train()
    after = validation.score(model)
    assert before.skill < 0.2 and after.loss < 0.4 * before.loss
    assert after.action_mm < 0.4 * before.action_mm
    assert after.skill > 0.8


@pytest.mark.slow
def test_what_is_learned_is_lost_when_observations_are_shuffled(tmp_path):
    model = make_model()
    config = make_config(tmp_path, steps=300, batch=32, optimizer=FAST, validate_every=1000)
    make_trainer(config, model, MadeUpData(2048)).train()
    validation = Validation(MadeUpData(64, seed=9), 64, 32, 0)
    assert validation.score(model).skill > 0.7
    assert validation.score(model, shuffled=True).skill < 0.0


def test_a_resumed_run_ends_with_the_very_same_weights(tmp_path):
    whole = make_model()
    trainer = make_trainer(make_config(tmp_path / 'whole'), whole)
    assert trainer.train()

    class KilledError(Exception):
        pass

    class DyingData(MadeUpData):
        def batch(self, indices, rng):
            if len(self.asked) >= 19:
                raise KilledError
            return super().batch(indices, rng)

    config = make_config(tmp_path / 'parts')
    with pytest.raises(KilledError):
        make_trainer(config, make_model(), DyingData(96)).train()
    other = make_model(seed=5)
    resumed = make_trainer(config, other)
    resumed.resume()
    assert resumed.progress.step == 8
    assert resumed.train()
    for name, value in weights_of(whole).items():
        assert torch.equal(value, other.state_dict()[name]), name
    for name, value in trainer.average.values.items():
        assert torch.equal(value, resumed.average.values[name]), name
    whole_log = [dict(entry, samples_s=0) for entry in read_log(tmp_path / 'whole')]
    assert [dict(entry, samples_s=0) for entry in read_log(tmp_path / 'parts')] == whole_log


def test_a_run_with_other_settings_is_not_resumed(tmp_path):
    make_trainer(make_config(tmp_path)).train()
    other = make_trainer(make_config(tmp_path, steps=20))
    with pytest.raises(VlaError, match='steps was 12, is 20'):
        other.resume()


def test_resuming_nothing_says_so(tmp_path):
    with pytest.raises(VlaError, match='no run to resume'):
        make_trainer(make_config(tmp_path)).resume()


def test_an_interrupt_ends_the_step_and_saves(tmp_path):
    class Interrupting(MadeUpData):
        def batch(self, indices, rng):
            if len(self.asked) == 10:
                os.kill(os.getpid(), signal.SIGINT)
            return super().batch(indices, rng)

    saved = []
    trainer = make_trainer(make_config(tmp_path, steps=500), None, Interrupting(96), saved.append)
    assert not trainer.train()
    assert trainer.progress.step < 20 and saved[-1] == 'last'
    again = make_trainer(make_config(tmp_path, steps=500))
    again.resume()
    assert again.progress == trainer.progress


def test_a_loss_that_is_no_number_ends_the_run_before_the_weights_change(tmp_path):
    class Poisoned(MadeUpData):
        def batch(self, indices, rng):
            batch = super().batch(indices, rng)
            batch.inputs.features[0] = float('nan')
            return batch

    model = make_model()
    before = weights_of(model)
    with pytest.raises(VlaError, match='step 0: the loss is not a finite number.*learning_rate'):
        make_trainer(make_config(tmp_path), model, Poisoned(96)).train()
    assert all(torch.equal(value, before[name]) for name, value in weights_of(model).items())


def test_a_gradient_that_is_no_number_changes_no_weight(tmp_path, monkeypatch):
    model = make_model()
    before = weights_of(model)
    monkeypatch.setattr(torch.nn.utils, 'clip_grad_norm_', lambda *_: torch.tensor(float('inf')))
    with pytest.raises(VlaError, match='step 0: the gradient is not finite') as caught:
        make_trainer(make_config(tmp_path), model).train()
    assert 'from before' not in str(caught.value)  # there is no state
    assert all(torch.equal(value, before[name]) for name, value in weights_of(model).items())


def test_weights_that_have_run_away_do_not_take_the_place_of_a_good_state(tmp_path):
    model = make_model()
    trainer = make_trainer(make_config(tmp_path, steps=4), model)
    trainer.train()
    with torch.no_grad():
        next(model.parameters()).fill_(float('inf'))
    trainer.progress = Progress(5)
    with pytest.raises(VlaError, match='weights are not finite.*state-000000004 is from before'):
        trainer._save()
    assert trainer._run.state.newest.name == 'state-000000004'


def test_a_validation_that_is_no_number_is_neither_logged_nor_the_best(tmp_path):
    class Turning(MadeUpData):
        """A good score of two batches, then one that is none."""

        def batch(self, indices, rng):
            batch = super().batch(indices, rng)
            if len(self.asked) > 2:
                batch.inputs.features[:] = float('nan')
            return batch

    saved, config = [], make_config(tmp_path)
    trainer = make_trainer(config, save=saved.append, held=Turning(32, seed=1))
    with pytest.raises(VlaError, match='step 12: the validation loss is not.*that validate'):
        trainer.train()
    assert saved == ['best'] and trainer.progress.best is not None
    assert 'NaN' not in (tmp_path / 'log.jsonl').read_text()


def test_a_full_disk_is_told_in_one_line_and_keeps_the_state_before(tmp_path, monkeypatch):
    make_trainer(make_config(tmp_path, steps=4)).train()

    def full(path, tensors):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('vla_training.train.state.write_tensors', full)
    trainer = make_trainer(make_config(tmp_path, steps=8))
    with pytest.raises(VlaError, match='No space left on device.*make room'):
        trainer.train()
    monkeypatch.undo()
    again = make_trainer(make_config(tmp_path, steps=4))
    again.resume()
    assert again.progress.step == 4


def test_best_follows_the_validation_and_last_the_end(tmp_path):
    saved = []
    trainer = make_trainer(make_config(tmp_path, optimizer=FAST), save=saved.append)
    trainer.train()
    assert saved[0] == 'best' and saved[-1] == 'last'
    scores = [entry['loss'] for entry in read_log(tmp_path) if entry['kind'] == 'validation']
    assert len(scores) == 2 and trainer.progress.best == min(scores)
    assert list((tmp_path / 'tensorboard').iterdir())


def test_a_gradient_is_cut_to_its_longest(tmp_path):
    config = make_config(tmp_path, optimizer=OptimizerConfig(clip=1e-3), steps=1, averaging=0.0)
    trainer = make_trainer(config)
    lengths = []
    step = trainer._optimizer.step

    def watched():
        grads = [weight.grad for weight in trainer._weights if weight.grad is not None]
        lengths.append(float(torch.stack([grad.norm() for grad in grads]).norm()))
        step()

    trainer._optimizer.step = watched
    trainer.train()
    assert lengths == [pytest.approx(1e-3, rel=1e-2)]


def test_accumulated_batches_are_one_large_batch(tmp_path):
    one, many = make_model(use_age=False), make_model(use_age=False)  # ages differ by batch
    make_trainer(make_config(tmp_path / 'a', batch=16, accumulation=1, steps=3), one).train()
    make_trainer(make_config(tmp_path / 'b', batch=4, accumulation=4, steps=3), many).train()
    for expected, value in zip(one.parameters(), many.parameters()):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-5)


def test_the_average_follows_the_weights_at_its_pace():
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = Average(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(1.0)
    for step in range(1000, 1010):
        average.update(step)
    assert float(average.values['weight']) == pytest.approx(1 - 0.9**10)
    with average.applied():
        assert model.weight.item() == pytest.approx(1 - 0.9**10)
    assert model.weight.item() == 1.0


@pytest.mark.parametrize(('given', 'rate'), [(None, 1e-4), (2e-5, 2e-5)])
def test_sensor_and_trunk_have_rates_of_their_own_and_only_matrices_decay(given, rate):
    groups = parameter_groups(make_model(), OptimizerConfig(trunk_learning_rate=given))
    assert {(group['name'], group['peak']) for group in groups} == {
        ('sensor', 5e-4), ('trunk', rate), ('expert', 1e-4),
    }  # fmt: skip
    for group in groups:
        decays = {weight.ndim > 1 for weight in group['params']} if group['weight_decay'] else {1}
        assert decays == {True}
    count = sum(len(group['params']) for group in groups)
    assert count == len(list(make_model().parameters()))


def test_weights_of_samples_say_how_often_each_is_drawn():
    from vla_training.train.sampling import SampleOrder

    order = SampleOrder(np.array([0.5, 0.25, 0.25, 0.0]), 0)
    drawn = np.bincount(order.at(0, 400), minlength=4)
    assert drawn[3] == 0 and abs(drawn[0] - 200) <= 2 and abs(drawn[1] - drawn[2]) <= 2
    equal = SampleOrder(np.full(50, 1 / 50), 0)
    assert sorted(equal.at(50, 50)) == list(range(50))
    assert (equal.at(40, 20)[:10] == equal.at(40, 10)).all()
