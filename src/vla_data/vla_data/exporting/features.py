"""The features of an exported LeRobot dataset, and one sample as a row of them.

Called by the LeRobot export. Beside LeRobot's own (`observation.images.*`, `observation.state`,
`action`) each frame keeps what training on time needs: the true capture time of every view, the
ages at the tick, the sensor window with its mask. None of these names begins with `observation`
or `action`, nor holds the word LeRobot takes for a picture, so that its policies leave them alone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_core.contract import Contract
from vla_data.samples.values import Sample

STATE, ACTION = 'observation.state', 'action'
ACTION_VALID = 'valid.action'
WINDOW, WINDOW_MASK = 'sensor.window', 'sensor.mask'
TICK, CAPTURE = 'capture.tick_ns', 'capture.views_ns'
VIEW_AGE, SENSOR_AGE, STATE_AGE = 'age.views_s', 'age.sensor_s', 'age.state_s'
ACTION_NAMES = (
    *(f'displacement_{axis}_m' for axis in 'xyz'),
    *(f'rotation_{axis}_rad' for axis in 'xyz'),
)
# LeRobot adds these to every dataset itself.
DEFAULTS = {
    'timestamp': 'float32',
    'frame_index': 'int64',
    'episode_index': 'int64',
    'index': 'int64',
    'task_index': 'int64',
}


@dataclass(frozen=True)
class Plan:
    """What is exported: the same for all episodes of a dataset."""

    contract: Contract
    rate_hz: int
    views: tuple[str, ...]
    sensor: bool
    width: int
    height: int

    @property
    def channels(self) -> int:
        """Numbers per slot of the sensor window."""
        return self.contract.sensor.channels

    @property
    def slots(self) -> int:
        """Slots of the sensor window."""
        return self.contract.sensor.samples

    def vectors(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Return name -> (dtype, names of the numbers) of the features that are vectors."""
        found: dict[str, tuple[str, tuple[str, ...]]] = {
            STATE: ('float32', self.contract.state.keys),
            ACTION: ('float32', ACTION_NAMES),
            ACTION_VALID: ('bool', ()),
            TICK: ('int64', ()),
            STATE_AGE: ('float32', ()),
        }
        if self.views:
            found |= {CAPTURE: ('int64', self.views), VIEW_AGE: ('float32', self.views)}
        if self.sensor:
            slots = tuple(f'slot_{number}' for number in range(self.slots))
            found |= {SENSOR_AGE: ('float32', ()), WINDOW_MASK: ('bool', slots)}
        return found


def video_key(view: str) -> str:
    """Name of a view's video feature."""
    return f'observation.images.{view}'


def row_of(sample: Sample, plan: Plan) -> dict[str, Any]:
    """Return one frame's values by feature, without videos and LeRobot's own columns."""
    action = np.where(sample.action_mask[0], sample.action[0], 0.0)
    row: dict[str, Any] = {
        STATE: sample.state.astype(np.float32),
        ACTION: action.astype(np.float32),
        ACTION_VALID: bool(sample.action_mask[0]),
        TICK: sample.tick_ns,
        STATE_AGE: sample.state_age_s,
    }
    if plan.views:
        place = {view: index for index, view in enumerate(plan.contract.view_names)}
        row[CAPTURE] = np.array(
            [sample.views[v].stamp_ns if v in sample.views else 0 for v in plan.views], np.int64
        )
        row[VIEW_AGE] = sample.image_age_s[[place[view] for view in plan.views]]
    if plan.sensor:
        row[SENSOR_AGE] = sample.sensor_age_s
        row[WINDOW_MASK] = sample.window_mask
        row[WINDOW] = sample.window
    return row


def info_features(plan: Plan, video: dict[str, Any]) -> dict[str, Any]:
    """Return `features` of info.json."""
    features: dict[str, Any] = {
        video_key(view): {
            'dtype': 'video',
            'shape': [plan.height, plan.width, 3],
            'names': ['height', 'width', 'channels'],
            'info': video,
        }
        for view in plan.views
    }
    for name, (dtype, names) in plan.vectors().items():
        shape = [len(names)] if names else [1]
        features[name] = {'dtype': dtype, 'shape': shape, 'names': list(names) or None}
    if plan.sensor:
        features[WINDOW] = {
            'dtype': 'float32',
            'shape': [plan.slots, plan.channels],
            'names': ['slot', 'channel'],
        }
    for name, dtype in DEFAULTS.items():
        features[name] = {'dtype': dtype, 'shape': [1], 'names': None}
    return features
