"""What the head that tells costs where it is wrong, and nothing where nobody knows better."""

import pytest
import torch

from vla_training.pretrain.teller import Teller, truth_loss

TRUTH = torch.tensor([[0.001, -0.002, 0.02, 0.01, 0.0, -0.02, 5e-4, 0.0, -3e-4, 0.01, 0.0, 0.0]])


def test_the_truth_costs_nothing_and_an_unknown_one_neither():
    assert truth_loss(TRUTH, TRUTH).item() == 0.0
    unknown = TRUTH.clone()
    unknown[0, 3] = torch.nan
    guess = torch.ones(1, 12, requires_grad=True)
    loss = truth_loss(guess, unknown)
    loss.sum().backward()
    assert loss.item() == 0.0 and not guess.grad.any()


@pytest.mark.parametrize('place', range(12))
def test_every_number_counts(place):
    guess = TRUTH.clone()
    guess[0, place] += 0.001
    assert truth_loss(guess, TRUTH).item() > 0.0


def test_a_millimetre_costs_more_near_the_opening():
    far = TRUTH.clone()
    far[0, 2] = 0.2
    off = torch.zeros_like(TRUTH)
    off[0, 0] = 0.001
    assert truth_loss(TRUTH + off, TRUTH) > 2 * truth_loss(far + off, far)


def test_it_tells_as_many_numbers_as_asked_for_from_any_number_of_tokens():
    teller = Teller(32, 6)
    assert teller(torch.randn(3, 7, 32)).shape == (3, 6)
    assert 'units' not in teller.state_dict()
