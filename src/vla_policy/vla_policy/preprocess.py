"""From uint8 images to patches on the device, in the window order of the vision tower.

Called by the Qwen2.5-VL backbone for each group of equal images. Does what the published processor
does (bicubic with antialiasing, rounded to whole grey values, rescaled, normalised), without PIL
and without leaving the device. An image is one frame, which the processor doubles for the temporal
patch; here the doubling is folded into the patch weights, so a patch has 3 * patch * patch
numbers.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from vla_policy.geometry import Grid


@dataclass(frozen=True)
class Normalise:
    """Grey value x (0..255) becomes x * scale + offset; tensors (3, 1) float32, a row a colour."""

    scale: torch.Tensor
    offset: torch.Tensor

    @staticmethod
    def from_processor(
        mean: list[float], std: list[float], rescale: float, device: torch.device
    ) -> 'Normalise':
        """Fold the processor's rescaling, mean and standard deviation into one step."""
        deviation = torch.tensor(std, dtype=torch.float64)
        scale = (rescale / deviation).float().reshape(3, 1).to(device)
        offset = (
            (-torch.tensor(mean, dtype=torch.float64) / deviation).float().reshape(3, 1).to(device)
        )
        return Normalise(scale, offset)


def resize(images: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Resize (V, H, W, 3) uint8 to (V, 3, height, width): bicubic, antialiased, whole values.

    uint8 on a CPU (the kernel there follows PIL's fixed-point arithmetic), float32 elsewhere.
    """
    planes = images.permute(0, 3, 1, 2)  # a view: the memory stays colour-last
    if planes.shape[-2:] == (grid.height, grid.width):
        return planes
    if planes.device.type != 'cpu':
        planes = planes.float()
    resized = F.interpolate(
        planes, size=(grid.height, grid.width), mode='bicubic', antialias=True, align_corners=False
    )
    return resized if resized.dtype == torch.uint8 else resized.round_().clamp_(0, 255)


def patchify(planes: torch.Tensor, grid: Grid, merge: int, order: torch.Tensor) -> torch.Tensor:
    """Cut (V, 3, height, width) to patches (V * patches, 3, patch * patch), tokens in `order`."""
    images, patch = planes.shape[0], grid.height // (grid.rows * merge)
    blocks = planes.reshape(images, 3, grid.rows, merge, patch, grid.columns, merge, patch)
    blocks = blocks.permute(
        0, 2, 5, 3, 6, 1, 4, 7
    )  # image, row, column, merge, merge, colour, y, x
    tokens = blocks.reshape(images * grid.tokens, merge * merge * 3 * patch * patch)
    return tokens.index_select(0, order).reshape(-1, 3, patch * patch)


def preprocess(
    images: torch.Tensor,
    grid: Grid,
    merge: int,
    order: torch.Tensor,
    normalise: Normalise,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Turn equal images (V, H, W, 3) uint8 into patches (V * patches, 3 * patch * patch)."""
    patches = patchify(resize(images, grid), grid, merge, order)
    # In place: fresh megabytes cost more in page faults than the arithmetic does.
    values = patches.float().mul_(normalise.scale).add_(normalise.offset)
    return values.to(dtype).flatten(1)
