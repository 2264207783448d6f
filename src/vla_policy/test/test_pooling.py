"""Pooling of hidden states into feature tokens."""

import pytest
import torch

from vla_policy.backbones.base import TokenLayout, ViewSpan
from vla_policy.geometry import Grid
from vla_policy.pooling import build_pooling, PoolingConfig

GRIDS = [Grid(13 * 28, 23 * 28, 13, 23), Grid(56, 84, 2, 3)]
LAYOUT = TokenLayout(
    (ViewSpan(4, GRIDS[0]), ViewSpan(4 + 299 + 2, GRIDS[1])), text_index=319, tokens=320
)


def pooled(hidden, **config):
    pooling = build_pooling(PoolingConfig(**config), hidden.shape[1])
    return pooling(hidden, pooling.prepare(LAYOUT, hidden.device))


def test_grid_cells_are_adaptive_means_of_each_view_and_the_text_token_follows():
    hidden = torch.randn(320, 8)
    result = pooled(hidden)
    assert result.shape == (2 * 16 + 1, 8)
    for index, view in enumerate(LAYOUT.views):
        image = hidden[view.start : view.stop].reshape(view.grid.rows, view.grid.columns, 8)
        expected = torch.nn.functional.adaptive_avg_pool2d(image.permute(2, 0, 1), 4)
        cells = result[16 * index : 16 * (index + 1)]
        assert torch.allclose(cells, expected.flatten(1).T, atol=1e-5)
    assert torch.equal(result[-1], hidden[319])


def test_mean_pooling_is_one_mean_over_everything():
    hidden = torch.randn(320, 8)
    assert torch.allclose(pooled(hidden, kind='mean'), hidden.mean(0, keepdim=True))


def test_queries_tell_where_they_look():
    """Two views with the same tokens in another order give other features: position survives."""
    hidden = torch.randn(320, 8)
    moved = hidden.clone()
    moved[4:303] = hidden[4:303].flip(0)
    torch.manual_seed(0)
    pooling = build_pooling(PoolingConfig(kind='queries', queries=3), 8)
    prepared = pooling.prepare(LAYOUT, hidden.device)
    before, after = pooling(hidden, prepared), pooling(moved, prepared)
    assert before.shape == (2 * 3 + 1, 8)
    assert not torch.allclose(before[:3], after[:3], atol=1e-4)
    assert torch.allclose(before[3:], after[3:])


@pytest.mark.parametrize('field', ['grid', 'queries', 'key_width'])
def test_pooling_of_nothing_is_refused(field):
    with pytest.raises(ValueError, match=field):
        PoolingConfig(**{field: 0})
