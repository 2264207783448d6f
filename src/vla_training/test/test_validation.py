"""What validation says of the head that tells where the trocar is."""

from dataclasses import dataclass
import math

import pytest
import torch

from vla_training.train.validation import _seen, Score

NEAR = torch.tensor([0.0, 0.003, 0.010] + [0.0] * 9)
FAR = torch.tensor([0.0, 0.0, 0.030] + [0.0] * 9)


@dataclass
class Known:
    truth: torch.Tensor


def test_only_needles_near_the_trocar_count_and_only_where_the_truth_is_known():
    told = torch.stack([NEAR, NEAR, FAR, NEAR]).clone()
    told[0, 0], told[1, 1], told[2, 0], told[0, 4] = 3e-4, 3e-3 + 5e-4, 9e-3, 0.02
    truth = torch.stack([NEAR, NEAR, FAR, torch.full((12,), math.nan)])
    near, off_m, off_rad = _seen(told, Known(truth))
    assert near == 2
    assert off_m == pytest.approx(8e-4, rel=1e-4) and off_rad == pytest.approx(0.02, rel=1e-4)


def test_nothing_is_said_where_nothing_tells():
    assert _seen(None, Known(NEAR[None])) == (0.0, 0.0, 0.0)
    plain, telling = Score(1.0, 0.2, 0.3, 0.5), Score(1.0, 0.2, 0.3, 0.5, 0.41, 0.6)
    assert 'seen' not in str(plain) and 'seen_mm' not in plain.to_dict()
    assert 'trocar seen 0.41 mm 0.60 deg off' in str(telling)
    assert telling.to_dict()['seen_mm'] == 0.41
