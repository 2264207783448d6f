"""The first surface ahead of the needle, from one A-scan of the OCT sensor.

The task watch uses it to say how far the needle is from the tissue. Deliberately does not say what
kind of surface it is and remembers nothing: one profile in, one distance out.
"""

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class SurfaceSettings:
    """How to read an A-scan. The legacy sensor: 1025 bins over 3.7 mm; its noise floor is about 46
    units with a scatter of 3.5, a surface rises by more than 100.
    """

    depth_per_bin_m: float = 0.0037 / 1025
    blind_m: float = 60e-6  # the fibre's own end face shines here
    contrast: float = 45.0  # a surface stands this far above the noise floor, sensor units
    peak_width_m: float = 40e-6  # the peak is the highest bin within this after the rise

    def __post_init__(self) -> None:
        for name in ('depth_per_bin_m', 'contrast', 'peak_width_m'):
            if not getattr(self, name) > 0.0:
                raise ValueError(f'{name} = {getattr(self, name)}: expected a number above 0')
        if not self.blind_m >= 0.0:
            raise ValueError(f'blind_m = {self.blind_m}: expected 0 or more')


def surface_distance_m(profile: ArrayLike, settings: SurfaceSettings) -> float:
    """Distance (m) from the tip to the first surface in a profile (P,); NaN where none is seen.

    NaN too for a profile that is too short or not finite.
    """
    values = np.asarray(profile, np.float64)
    blind = math.ceil(settings.blind_m / settings.depth_per_bin_m)
    if values.ndim != 1 or len(values) < blind + 8 or not np.isfinite(values).all():
        return math.nan
    ahead = values[blind:]
    # What lies behind a surface scatters: the lower quarter is noise even close to one.
    floor = float(np.partition(ahead, len(ahead) // 4)[len(ahead) // 4])
    above = ahead > floor + settings.contrast
    first = int(above.argmax())
    if not above[first]:
        return math.nan
    width = max(round(settings.peak_width_m / settings.depth_per_bin_m), 1)
    peak = first + int(ahead[first : first + width].argmax())
    return (blind + peak) * settings.depth_per_bin_m
