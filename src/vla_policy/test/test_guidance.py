"""Real-time chunking's guidance: on a flow that is known exactly, and through the expert."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vla_policy.checkpoint import load_expert
from vla_policy.checkpoint_create import untrained_statistics
from vla_policy.errors import PolicyInputError
from vla_policy.expert.expert import ActionExpert
from vla_policy.expert.flow import Guide, guided_velocity, integrate, soft_weights


@pytest.fixture(scope='module')
def expert(nano):
    return load_expert(nano)


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(41, 256)).astype(np.float16)


def test_weights_are_one_on_the_committed_steps_decay_and_end_with_the_overlap():
    weights = soft_weights(8, 2, 6)
    assert weights[:2].tolist() == [1, 1]
    assert (torch.diff(weights[1:7]) < 0).all()
    assert weights[6:].tolist() == [0, 0]
    left = (6 - 3) / (6 - 2 + 1)  # step 3, equation 5 of arXiv 2506.07339
    assert weights[3].item() == pytest.approx(left * (np.exp(left) - 1) / (np.e - 1))


@pytest.mark.parametrize(('committed', 'overlap'), [(-1, 6), (7, 6), (1, 9)])
def test_weights_of_an_impossible_prefix_are_refused(committed, overlap):
    with pytest.raises(ValueError, match='committed'):
        soft_weights(8, committed, overlap)


def test_guidance_is_the_papers_formula_on_a_linear_flow():
    matrix = torch.tensor([[0.5, 0.2], [-0.1, 0.3]])
    actions, target = torch.randn(1, 2, 3), torch.randn(1, 2, 3)
    weights, time = torch.tensor([1.0, 0.4]), 0.4

    def velocity(x, time):
        return torch.einsum('ij,bjd->bid', matrix, x)

    found = guided_velocity(velocity, actions, time, Guide(target, weights))
    slope = velocity(actions, time)
    jacobian = torch.eye(2) + (1 - time) * matrix
    error = (target - actions - (1 - time) * slope) * weights[:, None]
    squared = (1 - time) ** 2 / (time**2 + (1 - time) ** 2)
    strength = min(5.0, (1 - time) / (time * squared))
    pull = torch.einsum('ji,bjd->bid', jacobian, error)
    assert torch.allclose(found, slope + strength * pull, atol=1e-6)


def test_a_guide_without_weight_changes_nothing():
    noise = torch.randn(1, 4, 2)
    guide = Guide(torch.full((1, 4, 2), 9.0), torch.zeros(4))
    free = integrate(lambda x, time: -x, noise, 5)
    assert torch.allclose(free, integrate(lambda x, time: -x, noise, 5, guide))


def test_committed_steps_are_repeated_and_the_others_come_nearer(expert, features, tick):
    first = expert.act(features, tick(), seed=1)
    free = expert.act(features, tick(), seed=2)
    continued = expert.act(features, tick(), 2, prefix=first[1:], committed_steps=1)
    assert np.array_equal(continued[0], first[1])
    assert continued.shape == (8, 6) and continued.dtype == np.float64
    for step in (1, 2, 3):
        before, after = (
            np.linalg.norm((c[step] - first[step + 1])[:3]) for c in (free, continued)
        )
        assert after < before


def test_without_committed_steps_the_guidance_alone_brings_the_first_step_nearer(
    expert, features, tick
):
    first = expert.act(features, tick(), seed=1)
    free = expert.act(features, tick(), seed=2)
    guided = expert.act(features, tick(), 2, prefix=first[1:])
    assert np.linalg.norm(guided[0] - first[1]) < 0.5 * np.linalg.norm(free[0] - first[1])


def test_the_same_seed_and_prefix_give_the_same_chunk(expert, features, tick):
    prefix = expert.act(features, tick(), 1)[1:]
    first, again = (expert.act(features, tick(), 5, prefix, 1) for _ in range(2))
    assert np.array_equal(first, again)


def test_acting_freely_after_a_guided_chunk_is_as_before(expert, features, tick):
    before = expert.act(features, tick(), 3)
    expert.act(features, tick(), 3, before[1:], 1)
    assert np.array_equal(before, expert.act(features, tick(), 3))


def test_an_expert_that_is_being_trained_continues_a_chunk_too(expert, features, tick):
    model = ActionExpert(expert.config, untrained_statistics(expert.config))
    prefix = model.act(features, tick(), 1)[1:]
    model.act(features, tick(), 2, prefix, 1)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize('head', ['diffusion', 'regression'])
def test_other_heads_refuse_a_prefix_and_say_what_to_do(expert, features, tick, head):
    config = replace(expert.config, head=head)
    model = ActionExpert(config, untrained_statistics(config)).eval()
    assert not model.takes_prefix
    with pytest.raises(PolicyInputError, match=f"the {head} head .* set chunk_policy to 'indep"):
        model.act(features, tick(), 1, np.zeros((7, 6)), 1)


@pytest.mark.parametrize(
    ('prefix', 'committed', 'message'),
    [
        (np.zeros((7, 5)), 1, r'shape \(7, 5\)'),
        (np.zeros((9, 6)), 1, r'shape \(9, 6\)'),
        (np.zeros((0, 6)), 0, r'shape \(0, 6\)'),
        (np.zeros((3, 6)), 4, '4 steps cannot be committed'),
        (np.full((7, 6), np.nan), 1, 'not finite'),
    ],
)
def test_a_prefix_of_the_wrong_kind_is_refused(expert, features, tick, prefix, committed, message):
    with pytest.raises(PolicyInputError, match=message):
        expert.act(features, tick(), 1, prefix, committed)
