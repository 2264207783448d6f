"""Opens a dataset with LeRobot's own loader and prints what it sees as JSON.

Run by test_export_lerobot_loader with the Python of an environment that has `lerobot`:
python lerobot_probe.py FOLDER
"""

import json
import sys

from lerobot.datasets.compute_stats import get_feature_stats
from lerobot.datasets.lerobot_dataset import LeRobotDataset
import numpy as np


def brightness(item, key):
    """Mean of the lower part of a view's frame (3, H, W) in 0..1, None without videos."""
    return float(item[key][:, 10:].mean())


def _recomputed(items, name):
    """What LeRobot itself makes of a feature's rows."""
    values = np.stack([item[name].numpy() for item in items])
    stats = get_feature_stats(values, axis=0, keepdims=False)
    return {key: np.asarray(value).ravel().tolist() for key, value in stats.items()}


def main():
    backend = 'pyav'
    dataset = LeRobotDataset('lab/needle', root=sys.argv[1], video_backend=backend)
    chunks = LeRobotDataset(
        'lab/needle', root=sys.argv[1], video_backend=backend,
        delta_timestamps={'action': [step / dataset.fps for step in range(8)]},
    )  # fmt: skip
    items = [dataset[index] for index in range(len(dataset))]
    views = dataset.meta.video_keys
    print('RESULT ' + json.dumps({
        'version': str(dataset.meta._version), 'fps': dataset.fps,
        'frames': len(dataset), 'episodes': dataset.num_episodes,
        'tasks': [item['task'] for item in items],
        'views': views,
        'lit': {key: [brightness(item, key) > 0.5 for item in items] for key in views},
        'state': [item['observation.state'].tolist() for item in items],
        'action': [item['action'].tolist() for item in items],
        'chunk_shape': list(chunks[3]['action'].shape),
        'chunk_3': chunks[3]['action'].tolist(),
        'capture': [item['capture.views_ns'].tolist() for item in items],
        'window_shape': list(items[0]['sensor.window'].shape),
        'window_sums': [float(item['sensor.window'].double().sum()) for item in items],
        'mask': [int(item['sensor.mask'].sum()) for item in items],
        'recomputed': {
            name: _recomputed(items[:38], name) for name in ('observation.state', 'action')
        },
        'stats': {
            name: {key: np.asarray(value).ravel().tolist() for key, value in stats.items()}
            for name, stats in dataset.meta.stats.items()
        },
    }))  # fmt: skip


if __name__ == '__main__':
    main()
