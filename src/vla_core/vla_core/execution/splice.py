"""How smoothly one chunk takes over from another, measured on what was executed.

Fed by the chunk executor; read by the driver's status, the diagnostics and `vla bench splice`.
Deliberately changes nothing: a rough splice is shown here and limited by the safety gate.
"""

from collections import deque
from dataclasses import dataclass
import math
import threading

import numpy as np
from numpy.typing import NDArray

from vla_core.stats import percentiles

Array = NDArray[np.float64]

# A policy whose steps hardly differ would make any splice look rough: less than this is nothing.
# The Meca500 repeats a position within 5 micrometres (data sheet).
LEAST_CHANGE_M = 1e-6
SAMPLES = 1024  # newest changes that the figures are taken over


@dataclass(frozen=True)
class SpliceFigures:
    """What `SpliceMeter.figures` answers; NaN where nothing was measured."""

    splices: int
    ratio_p50: float
    ratio_p99: float
    length_ratio_p50: float  # median change at a splice / median length of a step
    jump_ratio_p50: float  # of the switch itself, inside a step
    inside_change_m: float  # median
    step_length_m: float  # median


class SpliceMeter:
    """Change of the executed step across a splice against the changes inside chunks.

    Definition. A splice is the moment at which another chunk becomes the newest with a part in
    what is executed. Its *change* is the length of (executed step right after it) - (executed step
    in force just before the new step's period began), so both lie one step apart, like neighbours
    in a chunk, even where the new chunk takes over in the middle of its step. `ratio` is that
    change / the median change of neighbouring steps inside the newest chunks: 1 is as smooth as
    the chunks themselves. The *jump* is the change at the very moment of the switch. Starts after
    a pause and holds are no splices. The length of a step is sqrt(|displacement|^2 +
    (lever |rotation|)^2), m.

    Any thread may call; one lock guards all.
    """

    def __init__(self, lever_m: float = 0.1, samples: int = SAMPLES) -> None:
        self.splices = 0
        self._lock = threading.Lock()
        self._scale = np.array([1.0, 1.0, 1.0, lever_m, lever_m, lever_m])
        self._inside: deque[float] = deque(maxlen=samples)
        self._lengths: deque[float] = deque(maxlen=samples)
        self._changes: deque[float] = deque(maxlen=samples)
        self._jumps: deque[float] = deque(maxlen=samples)
        self._usual_m = math.nan  # median of _inside, so that reading the ratio costs nothing
        self._key: object = None
        self._begin_ns = 0
        self._current: Array | None = None
        self._before: Array | None = None

    @property
    def ratio(self) -> float:
        """Ratio of the last splice; NaN before the first."""
        with self._lock:
            return self._changes[-1] / self._floor() if self._changes else math.nan

    def inside(self, delta: Array) -> None:
        """Take in the steps (H, 6) of a chunk: displacement (m), rotation vector (rad)."""
        scaled = delta * self._scale
        lengths = np.linalg.norm(scaled, axis=1).tolist()
        changes = np.linalg.norm(np.diff(scaled, axis=0), axis=1).tolist()
        with self._lock:
            self._lengths.extend(lengths)
            self._inside.extend(changes)
            inside = list(self._inside)
        if inside:  # the slow part outside the lock: `executed` is called by the command thread
            self._usual_m = float(np.median(inside))

    def executed(self, key: object, begin_ns: int, step: Array) -> None:
        """Take in what is executed now: newest chunk, start of its step's period, step (6,)."""
        scaled = step * self._scale
        with self._lock:
            if begin_ns != self._begin_ns:
                self._before, self._begin_ns = self._current, begin_ns
            if key != self._key:
                if self._before is not None and self._current is not None:
                    self.splices += 1
                    self._changes.append(float(np.linalg.norm(scaled - self._before)))
                    self._jumps.append(float(np.linalg.norm(scaled - self._current)))
                self._key = key
            self._current = scaled

    def pause(self) -> None:
        """Nothing is executed, or a hold: what follows is a start, not a splice."""
        with self._lock:
            self._key = self._current = self._before = None

    def figures(self) -> SpliceFigures:
        """Return medians and the 99th percentile over the newest splices and chunks."""
        with self._lock:
            splices, usual_m = self.splices, self._floor()
            changes, jumps = list(self._changes), list(self._jumps)
            inside, lengths = list(self._inside), list(self._lengths)
        change, length_m = percentiles(changes), _median(lengths)
        return SpliceFigures(
            splices,
            _over(change['p50'], usual_m),
            _over(change['p99'], usual_m),
            _over(change['p50'], max(length_m, LEAST_CHANGE_M)),
            _over(percentiles(jumps)['p50'], usual_m),
            _median(inside),
            length_m,
        )

    def _floor(self) -> float:
        return self._usual_m if self._usual_m > LEAST_CHANGE_M else LEAST_CHANGE_M


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else math.nan


def _over(value: float | None, unit: float) -> float:
    return math.nan if value is None else value / unit
