"""The rules of geometry, held against those of transformers."""

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
import torch
from transformers import Qwen2_5_VLModel
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

from vla_policy import geometry
from vla_policy.backbones import qwen2_5_vl_build as build
from vla_policy.geometry import Grid, ImageRules

RULES = ImageRules(14, 2, 3136, 70000)
sides = st.integers(10, 1500)


def grid_of(rows, columns):
    return Grid(rows * 28, columns * 28, rows, columns)


@given(sides, sides)
@settings(max_examples=200, deadline=None)
def test_images_are_resized_to_the_size_the_processor_chooses(height, width):
    grid = geometry.image_grid((height, width), RULES)
    expected = smart_resize(height, width, 28, RULES.min_pixels, RULES.max_pixels)
    assert (grid.height, grid.width) == expected


@pytest.mark.parametrize('size', [(0, 100), (2, 1000)])
def test_image_too_narrow_for_the_processor_is_refused(size):
    with pytest.raises(ValueError, match='cannot be used'):
        geometry.image_grid(size, RULES)


@given(st.integers(1, 14), st.integers(1, 25), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_windows_hold_the_same_tokens_as_in_transformers(rows, columns, images):
    order, groups = geometry.window_order(grid_of(rows, columns), images, 4, 2)
    assert sorted(order.tolist()) == list(range(rows * columns * images))
    ours = set()
    for group in groups:
        assert (group.stop - group.start) == group.windows * group.patches
        tokens = order[group.start // 4 : group.stop // 4].reshape(group.windows, -1)
        ours |= {tuple(sorted(window)) for window in tokens.tolist()}
    index, ends = get_vision_window_index(
        torch.tensor([[1, 2 * rows, 2 * columns]] * images), 2, 112, 14
    )
    theirs = {
        tuple(sorted(index[start // 4 : stop // 4].tolist()))
        for start, stop in zip(ends[:-1].tolist(), ends[1:].tolist())
    }
    assert ours == theirs


def test_equal_windows_are_one_group_over_all_images():
    _, groups = geometry.window_order(grid_of(13, 23), 5, 4, 2)
    assert [(group.windows, group.patches) for group in groups] == [
        (75, 64),
        (15, 48),
        (25, 16),
        (5, 12),
    ]


@given(st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_patch_coordinates_are_those_of_transformers(rows, columns):
    expected = get_vision_position_ids(torch.tensor([[1, 2 * rows, 2 * columns]]), 2)
    assert torch.equal(geometry.patch_coordinates(grid_of(rows, columns), 2), expected)


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4),
    st.lists(st.integers(1, 5), min_size=5, max_size=5),
)
@settings(max_examples=30, deadline=None)
def test_prompt_positions_are_those_of_transformers(shapes, gaps):
    grids = [grid_of(*shape) for shape in shapes]
    is_image = [False] * gaps[0]
    for grid, gap in zip(grids, gaps[1:]):
        is_image += [True] * grid.tokens + [False] * gap
    config = build.build_config(build.NANO, build.build_tokenizer())
    owner = type(
        'Owner',
        (),
        {
            'config': config,
            'get_rope_index': Qwen2_5_VLModel.get_rope_index,
            'get_vision_position_ids': Qwen2_5_VLModel.get_vision_position_ids,
        },
    )
    expected, _ = owner().get_rope_index(
        torch.zeros(1, len(is_image), dtype=torch.long),
        torch.tensor([is_image]).int(),
        torch.tensor([[1, 2 * grid.rows, 2 * grid.columns] for grid in grids]),
    )
    assert torch.equal(geometry.text_positions(is_image, grids), expected[:, 0])
