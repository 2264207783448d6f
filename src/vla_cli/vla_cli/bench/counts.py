"""What was sent and what was received over exactly the same interval of capture time.

Pure computing, called by the live benchmark. The simulator's --stats-file pairs, per stream, the
number of items sent with the capture time of the newest of them. Two such pairs make an interval
(after, until] of capture time, in which the simulator sent exactly the difference of the two
numbers; received are the distinct capture stamps inside it. So no item in flight at a border is
ever taken for lost, and none is counted twice. Each stream has its own borders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_core.errors import VlaError

SENSOR = 'sensor'
# Capture times are float seconds on the wire, rounded to the microsecond: a border lies this far
# after the newest item, well within the least distance of two items (1.5 ms).
BORDER_NS = 500_000


@dataclass(frozen=True)
class Sent:
    """One reading of the statistics file: stream -> items sent, and the newest item's capture
    time.
    """

    pid: int
    read_ns: int
    counts: dict[str, int]
    newest_ns: dict[str, int]


@dataclass(frozen=True)
class Tally:
    """One stream over one interval."""

    sent: int
    received: int
    after_ns: int
    until_ns: int

    @property
    def lost(self) -> int:
        """Sent but not received."""
        return self.sent - self.received


def parse_stats(data: Mapping[str, Any], read_ns: int) -> Sent:
    """Read the simulator's statistics; VlaError when a key is missing."""
    try:
        counts = {SENSOR: int(data['sensor_samples_sent'])}
        counts.update({view: int(count) for view, count in data['images_sent'].items()})
        newest = {stream: int(data['last_capture_ns'][stream]) for stream in counts}
        return Sent(int(data['pid']), read_ns, counts, newest)
    except (KeyError, TypeError, ValueError) as error:
        raise VlaError(f'the statistics of the simulator lack {error}') from error


def tally(first: Sent, last: Sent, stamps_ns: Mapping[str, Sequence[int]]) -> dict[str, Tally]:
    """Compare two readings with the capture stamps received per stream; stamps may repeat."""
    if first.pid != last.pid:
        raise VlaError('the simulator was restarted during the measurement: measure again')
    result = {}
    for stream, count in last.counts.items():
        after, until = first.newest_ns[stream] + BORDER_NS, last.newest_ns[stream] + BORDER_NS
        stamps = np.unique(np.asarray(stamps_ns.get(stream, ()), np.int64))
        inside = int(np.count_nonzero((stamps > after) & (stamps <= until)))
        result[stream] = Tally(count - first.counts[stream], inside, after, until)
    return result


def missing_in_windows(
    windows: Sequence[tuple[int, int]], stamps_ns: Sequence[int], duration_ns: int, lag_ns: int
) -> int:
    """Return how many received samples the action expert's windows lacked.

    `windows` are (tick_ns, samples in the window) of the chunks; the window of a tick is (tick -
    lag - duration, tick - lag]. A sample at a border may fall on either side (the stamps'
    microsecond): one a window is forgiven.
    """
    stamps = np.unique(np.asarray(stamps_ns, np.int64))
    missing = 0
    for tick_ns, count in windows:
        borders = np.searchsorted(
            stamps, (tick_ns - lag_ns - duration_ns, tick_ns - lag_ns), side='right'
        )
        lacking = int(borders[1] - borders[0]) - count
        missing += lacking if lacking > 1 else 0
    return missing
