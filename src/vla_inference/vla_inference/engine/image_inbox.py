"""The newest JPEG of every view, and the decision when a set is worth a vision-language pass.

`put` is called by the executor's thread at every image, `wait_for_set` by the VLM worker.
Freshness is judged by content: a camera that repeats a frame under new stamps brings nothing new.
Deliberately decodes nothing and keeps one frame a view: only the newest matters, and what is never
used is counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
import threading
import time

from vla_core.counters import Counters
from vla_core.freshness import ContentTracker
from vla_core.timebase import NS, s_to_ns
from vla_inference.engine.pass_schedule import PassSchedule
from vla_inference.engine.records import Frame, ImageSet
from vla_inference.engine.settle import Forecast, settle_wait_ns

LONGEST_WAIT_S = 0.1  # how soon a stop is noticed


@dataclass
class _Slot:
    """One view. Times named `_steady_ns` are arrivals on the steady clock."""

    tracker: ContentTracker = field(default_factory=ContentTracker)
    frame: Frame | None = None
    unused: bool = False  # new content that no pass has used yet
    arrived_steady_ns: int = 0  # of the newest new content
    waiting_since_ns: int = 0  # arrival of the first unused content
    interval_ns: int = 0  # usual time between arrivals of new content, 0 = unknown


@dataclass(frozen=True)
class InboxSettings:
    """How long to wait for views: `wait_s` for missing ones, `settle_s` for a newer set that is
    just coming in.
    """

    wait_s: float = 0.3
    settle_s: float = 0.1


class ImageInbox:
    """Latest frame per view. Any thread may call anything; one condition guards all.

    Counters: received, frozen (no new content), overwritten, unknown_view, empty.
    """

    def __init__(
        self,
        views: Sequence[str],
        schedule: PassSchedule,
        settings: InboxSettings | None = None,
        steady: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.views = tuple(views)
        self.counters = Counters()
        self._schedule = schedule
        self._settings = settings or InboxSettings()
        self._steady = steady
        self._slots = {view: _Slot() for view in self.views}
        self._complete_since_ns: int | None = None
        self._condition = threading.Condition()

    def put(self, view: str, stamp_ns: int, jpeg: bytes) -> bool:
        """Take in one image; False if it brings nothing new."""
        self.counters.add('received')
        slot = self._slots.get(view)
        if slot is None or not jpeg:
            self.counters.add('unknown_view' if slot is None else 'empty')
            return False
        digest = hash(jpeg)
        with self._condition:
            if not slot.tracker.observe(stamp_ns, digest):
                self.counters.add('frozen')
                return False
            self._renew(slot, Frame(view, stamp_ns, jpeg, digest))
            self._condition.notify_all()
        return True

    def wait_for_set(self, stop: threading.Event, timeout_s: float) -> ImageSet | None:
        """Wait for a set worth a pass and take it; None after `timeout_s` or on `stop`."""
        end_ns = self._steady() + s_to_ns(timeout_s)
        with self._condition:
            while not stop.is_set():
                wait_ns = self._wait_ns()
                if wait_ns is not None and wait_ns <= 0:
                    return self._take()
                remaining_ns = end_ns - self._steady()
                if remaining_ns <= 0:
                    return None
                wait_ns = remaining_ns if wait_ns is None else min(wait_ns, remaining_ns)
                self._condition.wait(min(wait_ns / NS, LONGEST_WAIT_S))
        return None

    def take_if_ready(self) -> ImageSet | None:
        """Take a set if one is worth a pass right now."""
        return self.wait_for_set(threading.Event(), 0.0)

    def view_ages_s(self, now_ns: int) -> dict[str, float | None]:
        """Age of the newest content of every view, s; None before the first image."""
        with self._condition:
            return {view: slot.tracker.age_s(now_ns) for view, slot in self._slots.items()}

    def forget(self) -> None:
        """Drop all frames (deactivation); counters stay."""
        with self._condition:
            self._slots = {view: _Slot() for view in self.views}

    def _renew(self, slot: _Slot, frame: Frame) -> None:
        now_ns = self._steady()
        if slot.unused:
            self.counters.add('overwritten')
        if not slot.unused or not self._due(slot):
            slot.waiting_since_ns = now_ns
        if slot.frame is not None:
            interval_ns = now_ns - slot.arrived_steady_ns
            # A slow average: one late frame must not spoil the forecast, a new camera rate must
            # get through.
            usual_ns = slot.interval_ns or interval_ns
            slot.interval_ns = round(0.8 * usual_ns + 0.2 * interval_ns)
        slot.frame, slot.unused, slot.arrived_steady_ns = frame, True, now_ns

    def _due(self, slot: _Slot) -> bool:
        return (
            slot.unused and slot.frame is not None and self._schedule.is_due(slot.frame.stamp_ns)
        )

    def _wait_ns(self) -> int | None:
        """Return how long to wait before the next look, ns; 0 or less: take now; None: until an
        image comes.
        """
        slots = list(self._slots.values())
        unused = [slot.frame.stamp_ns for slot in slots if slot.unused and slot.frame]
        if not unused or any(slot.frame is None for slot in slots):
            return None
        self._schedule.follow(max(unused))
        due = [slot for slot in slots if self._due(slot)]
        if not due:
            return None
        now_ns = self._steady()
        if len(due) < len(slots):
            first_ns = min(slot.waiting_since_ns for slot in due)
            return first_ns + s_to_ns(self._settings.wait_s) - now_ns
        if self._complete_since_ns is None:
            self._complete_since_ns = now_ns
        left_ns = self._complete_since_ns + s_to_ns(self._settings.settle_s) - now_ns
        return min(settle_wait_ns([_forecast(slot, now_ns) for slot in slots], left_ns), left_ns)

    def _take(self) -> ImageSet:
        stale = tuple(view for view, slot in self._slots.items() if not slot.unused)
        frames = tuple(slot.frame for slot in self._slots.values() if slot.frame is not None)
        self._schedule.taken(max(frame.stamp_ns for frame in frames if frame.view not in stale))
        for slot in self._slots.values():
            slot.unused = False
        self._complete_since_ns = None
        return ImageSet(frames, stale)


def _forecast(slot: _Slot, now_ns: int) -> Forecast:
    assert slot.frame is not None
    expected_ns = slot.arrived_steady_ns + slot.interval_ns - now_ns
    return Forecast(slot.frame.stamp_ns, slot.interval_ns, expected_ns)
