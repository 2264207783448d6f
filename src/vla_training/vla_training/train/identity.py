"""What must be the same for a run to be resumed: settings, checkpoint, and what it learns from.

Made by the pipeline, kept with the state. Episodes are told by what they hold, so neither another
recording of the same name nor tags that draw it more often go unnoticed. Deliberately knows no
step.
"""

import hashlib
from typing import Any

import numpy as np

from vla_policy.checkpoint import Manifest
from vla_policy.manifest import hash_file
from vla_training.data.dataset import EpisodeDataset
from vla_training.data.joined import JoinedDataset
from vla_training.train.config import to_dict, TrainConfig
from vla_training.train.datasets import Datasets

# What may differ between a run and its resumption: nothing that changes the weights.
_HARMLESS = ('out', 'device', 'distributed', 'threads', 'log_every', 'save_every')


def run_identity(
    config: TrainConfig, info: Manifest, data: Datasets, weights: np.ndarray
) -> dict[str, Any]:
    """Return what a state notes; `weights` (N,) are those of the samples."""
    identity = {
        'config': {key: value for key, value in to_dict(config).items() if key not in _HARMLESS},
        'checkpoint': info.checkpoint_hash,
        'samples': len(weights),
        'weights of samples': hashlib.sha256(weights.tobytes()).hexdigest()[:16],
        **_contents('learned from', data.train, data.recordings[0]),
    }
    if data.validation is not None:
        identity |= _contents('validated with', data.validation, data.recordings[1])
    return identity


def _contents(
    use: str, side: EpisodeDataset | JoinedDataset, recordings: EpisodeDataset
) -> dict[str, str]:
    """What each episode of a side holds, in a word."""
    corrections = side.paths[len(recordings.paths) :]
    # A correction's windows and features go with its rows.
    digests = [*recordings.digests, *(hash_file(path).sha256[:16] for path in corrections)]
    return {f'{use} {path}': f'content {digest}' for path, digest in zip(side.paths, digests)}
