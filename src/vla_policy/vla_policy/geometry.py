"""Where things are: image sizes, patch grids, windows and rotary positions of Qwen2.5-VL.

Called once for each geometry and prompt by the backbone, which caches the result; nothing here
runs for each frame. Pure functions of sizes, no weights and no images. The rules are those of the
published model (Qwen2.5-VL technical report, arXiv 2502.13923, and its `transformers` classes),
and tests compare them.
"""

from dataclasses import dataclass
import math

import torch

Size = tuple[int, int]  # height, width in pixels


@dataclass(frozen=True)
class ImageRules:
    """How the processor sizes an image; values of preprocessor_config.json."""

    patch: int
    merge: int
    min_pixels: int
    max_pixels: int

    @property
    def unit(self) -> int:
        """Side of one merged token in pixels."""
        return self.patch * self.merge


@dataclass(frozen=True)
class Grid:
    """One image after resizing; rows and columns count merged tokens."""

    height: int
    width: int
    rows: int
    columns: int

    @property
    def tokens(self) -> int:
        """Merged tokens of the image."""
        return self.rows * self.columns


@dataclass(frozen=True)
class WindowGroup:
    """Windows of one size, neighbours in the window order: all run in one attention call."""

    start: int  # first patch
    windows: int
    patches: int  # of each window

    @property
    def stop(self) -> int:
        """One past the last patch."""
        return self.start + self.windows * self.patches


def image_grid(size: Size, rules: ImageRules) -> Grid:
    """Return the grid that an image of `size` is resized to, in whole merged tokens.

    Raises ValueError for an image whose sides differ by more than 200 times, as the processor
    does.
    """
    height, width = size
    if min(size) < 1 or max(size) / min(size) > 200:
        raise ValueError(f'an image of {width}x{height} pixels cannot be used')
    unit = rules.unit
    rows, columns = round(height / unit), round(width / unit)
    if rows * columns * unit * unit > rules.max_pixels:
        shrink = math.sqrt(height * width / rules.max_pixels)
        rows = max(1, math.floor(height / shrink / unit))
        columns = max(1, math.floor(width / shrink / unit))
    elif rows * columns * unit * unit < rules.min_pixels:
        grow = math.sqrt(rules.min_pixels / (height * width))
        rows, columns = math.ceil(height * grow / unit), math.ceil(width * grow / unit)
    return Grid(rows * unit, columns * unit, rows, columns)


def window_order(
    grid: Grid, images: int, window: int, merge: int
) -> tuple[torch.Tensor, tuple[WindowGroup, ...]]:
    """Order the merged tokens of `images` equal images so that equal windows are neighbours.

    `window` is the side of a window in merged tokens; windows at the right and lower border are
    smaller. Returns the order (images * grid.tokens,) int64, where order[i] is the raster position
    (image by image) of the token at place i, and the groups of equal windows in patches (merge *
    merge a token).
    """
    windows: dict[int, list[torch.Tensor]] = {}
    raster = torch.arange(grid.tokens).reshape(grid.rows, grid.columns)
    for row in range(0, grid.rows, window):
        for column in range(0, grid.columns, window):
            tokens = raster[row : row + window, column : column + window].reshape(-1)
            windows.setdefault(len(tokens), []).append(tokens)
    order, groups, start = [], [], 0
    for size in sorted(windows, reverse=True):
        one_image = torch.cat(windows[size])
        order += [one_image + image * grid.tokens for image in range(images)]
        groups.append(WindowGroup(start, images * len(windows[size]), size * merge * merge))
        start = groups[-1].stop
    return torch.cat(order), tuple(groups)


def patch_coordinates(grid: Grid, merge: int) -> torch.Tensor:
    """Row and column (patches, 2) int64 of each patch, the patches of a token together."""
    shape = (grid.rows, merge, grid.columns, merge)
    rows = torch.arange(grid.rows * merge).reshape(grid.rows, merge, 1, 1).expand(shape)
    columns = torch.arange(grid.columns * merge).reshape(1, 1, grid.columns, merge).expand(shape)
    return torch.stack([part.transpose(1, 2).reshape(-1) for part in (rows, columns)], dim=-1)


def vision_rotary(
    coordinates: torch.Tensor, head_dim: int, theta: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine (patches, head_dim) float32 of the vision tower's axial rotary embedding."""
    half = head_dim // 2
    frequency = 1.0 / theta ** (torch.arange(0, half, 2, dtype=torch.float32) / half)
    angle = (coordinates[..., None].float() * frequency).flatten(1)  # rows' angles, then columns'
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def text_positions(token_is_image: list[bool], grids: list[Grid]) -> torch.Tensor:
    """Positions (3, T) int64 in time, height and width of a prompt's tokens, for M-RoPE.

    Text counts up by one in all three; an image's tokens share one time and spread over rows and
    columns, and the text after it goes on after its longer side.
    """
    positions: list[torch.Tensor] = []
    at, index, images = 0, 0, iter(grids)
    while index < len(token_is_image):
        if token_is_image[index]:
            grid = next(images)
            row = torch.arange(grid.rows).repeat_interleave(grid.columns)
            column = torch.arange(grid.columns).repeat(grid.rows)
            positions.append(torch.stack([torch.zeros_like(row), row, column]) + at)
            at, index = at + max(grid.rows, grid.columns), index + grid.tokens
        else:
            positions.append(torch.full((3, 1), at))
            at, index = at + 1, index + 1
    return torch.cat(positions, dim=1)


def text_rotary(
    positions: torch.Tensor, head_dim: int, theta: float, sections: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine (T, head_dim) float32 of M-RoPE.

    `sections` of the angles follow time, height and width in turn.
    """
    frequency = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = positions[..., None].float() * frequency  # (3, T, head_dim / 2)
    parts = angles.split(sections, dim=-1)
    angle = torch.cat([part[axis % 3] for axis, part in enumerate(parts)], dim=-1)
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()
