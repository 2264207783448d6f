"""Whether to wait a moment for a newer set of images that is just coming in.

Called by the image inbox when a complete set is at hand. Starting a pass at once would use frames
that are about to be replaced: with five 5 Hz cameras whose frames come in over some 50 ms, one
start in four would be 200 ms older than it need be. Pure arithmetic on forecasts; deliberately
knows no threads and no clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass

# Share of the usual interval by which a view's next frame may be late and still be waited for.
ARRIVAL_MARGIN = 0.1
# Waiting `w` makes the oldest view younger by `gain` but everything later by `w`, and the next
# pass too.
LEAST_GAIN_PER_WAIT = 2


@dataclass(frozen=True)
class Forecast:
    """One view: the stamp of the frame at hand, the usual interval (0 = unknown), time to the next
    arrival, ns.
    """

    stamp_ns: int
    interval_ns: int
    expected_ns: int  # below 0: overdue

    @property
    def latest_ns(self) -> int:
        """Time until the next frame counts as lost, ns."""
        return self.expected_ns + round(ARRIVAL_MARGIN * self.interval_ns)


def settle_wait_ns(forecasts: Sequence[Forecast], limit_ns: int) -> int:
    """Return how long to wait for newer frames, ns, at most about `limit_ns`; 0 = start now."""
    if limit_ns <= 0 or any(item.interval_ns == 0 for item in forecasts):
        return 0
    oldest_ns = min(item.stamp_ns for item in forecasts)
    coming = [item for item in forecasts if item.latest_ns > 0 and item.expected_ns <= limit_ns]
    best_net_ns, best_wait_ns = 0, 0
    for candidate in coming:
        wait_ns = max(candidate.expected_ns, 0)
        arrived = [item for item in coming if item.expected_ns <= wait_ns]
        then_ns = min(item.stamp_ns + item.interval_ns * (item in arrived) for item in forecasts)
        gain_ns = then_ns - oldest_ns
        if gain_ns > LEAST_GAIN_PER_WAIT * wait_ns and gain_ns - wait_ns > best_net_ns:
            best_net_ns, best_wait_ns = gain_ns - wait_ns, max(item.latest_ns for item in arrived)
    return best_wait_ns
