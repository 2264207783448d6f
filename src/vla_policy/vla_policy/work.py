"""How much arithmetic one pass is, and how fast the device multiplies: the limit of the latency.

Used by the benchmark. Counts the multiplications and additions (2 FLOP each) of the matrix
products that the architecture needs for a geometry, attention included, causal attention by half;
norms, activations and the language-model head are not counted. Deliberately independent of how the
pass is implemented.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import statistics
import time
from typing import Any

import torch

from vla_policy.geometry import Grid, window_order


@dataclass(frozen=True)
class Work:
    """Operations of one pass in FLOP."""

    vision: int
    language: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.vision + self.language


def vision_work(config: Any, grids: Sequence[Grid]) -> int:
    """FLOP of the vision tower and merger for `grids`; `config` is a Qwen2.5-VL vision config."""
    width, inner, merge = config.hidden_size, config.intermediate_size, config.spatial_merge_size
    full = len(set(config.fullatt_block_indexes) & set(range(config.depth)))
    window = config.window_size // (config.patch_size * merge)
    pixels = config.in_channels * config.temporal_patch_size * config.patch_size**2
    total = 0
    for grid in grids:
        patches = grid.tokens * merge**2
        linear = width * 3 * width + width * width + 3 * width * inner
        total += 2 * patches * (config.depth * linear + pixels * width)
        pairs = sum(
            group.windows * group.patches**2 for group in window_order(grid, 1, window, merge)[1]
        )
        total += 4 * width * (full * patches**2 + (config.depth - full) * pairs)
        merged = merge**2 * width
        total += 2 * grid.tokens * (merged * merged + merged * config.out_hidden_size)
    return total


def language_work(config: Any, tokens: int) -> int:
    """FLOP of the language model for `tokens`; `config` is a Qwen2.5-VL text config."""
    width, inner = config.hidden_size, config.intermediate_size
    key_value = width * config.num_key_value_heads // config.num_attention_heads
    linear = width * (width + 2 * key_value) + width * width + 3 * width * inner
    attention = 4 * tokens**2 * width // 2
    return config.num_hidden_layers * (2 * tokens * linear + attention)


def matrix_rate(device: torch.device, dtype: torch.dtype, side: int | None = None) -> float:
    """Measure FLOP/s of a large square product of random numbers: median of ten, warmed up.

    Without `side` it is 8192 on a GPU (as vendors' figures are taken) and 2048 on a CPU.
    """
    side = side or (8192 if device.type == 'cuda' else 2048)
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    for run in range(13):
        synchronise(device)
        started = time.perf_counter()
        torch.mm(left, right)
        synchronise(device)
        if run >= 3:
            seconds.append(time.perf_counter() - started)
    return 2 * side**3 / statistics.median(seconds)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
