"""Diagnostics that all three drivers share: counts of bad input, and the clock of the source.

Used by the streams and nodes. Deliberately holds no thresholds of its own; they are parameters.
"""

from collections import deque
from collections.abc import Iterable

from vla_core.clock_model import ClockModel
from vla_core.counters import Counters
from vla_core.health import HealthItem, Level

RECENT = 10  # calls of health(), that is seconds, for which a bad input keeps the level at WARN


class InputHealth:
    """The item 'input': all counts by kind; WARN while kinds that are not benign have grown
    recently.
    """

    def __init__(self, counters: Counters, benign: Iterable[str] = ()):
        self._counters = counters
        self._benign = frozenset(benign)
        self._history: deque[dict[str, int]] = deque([{}], maxlen=RECENT + 1)

    def item(self) -> HealthItem:
        """Return the item; called once a second."""
        counts = self._counters.snapshot()
        before = self._history[0]
        self._history.append(counts)
        grown = {
            kind: count - before.get(kind, 0)
            for kind, count in counts.items()
            if kind not in self._benign and count > before.get(kind, 0)
        }
        values = {kind: str(count) for kind, count in counts.items()}
        if not grown:
            return HealthItem('input', Level.OK, 'clean', values)
        text = ', '.join(f'{kind} {count}' for kind, count in grown.items())
        return HealthItem('input', Level.WARN, f'{text} in the last {RECENT} s', values)


def clock_item(clock: ClockModel, model: str, warn_s: float) -> HealthItem:
    """Return the item 'clock': offset, jitter, drift; WARN when a trusted clock differs by more
    than warn_s.
    """
    offset_s = clock.offset_ns / 1e9
    values = {
        'model': model,
        'offset_ms': f'{offset_s * 1e3:.3f}',
        'jitter_ms': f'{clock.jitter_ns / 1e6:.3f}',
        'drift_ppm': f'{clock.drift_ppm:.1f}',
        'steps': str(clock.steps),
    }
    if model == 'trusted' and abs(offset_s) > warn_s:
        return HealthItem(
            'clock',
            Level.WARN,
            (
                f"the source's clock differs by {offset_s * 1e3:.0f} ms > {warn_s * 1e3:.0f} ms: "
                'synchronise it '
                '(chrony, PTP) or set parameter clock to estimated'
            ),
            values,
        )
    return HealthItem('clock', Level.OK, f'{model}, offset {offset_s * 1e3:.1f} ms', values)
