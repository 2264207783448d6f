"""What the gate did, in words: reasons with the value that was met and its limit.

Used by whoever shows a CommandStatus to a person. Deliberately knows no messages.
"""

from collections.abc import Sequence
import math


def tell(reasons: Sequence[str], values: Sequence[float], limits: Sequence[float]) -> str:
    """Return 'speed 0.03/0.025, workspace'; no numbers where either is missing or not finite."""
    parts = []
    for index, reason in enumerate(reasons):
        value = values[index] if index < len(values) else math.nan
        limit = limits[index] if index < len(limits) else math.nan
        known = math.isfinite(value) and math.isfinite(limit)
        parts.append(f'{reason} {value:.3g}/{limit:.3g}' if known else reason)
    return ', '.join(parts)
