"""Made-up samples in memory for the tests of training: actions that follow from what is seen."""

from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import Accelerator
import numpy as np
import torch

from vla_policy.expert.batch import ExpertBatch
from vla_policy.expert.config import ExpertConfig
from vla_policy.expert.expert import ActionExpert
from vla_policy.normalization import Statistics
from vla_training.train.config import TrainConfig
from vla_training.train.log import RunLog
from vla_training.train.loop import Run, Trainer
from vla_training.train.model import PolicyModel
from vla_training.train.state import RunState
from vla_training.train.validation import Validation

SMALL = ExpertConfig(
    views=2, tokens_per_view=1, feature_width=6, samples=5, channels=3, state_width=4, steps=4,
    dims=6, width=32, attention_heads=2, trunk_layers=1, decoder_layers=1, sensor_convs=1,
    head='regression',
)  # fmt: skip
STATISTICS = {
    'sensor': Statistics('mean_std', np.zeros(3), np.ones(3)),
    'state': Statistics('mean_std', np.zeros(4), np.ones(4)),
    'action': Statistics('mean_std', np.zeros(6), np.full(6, 0.001)),
}


@dataclass(frozen=True, eq=False)
class MadeUpBatch:
    inputs: ExpertBatch
    actions: torch.Tensor
    mask: torch.Tensor

    def to(self, device):
        return replace(
            self, inputs=self.inputs.to(device), actions=self.actions.to(device),
            mask=self.mask.to(device),
        )  # fmt: skip


class MadeUpData:
    """Actions are the first feature token (m, rad in thousandths) plus the sensor's mean."""

    def __init__(self, count, seed=0, sensor=True):
        rng = np.random.default_rng(seed)
        self.features = rng.normal(0, 1, (count, 3, 6)).astype(np.float32)
        self.window = rng.normal(0, 1, (count, 5, 3)).astype(np.float32)
        self.sensor, self.asked = sensor, []

    def __len__(self):
        return len(self.features)

    def batch(self, indices, rng):
        self.asked.append(indices)
        features = torch.from_numpy(self.features[indices])
        window = torch.from_numpy(self.window[indices])
        count = len(indices)
        ages = torch.from_numpy(rng.random(count).astype(np.float32))
        inputs = ExpertBatch(
            features, window, torch.full((count, 5), self.sensor), torch.zeros(count, 4),
            torch.zeros(count), ages[:, None].repeat(1, 2), torch.zeros(count, 2, 6), ages,
        )  # fmt: skip
        actions = (features[:, 0] * 1e-3)[:, None].repeat(1, 4, 1)
        mask = torch.ones(count, 4, dtype=torch.bool)
        mask[::2, 3] = False
        actions[~mask] = float('nan')
        return MadeUpBatch(inputs, actions, mask)


def make_model(seed=0, **changes):
    torch.manual_seed(seed)
    return PolicyModel(ActionExpert(replace(SMALL, **changes), STATISTICS))


def make_config(folder, **changes):
    values = {
        'out': str(folder), 'batch': 8, 'accumulation': 2, 'steps': 12, 'log_every': 4,
        'validate_every': 6, 'save_every': 4, 'device': 'cpu', 'averaging': 0.9,
    }  # fmt: skip
    return TrainConfig(**{**values, **changes})


def make_trainer(
    config, model=None, data=None, save=lambda name: None, lines=None, held=None
):  # fmt: skip
    data, held = data or MadeUpData(96), held or MadeUpData(32, seed=1)
    model = model or make_model(config.seed)
    folder = Path(config.out)
    run = Run(
        config, model, data, np.full(len(data), 1 / len(data)),
        Validation(held, 32, 16, 0), RunState(folder), {'steps': config.steps},
        save, lambda step: RunLog(folder, step), [].append if lines is None else lines.append,
    )  # fmt: skip
    return Trainer(run, Accelerator(cpu=True))
