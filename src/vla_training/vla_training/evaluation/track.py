"""What is measured along an episode: where the tip entered, how smoothly it moved, ages.

Filled by `episode`, fifty times a second. Deliberately judges nothing.
"""

import math
from typing import Any

import numpy as np

from vla_inference.engine.input_buffers import Snapshot
from vla_sim.shared import COLUMNS

LOOK_S = 0.02


class EpisodeTrack:
    """Measurements of one episode. Lengths m, times s."""

    def __init__(self) -> None:
        self.entry_error_m = math.nan
        self.holds = 0
        self.image_ages_s: list[float] = []
        self.feature_ages_s: list[float] = []
        self._tips: list[np.ndarray] = []

    def look(self, state: Any, inside: bool) -> None:
        """Take in a state (WIDTH,) of the scene, every LOOK_S."""
        self._tips.append(np.array(state[COLUMNS.tip]))
        if inside and math.isnan(self.entry_error_m):
            self.entry_error_m = float(state[COLUMNS.radial])

    def tick(self, shot: Snapshot, held: bool) -> None:
        """Take in the ages of a tick's inputs that there are."""
        self.holds += held
        for ages, age_s in (
            (self.image_ages_s, shot.lineage.image_age_s),
            (self.feature_ages_s, shot.lineage.feature_age_s),
        ):
            if math.isfinite(age_s):
                ages.append(age_s)

    @property
    def jerk_m_s3(self) -> float:
        """Root mean square of the tip's jerk."""
        if len(self._tips) < 4:
            return math.nan
        jerk = np.diff(np.array(self._tips), 3, axis=0) / LOOK_S**3
        return float(np.sqrt((jerk**2).sum(1).mean()))
