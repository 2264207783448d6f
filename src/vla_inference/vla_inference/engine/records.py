"""Values between the engines and the nodes: images, features, chunks and their lineage.

Made by the VLM worker and the action loop, turned into messages by nodes/messages.py. All times
are `stamp_ns` (Unix epoch), 0 where there is none. Deliberately holds no behaviour and knows no
message type.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
import math
from typing import Protocol

import numpy as np

from vla_core.freshness import Reaction
from vla_core.model_input import ModelInput


@dataclass(frozen=True)
class Frame:
    """One image as it came: a JPEG and the time its CONTENT was acquired."""

    view: str
    stamp_ns: (
        int  # of the first frame that showed this content: a frozen camera does not get younger
    )
    jpeg: bytes
    digest: int  # of the JPEG


@dataclass(frozen=True)
class ImageSet:
    """One frame of every view, in model order, ready for a pass."""

    frames: tuple[Frame, ...]
    stale_views: tuple[str, ...] = ()  # views that brought no new content in time

    @property
    def oldest_ns(self) -> int:
        """Acquisition time of the oldest view."""
        return min(frame.stamp_ns for frame in self.frames)

    @property
    def newest_ns(self) -> int:
        """Acquisition time of the newest view."""
        return max(frame.stamp_ns for frame in self.frames)


@dataclass(frozen=True)
class FeatureSet:
    """The result of one pass of the vision-language model, with everything about that pass."""

    feature_id: int
    tokens: np.ndarray  # (T, D) float16
    task: str
    checkpoint_hash: str
    contract_hash: str
    views: tuple[str, ...]
    view_stamps_ns: tuple[int, ...]
    started_ns: int
    published_ns: int
    stale_views: tuple[str, ...] = ()
    stages_s: dict[str, float] = field(
        default_factory=dict
    )  # decode, preprocess, vision, language, pool, total
    images_received: int = 0
    images_overwritten: int = 0
    images_rejected: int = 0


@dataclass(frozen=True)
class Lineage:
    """What an action was computed from; the fields of vla_msgs/Lineage. Ages at the tick, s, NaN
    where nothing came.
    """

    views: tuple[str, ...] = ()
    view_stamps_ns: tuple[int, ...] = ()
    feature_id: int = 0
    features_ns: int = 0
    sensor_first_ns: int = 0
    sensor_last_ns: int = 0
    robot_ns: int = 0
    sensor_samples: int = 0
    sensor_fill: float = 0.0
    sensor_max_gap_s: float = math.nan
    image_age_s: float = math.nan
    feature_age_s: float = math.nan
    sensor_age_s: float = math.nan
    robot_age_s: float = math.nan
    earlier_feature_ids: tuple[int, ...] = ()  # passes before it that were used too, newest first
    earlier_image_age_s: float = math.nan


@dataclass(frozen=True)
class Chunk:
    """One chunk of actions and all that is known about how it came to be; the fields of
    vla_msgs/ActionChunk.
    """

    chunk_id: int
    tick_ns: int
    step_stamps_ns: tuple[int, ...]
    delta: (
        np.ndarray
    )  # (steps, 6) float64: displacement (m) and rotation vector (rad) a step, base frame
    reaction: Reaction
    reasons: tuple[str, ...]
    task: str
    lineage: Lineage
    published_ns: int
    tick_late_s: float
    snapshot_s: float
    inference_s: float
    total_s: float
    deadline_misses: int
    committed_steps: int = 0  # first steps that repeat the chunk before (real-time chunking)


class EncodedViews(Protocol):
    """What an encoder returns."""

    tokens: np.ndarray  # (T, D) float16
    stages: dict[str, float]  # durations, s: preprocess, vision, language, pool


class Encoder(Protocol):
    """The vision-language model as the worker needs it."""

    def encode(self, images: Sequence[np.ndarray], task: str) -> EncodedViews:
        """Turn one (H, W, 3) uint8 RGB image a view, in model order, into features."""
        ...


class Expert(Protocol):
    """The action expert as the loop needs it."""

    def act(
        self,
        features: np.ndarray,
        inputs: ModelInput,
        seed: int,
        prefix: np.ndarray | None = None,
        committed_steps: int = 0,
    ) -> np.ndarray:
        """Return (steps, 6) float64 from (T, D) features and the aligned inputs.

        `prefix` (n, 6) is given only with real-time chunking: see vla_core's Continuation.
        """
        ...
