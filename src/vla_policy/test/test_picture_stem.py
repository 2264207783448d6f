"""The convolutional stem: patches in the tower's order in, embeddings in the same order out."""

import pytest
import torch

from vla_policy.backbones.picture_stem import PictureStem
from vla_policy.geometry import Grid
from vla_policy.preprocess import patchify

GRID = Grid(64, 96, 2, 3)  # pixels; tokens of two by two patches of 16
PATCHES = GRID.tokens * 4


@pytest.fixture
def stem():
    torch.manual_seed(0)
    return PictureStem((4, 6, 8, 10), (0, 1, 1, 1), merge=2)


def patches_of(planes):
    order = torch.arange(len(planes) * GRID.tokens)
    return patchify(planes, GRID, 2, order).flatten(1)


def test_embeddings_stand_where_their_patches_do(stem):
    """Against the convolutions on the picture itself, cut as the tower cuts it."""
    planes = torch.randn(3, 3, GRID.height, GRID.width)
    seen = stem.norm(stem.stages(planes))
    cells = seen.reshape(3, 10, GRID.rows, 2, GRID.columns, 2).permute(0, 2, 4, 3, 5, 1)
    embedded = stem(patches_of(planes), 3, GRID.rows * 2)
    assert embedded.shape == (3 * PATCHES, 10)
    assert torch.allclose(embedded, cells.reshape(-1, 10), atol=1e-5)


def test_a_patch_sees_its_neighbours_but_no_other_picture(stem):
    planes = torch.randn(2, 3, GRID.height, GRID.width)
    before = stem(patches_of(planes), 2, GRID.rows * 2)
    planes[0, :, 16, 16] += 5.0  # the first pixel of one patch
    after = stem(patches_of(planes), 2, GRID.rows * 2)
    changed = (after - before).abs().amax(1) > 1e-6
    assert 1 < changed[:PATCHES].sum() < PATCHES
    assert not changed[PATCHES:].any()


def test_residual_blocks_add_no_more_than_a_constant_at_the_start(stem):
    planes = torch.randn(1, 6, 8, 8)
    added = stem.stages[3](planes) - planes
    assert torch.allclose(added, added[:, :, :1, :1], atol=1e-6)
