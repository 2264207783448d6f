"""Splices of chunks on a noisy policy whose flow is known exactly."""

import json

import numpy as np
import pytest
import torch

from vla_core.timebase import NS
from vla_policy import bench_splice as bench
from vla_policy.checkpoint import create_checkpoint
from vla_policy.noisy_policy import NoisyPolicy, NoisySettings

OPTIONS = bench.Options(ticks=300)


@pytest.fixture(scope='module')
def figures():
    return bench.run(bench.noisy_source(), OPTIONS)['policies']


def test_chunks_of_the_noisy_policy_have_the_distribution_it_says():
    policy = NoisyPolicy(NoisySettings(flow_steps=50))
    chunks = np.stack([policy.chunk(seed) for seed in range(500)])
    around = (chunks - chunks.mean(0)) / policy._scale.numpy()
    found = np.einsum('nhd,nkd->hk', around, around) / (500 * 6)
    assert chunks[..., 0].mean() == pytest.approx(1e-3, rel=0.05)
    assert np.abs(found - policy._covariance.numpy()).max() < 0.1


def test_draws_are_independent_but_repeat_with_their_seed():
    policy = NoisyPolicy()
    assert np.array_equal(policy.chunk(3), policy.chunk(3))
    assert not np.allclose(policy.chunk(3), policy.chunk(4))


def test_every_tick_is_a_splice_and_the_executor_had_nothing_to_complain_of(figures):
    for policy, found in figures.items():
        assert found['splices'] == OPTIONS.ticks - 1
        assert found['counters']['steps_late'] == 0
        uncommitted = found['counters'].get('uncommitted_chunks', 0)
        assert uncommitted == (1 if policy == 'rtc' else 0), 'only the first one'


@pytest.mark.parametrize('policy', ['ensemble', 'rtc'])
@pytest.mark.parametrize('seed', [1000, 2000])
def test_splices_of_ensemble_and_rtc_are_as_smooth_as_the_chunks_themselves(policy, seed):
    found = bench.measure(bench.noisy_source(), policy, bench.Options(ticks=200, seed=seed))
    assert found['ratio_p50'] <= bench.TARGET_RATIO


def test_splices_of_latest_are_clearly_rougher(figures):
    assert figures['latest']['ratio_p50'] > 3.0
    assert figures['latest']['length_ratio_p50'] > 2 * figures['rtc']['length_ratio_p50']


def test_continuing_a_chunk_does_not_take_the_life_out_of_it(figures):
    """A ratio could also be met by chunks without any motion, or by ever rougher ones."""
    independent, continued = (figures[policy] for policy in ('latest', 'rtc'))
    assert 0.5 < continued['inside_change_m'] / independent['inside_change_m'] < 1.5
    assert 0.8 < continued['step_length_m'] / independent['step_length_m'] < 1.2


def test_rtc_without_its_guidance_would_miss_the_target():
    """Committing alone only moves the jump from the switch to the end of the committed steps."""
    policy = NoisyPolicy()

    def draw(seed, prefix, committed):
        chunk = policy.chunk(seed)
        if prefix is not None:
            chunk[:committed] = prefix[:committed]
        return chunk

    found = bench.measure(bench.Source('unguided', draw, True, NS // 10), 'rtc', OPTIONS)
    assert found['ratio_p50'] > 2 * bench.TARGET_RATIO


def test_a_checkpoint_is_measured_too_and_the_report_is_plain_data(nano):
    source = bench.checkpoint_source(str(nano))
    options = bench.Options(ticks=5)
    content = bench.report([bench.run(source, options)], options)
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    text = '\n'.join(bench.lines(content))
    assert str(nano) in text and 'rtc' in text


def test_a_head_that_cannot_continue_is_said_so(tmp_path, contract_path):
    folder = tmp_path / 'regression'
    create_checkpoint('nano', folder, 0, contract_path, head='regression')
    options = bench.Options(ticks=3)
    content = bench.report([bench.run(bench.checkpoint_source(str(folder)), options)], options)
    assert content['results'][0]['policies']['rtc'] is None
    assert 'cannot continue a chunk' in '\n'.join(bench.lines(content))


def test_the_flow_of_the_noisy_policy_is_the_derivative_of_its_mixture():
    """E[x - z | x_t], by regression on draws of noise and action."""
    policy, time, count = NoisyPolicy(), 0.6, 50_000
    generator = torch.Generator().manual_seed(0)
    root = torch.linalg.cholesky(policy._covariance + 1e-9 * torch.eye(8).double())
    noise, action = (torch.randn(count, 8, generator=generator).double() for _ in range(2))
    action = action @ root.T
    mixed = (1 - time) * noise + time * action
    fitted = torch.linalg.lstsq(mixed, action - noise).solution
    probe = torch.eye(8).double()[None]
    assert torch.allclose(policy.velocity(probe, time)[0], fitted.T, atol=0.05)
