"""What one sample is made of.

Made by `SampleReader`, used by training, the feature cache, export and plots. Deliberately plain
arrays: no torch, no decoded pictures, no normalisation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vla_core.model_input import ModelInput


@dataclass(frozen=True)
class View:
    """One view as it was known at the tick: the JPEG, untouched."""

    jpeg: bytes
    stamp_ns: int  # acquisition of the first frame that showed this content
    age_s: float  # of the newest new content, at the tick


@dataclass(frozen=True, eq=False)
class RecordedChunk:
    """What the policy of the recording proposed for this tick."""

    chunk_id: int
    tick_ns: int
    step_stamps_ns: np.ndarray  # (H,) int64
    delta: np.ndarray  # (H, 6) float64: displacement (m), rotation vector (rad), base frame
    reaction: int  # vla_core.freshness.Reaction
    task: str


@dataclass(frozen=True, eq=False)
class Sample:
    """Everything known at one tick, and what the robot did from there on.

    Ages are s at the tick, from the acquisition of the newest content, NaN where nothing came;
    arrays of unknown state are NaN, of unknown actions 0 under a False mask.
    """

    episode: int
    tick_ns: int
    task: str
    views: Mapping[str, View]  # in model order; a view that never came is left out
    image_age_s: np.ndarray  # (V,) float32, in model order
    view_motion: np.ndarray  # (V, 6) float32, see vla_core.model_input
    window: np.ndarray  # (65, C) float32, oldest first
    window_mask: np.ndarray  # (65,) bool
    sensor_age_s: float
    state: np.ndarray  # (12,) float32, vla_core.contract.STATE_KEYS
    state_age_s: float
    action: np.ndarray  # (H, 6) float64 a step: displacement m, rotation vector rad, base frame
    action_mask: np.ndarray  # (H,) bool: False past the end, or where no pose is known
    recorded: RecordedChunk | None = None

    def model_input(
        self,
        feature_age_s: float = 0.0,
        image_age_s: np.ndarray | None = None,
        view_motion: np.ndarray | None = None,
    ) -> ModelInput:
        """Return what the action expert is given. `image_age_s` (V,) and `view_motion` (V, 6) when
        the features were made of other images than those of this tick.
        """
        return ModelInput(
            window=self.window,
            window_mask=self.window_mask,
            state=self.state,
            state_age_s=self.state_age_s,
            image_age_s=self.image_age_s if image_age_s is None else image_age_s,
            view_motion=self.view_motion if view_motion is None else view_motion,
            feature_age_s=feature_age_s,
        )
