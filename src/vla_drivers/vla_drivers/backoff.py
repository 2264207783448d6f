"""Waiting times between attempts: doubling, bounded. Used wherever a device is opened again."""

FIRST_S = 0.25
LONGEST_S = 5.0


class Backoff:
    """Counts failures in a row. One thread."""

    def __init__(self, first_s: float = FIRST_S, longest_s: float = LONGEST_S):
        self._first_s = first_s
        self._longest_s = longest_s
        self.failures = 0

    def next_s(self) -> float:
        """Count a failure; return how long to wait before the next attempt, s."""
        # The exponent is bounded so that a device absent for a year does not overflow.
        wait_s = min(self._longest_s, self._first_s * 2 ** min(self.failures, 30))
        self.failures += 1
        return wait_s

    def reset(self) -> None:
        """It worked: begin with the shortest time again."""
        self.failures = 0
