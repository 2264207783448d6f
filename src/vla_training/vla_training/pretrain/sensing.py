"""The sensor encoder by itself: what lies ahead of the needle, and how far, from one window.

Called by `pipeline` at the end. The depth to hold shows in the OCT signal only, and demonstrations
show it for a few seconds each; simulated windows show it at any distance for next to nothing.
What exists for training only is the head that tells. Deliberately touches no other weight.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

from vla_policy.expert.expert import ActionExpert
from vla_policy.expert.layers import perceptron
from vla_policy.normalization import Statistics
from vla_sim.tissue import Surface
from vla_training.data.statistics import Sums
from vla_training.pretrain.report import figures
from vla_training.pretrain.stage import learn, StageOptions
from vla_training.pretrain.windows import Windows, WindowSource

_AVERAGING = 0.995
_UNIT_M = 0.0001  # an error as large costs as much as others' unit
_HELD_BACK, _MEASURED = 512, 512  # windows
_OTHER_SEED = 1_000_003  # sensors held back have speckle of their own


@dataclass(frozen=True)
class SensingOptions(StageOptions):
    """How long and how fast."""

    steps: int = 1500
    batch: int = 64


class SensingModel(nn.Module):
    """The expert's sensor encoder and the head that tells surface and distances."""

    def __init__(self, expert: ActionExpert) -> None:
        super().__init__()
        width = expert.config.width
        self.normalize, self.encoder = expert.normalize_sensor, expert.trunk.sensor
        self.head = perceptron(width, 2 * width, len(Surface) + 2)

    def tell(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows (B, samples, channels) to logits (B, surfaces) and distances (B, 2) in m."""
        mask = torch.ones(values.shape[:2], dtype=torch.bool)
        told = self.head(self.encoder(self.normalize(values), mask).mean(1))
        return told[:, : len(Surface)], told[:, len(Surface) :] * 1e-3

    def loss(self, windows: Windows) -> torch.Tensor:
        """Mean loss; distances count where there is something to see."""
        logits, distance_m = self.tell(torch.from_numpy(windows.values))
        wanted = torch.from_numpy(windows.distance_m)
        off = (distance_m - wanted.nan_to_num())[wanted.isfinite()] / _UNIT_M
        kinds = F.cross_entropy(logits, torch.from_numpy(windows.surface))
        if not len(off):
            return kinds
        return kinds + F.smooth_l1_loss(off, torch.zeros_like(off))


def window_statistics(samples: int, seed: int) -> Statistics:
    """Normalisation (1 + 1025,) of the windows that `train_sensing` draws."""
    rng = np.random.default_rng([seed, 0x57A7])
    values = WindowSource(samples, seed).draw(_MEASURED, rng).values
    return Sums.of(values.reshape(-1, values.shape[-1])).statistics('sensor')


def train_sensing(
    expert: ActionExpert, options: SensingOptions, report: Callable[[str], None]
) -> None:
    """Train the sensor encoder of `expert` in place; ends with its averaged weights."""
    samples = expert.config.samples
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = SensingModel(expert)
    model.requires_grad_(True)
    source = WindowSource(samples, options.seed)
    learn(
        model, options, _AVERAGING, lambda step: _draw(source, options, step), model.loss,
        lambda done, loss: report(f'sensing: step {done}: loss {loss:.3f}'),
    )  # fmt: skip
    report(f'sensing: {_validate(model, samples, options.seed + _OTHER_SEED)}')


def _draw(source: WindowSource, options: SensingOptions, step: int) -> Windows:
    return source.draw(options.batch, np.random.default_rng([options.seed, 0x5E25, step]))


@torch.no_grad()
def _validate(model: SensingModel, samples: int, seed: int) -> str:
    """One line about sensors that were not learned from."""
    windows = WindowSource(samples, seed).draw(_HELD_BACK, np.random.default_rng(seed))
    logits, distance_m = model.tell(torch.from_numpy(windows.values))
    right = (logits.argmax(1) == torch.from_numpy(windows.surface)).float().mean()
    off = (distance_m - torch.from_numpy(windows.distance_m))[:, 1].abs()
    return (
        f'validation: surface right {100 * float(right):.1f} %, distance off (p50 p90 p95) '
        f'{figures(1e3 * off[off.isfinite()])} mm'
    )
