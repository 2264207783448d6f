"""Shared by the tests of this package: a nano checkpoint, pictures, inputs; no network."""

import os
from pathlib import Path
import shutil

os.environ['HF_HUB_OFFLINE'] = '1'  # before transformers is imported

import numpy as np
import pytest
import torch

from vla_core.model_input import ModelInput
from vla_policy.checkpoint import create_checkpoint

CONTRACT = Path(__file__).resolve().parents[3] / 'launch/config/contract/insertion.yaml'
torch.set_num_threads(1)


@pytest.fixture(scope='session')
def contract_path():
    return CONTRACT


@pytest.fixture(scope='session')
def nano(tmp_path_factory):
    """A nano checkpoint; tests that spoil one take `copy`."""
    folder = tmp_path_factory.mktemp('checkpoints') / 'nano'
    create_checkpoint('nano', folder, 0, CONTRACT)
    return folder


@pytest.fixture
def copy(nano, tmp_path):
    """The nano checkpoint, to spoil."""
    return shutil.copytree(nano, tmp_path / 'copy')


@pytest.fixture
def pictures():
    """Maker of pictures (H, W, 3) uint8 with structure, from (height, width) pairs."""

    def make(*sizes):
        generator = np.random.default_rng(1)
        result = []
        for height, width in sizes:
            y, x = np.mgrid[:height, :width]
            a, b = generator.uniform(11, 40, 2)
            planes = np.stack([np.sin(x / a), np.cos(y / b), np.sin((x + y) / b)], -1)
            noise = generator.normal(0, 6, planes.shape)
            result.append((128 + 100 * planes + noise).clip(0, 255).astype(np.uint8))
        return result

    return make


@pytest.fixture
def tick():
    """Maker of one tick's ModelInput; keywords replace its fields."""

    def make(**changes):
        generator = np.random.default_rng(2)
        values = {
            'window': generator.normal(50, 10, (65, 1026)).astype(np.float32),
            'window_mask': np.ones(65, bool),
            'state': generator.normal(0, 0.5, 12).astype(np.float32),
            'state_age_s': 0.02,
            'image_age_s': np.full(5, 0.3, np.float32),
            'view_motion': np.full((5, 6), 0.001, np.float32),
            'feature_age_s': 0.35,
        }
        return ModelInput(**{**values, **changes})

    return make
