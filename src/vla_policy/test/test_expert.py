"""Trunk and heads of the action expert."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vla_policy.checkpoint import load_expert
from vla_policy.checkpoint_create import untrained_statistics
from vla_policy.errors import PolicyInputError
from vla_policy.expert.batch import ExpertBatch
from vla_policy.expert.config import ExpertConfig, HEADS
from vla_policy.expert.expert import ActionExpert
from vla_policy.expert.heads import build_head

SMALL = ExpertConfig(
    views=2,
    tokens_per_view=4,
    feature_width=16,
    samples=65,
    channels=20,
    state_width=12,
    steps=8,
    dims=6,
    width=32,
    attention_heads=2,
    trunk_layers=1,
    decoder_layers=1,
)


def small_expert(**changes):
    torch.manual_seed(0)
    config = replace(SMALL, **changes)
    return ActionExpert(config, untrained_statistics(config))


def batch(count=1, seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    values = {
        'features': normal(count, 9, 16),
        'window': 50 + 10 * normal(count, 65, 20),
        'window_mask': torch.ones(count, 65, dtype=torch.bool),
        'state': normal(count, 12),
        'state_age_s': torch.full((count,), 0.02),
        'image_age_s': torch.full((count, 2), 0.3),
        'view_motion': torch.full((count, 2, 6), 0.001),
        'feature_age_s': torch.full((count,), 0.4),
    }
    return ExpertBatch(**{**values, **changes})


@pytest.fixture(scope='module')
def expert(nano):
    return load_expert(nano)


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(41, 256)).astype(np.float16)


def test_chunk_is_eight_small_steps_in_si_units(expert, features, tick):
    chunk = expert.act(features, tick(), seed=7)
    assert chunk.shape == (8, 6)
    assert chunk.dtype == np.float64
    assert 0 < np.abs(chunk[:, :3]).max() < 0.01
    assert 0 < np.abs(chunk[:, 3:]).max() < 0.05


def test_same_seed_gives_the_same_chunk_and_another_seed_another(expert, features, tick):
    first, again, other = (expert.act(features, tick(), seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize('head', ['flow', 'diffusion'])
def test_without_temperature_every_draw_is_the_middle_one(expert, head):
    config = replace(expert.config, head=head, temperature=0.0)
    cold, warm = build_head(config), build_head(replace(config, temperature=1.0))
    warm.load_state_dict(cold.state_dict())
    cond = torch.ones(1, 5, config.width)
    drawn = [
        [made.sample(cond, torch.Generator().manual_seed(seed)) for seed in (1, 2)]
        for made in (cold, warm)
    ]
    assert torch.equal(*drawn[0]) and not torch.equal(*drawn[1])
    with pytest.raises(ValueError, match='temperature 1.5: expected a number from 0 to 1'):
        replace(config, temperature=1.5)


def test_acting_leaves_the_global_random_state_alone(expert, features, tick):
    before = torch.random.get_rng_state()
    expert.act(features, tick(), 3)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    'change',
    [
        {'state_age_s': 0.4},
        {'feature_age_s': 1.0},
        {'image_age_s': np.array([0.3, 0.3, 0.9, 0.3, 0.3], np.float32)},
        {'view_motion': np.full((5, 6), 0.004, np.float32)},
        {'view_motion': np.full((5, 6), np.nan, np.float32)},
        {'state': np.full(12, 0.3, np.float32)},
        {'window': np.full((65, 1026), 20.0, np.float32)},
        {'window_mask': np.arange(65) > 20},
    ],
)
def test_every_input_and_every_age_reaches_the_action(expert, features, tick, change):
    assert not np.array_equal(
        expert.act(features, tick(), 1), expert.act(features, tick(**change), 1)
    )


def test_what_a_masked_slot_holds_does_not_matter(expert, features, tick):
    mask = np.arange(65) > 20
    window = tick().window
    spoilt = window.copy()
    spoilt[~mask] = np.nan
    assert np.array_equal(
        expert.act(features, tick(window=window, window_mask=mask), 1),
        expert.act(features, tick(window=spoilt, window_mask=mask), 1),
    )


def test_absent_sensor_is_a_learned_token_not_zeros(expert, features, tick):
    absent = {'window_mask': np.zeros(65, bool)}
    zeros = tick(window=np.zeros((65, 1026), np.float32))
    nothing = expert.act(features, tick(**absent), 1)
    assert not np.array_equal(nothing, expert.act(features, zeros, 1))
    model = small_expert()
    model.condition(batch(window_mask=torch.zeros(1, 65, dtype=torch.bool))).sum().backward()
    assert model.trunk.sensor.absent.grad.abs().sum() > 0


@pytest.mark.parametrize('age', [float('nan'), float('inf'), 100.0])
def test_unknown_and_endless_ages_count_as_very_old(expert, features, tick, age):
    assert np.array_equal(
        expert.act(features, tick(feature_age_s=age), 1),
        expert.act(features, tick(feature_age_s=4.0), 1),
    )


def test_expert_without_age_input_cannot_tell_ages_apart():
    model = small_expert(use_age=False).eval()
    young, old = (
        batch(
            feature_age_s=torch.tensor([age]),
            state_age_s=torch.tensor([age]),
            image_age_s=torch.full((1, 2), age),
        )
        for age in (0.1, 2.0)
    )
    assert torch.equal(model.condition(young), model.condition(old))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'features': np.zeros((80, 256), np.float16)}, r'features has the shape \(80, 256\)'),
        ({'features': np.full((41, 256), np.nan, np.float16)}, 'features holds a number'),
        (
            {'window': np.zeros((64, 1026), np.float32), 'window_mask': np.ones(64, bool)},
            'window has',
        ),
        ({'window': np.full((65, 1026), np.inf, np.float32)}, 'window holds'),
        ({'state': np.full(12, np.nan, np.float32)}, 'state holds'),
        ({'image_age_s': np.zeros(4, np.float32), 'view_motion': np.zeros((4, 6), np.float32)},
         'image_age_s has'),  # fmt: skip
    ],
)
def test_inputs_of_the_wrong_kind_are_refused_with_what_is_wrong(
    expert, features, tick, change, message
):
    given = change.pop('features', features) if 'features' in change else features
    with pytest.raises(PolicyInputError, match=message):
        expert.act(given, tick(**change), 1)


@pytest.mark.parametrize('head', HEADS)
def test_every_head_learns_a_small_task(head):
    """Actions that follow from the state are learned by each head from the same trunk."""
    model = small_expert(head=head, width=48)
    inputs, generator = batch(32, seed=1), torch.Generator().manual_seed(0)
    target = (
        inputs.state[:, None, :6]
        * model.normalize_action.scale
        * torch.linspace(0.5, 1, 8)[:, None]
    )
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    untrained = (model.sample(inputs, generator.manual_seed(5)) - target).square().mean()
    for _ in range(250):
        optimizer.zero_grad()
        model.loss(inputs, target, generator).mean().backward()
        optimizer.step()
    with torch.no_grad():
        error = (model.sample(inputs, generator.manual_seed(5)) - target).square().mean()
    assert error < 0.2 * untrained


@pytest.mark.parametrize('head', HEADS)
def test_loss_is_one_number_a_sample_and_sampling_repeats_with_its_generator(head):
    model = small_expert(head=head)
    inputs = batch(3)
    loss = model.loss(inputs, torch.zeros(3, 8, 6), torch.Generator().manual_seed(0))
    assert loss.shape == (3,)
    first, second = (model.sample(inputs, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape == (3, 8, 6)
    assert torch.equal(first, second)


@pytest.mark.parametrize(('head', 'name'), [('flow', 'decoder'), ('diffusion', 'velocity')])
def test_condition_is_projected_once_for_all_sampling_steps(head, name):
    model = small_expert(head=head)
    calls = []
    decoder = getattr(model.head, name)
    remember = decoder.remember
    decoder.remember = lambda cond: calls.append(1) or remember(cond)
    model.sample(batch())
    assert len(calls) == 1


def test_diffusion_takes_a_small_error_of_its_decoder_for_a_small_one_of_the_actions():
    """From pure noise on; told by its noise the action was a hundred times as wrong."""
    head, target = small_expert(head='diffusion').head, torch.full((2, 8, 6), 0.7)

    def nearly(actions, time, memory):
        step = (time * head.train_steps).round().long() - 1
        signal, noise = head.signal[step][:, None, None], head.noise[step][:, None, None]
        return signal * (actions - signal * target) / noise - noise * target + 0.05

    head.velocity.forward = nearly
    actions = head.sample(torch.zeros(2, 3, head.velocity.step.shape[1]))
    assert (actions - target).abs().max() < 0.1


def test_expert_for_mean_pooling_takes_one_token():
    model = small_expert(tokens_per_view=0)
    assert model.sample(batch(features=torch.randn(1, 1, 16))).shape == (1, 8, 6)


def test_stacked_batches_give_what_each_gives_alone():
    model = small_expert(head='regression')
    one, two = batch(seed=1), batch(seed=2)
    both = model.sample(ExpertBatch.stack([one, two]))
    assert torch.allclose(both, torch.cat([model.sample(one), model.sample(two)]), atol=1e-6)


@pytest.mark.parametrize(
    ('field', 'value'), [('views', 0), ('width', 33), ('ddim_steps', 1000), ('flow_steps', 0)]
)
def test_impossible_architectures_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})


def test_motion_since_a_picture_counts_only_where_it_is_wanted():
    blind = small_expert(use_view_motion=False, head='regression')
    assert torch.equal(
        blind.sample(batch()), blind.sample(batch(view_motion=torch.full((1, 2, 6), 0.03)))
    )


def test_unknown_motion_is_a_learned_token_and_not_zero_motion():
    model = small_expert(head='regression')
    with torch.no_grad():
        model.trunk.unknown_motion.add_(1.0)
    still = model.sample(batch(view_motion=torch.zeros(1, 2, 6)))
    unknown = model.sample(batch(view_motion=torch.full((1, 2, 6), torch.nan)))
    assert torch.isfinite(unknown).all() and not torch.equal(still, unknown)
