"""What a legacy recording becomes before it is written: streams in SI units with ns stamps.

Made by the readers of the layouts, eaten by `write`. Big content stays on disk: images are loaded
one by one, sensor samples block by block, so that memory is flat in the length of a recording.
Deliberately no messages here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vla_core.rotation import Array
from vla_data.importing.report import ImportReport

Stamps: TypeAlias = NDArray[np.int64]
# A run of samples: stamps (N,) ns, force (N,) N, profiles (N, bins), all oldest first.
SensorBlock: TypeAlias = tuple[Stamps, NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class ImageStream:
    """Images of one view, oldest first."""

    view: str
    stamps_ns: Stamps  # (N,)
    load: Callable[[int], bytes | None]  # index -> JPEG; None when it cannot be used (reported)


@dataclass(frozen=True, eq=False)
class RobotStream:
    """States of the arm, oldest first. Either part may be missing from a recording."""

    stamps_ns: Stamps  # (N,)
    joint_rad: Array | None  # (N, 6) unwrapped: no jump of a whole turn
    position_m: Array | None  # (N, 3) TCP in the base frame
    quat_xyzw: Array | None  # (N, 4), sign continuous


@dataclass(frozen=True, eq=False)
class SensorStream:
    """Samples of the OCT/force sensor in one stream without duplicates, oldest first."""

    count: int
    bins: int
    blocks: Callable[[], Iterator[SensorBlock]]  # starts anew at each call


@dataclass(frozen=True, eq=False)
class ActionStream:
    """Recorded actions: displacement (m) and base-frame rotation vector (rad) of one step."""

    stamps_ns: Stamps  # (N,)
    delta: Array  # (N, 6)


@dataclass(frozen=True, eq=False)
class LegacyEpisode:
    """One legacy recording, read."""

    name: str
    report: ImportReport
    images: tuple[ImageStream, ...] = ()
    robot: RobotStream | None = None
    sensor: SensorStream | None = None
    action: ActionStream | None = None
    extra: dict[str, Any] = field(default_factory=dict)  # the recording's own metadata, as it was
