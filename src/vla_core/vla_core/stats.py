"""Percentiles under the names the benchmarks print.

Called by benchmarks, monitors and the simulator's statistics. Deliberately exact: no histogram, no
sketch.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike


def percentiles(values: ArrayLike, which: Iterable[float] = (50, 99)) -> dict[str, float | None]:
    """Percentiles by name: 50 is 'p50', 99.9 is 'p99_9', 0 is 'min', 100 is 'max'.

    Values that are not finite are left out; without any value each is None (null in JSON). Linear
    between samples, the unit that of `values`.
    """
    numbers = np.asarray(values, np.float64).ravel()
    numbers = numbers[np.isfinite(numbers)]
    return {
        percentile_name(q): float(np.percentile(numbers, q)) if len(numbers) else None
        for q in which
    }


def percentile_name(q: float) -> str:
    """Name of a percentile, usable as a key: 99.9 is 'p99_9'."""
    if q in (0, 100):
        return 'min' if q == 0 else 'max'
    return f'p{q:g}'.replace('.', '_')
