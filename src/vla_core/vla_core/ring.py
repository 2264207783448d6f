"""Time-ordered buffer of the newest samples of a fast stream.

Pushed to from a subscription's thread, sliced at every tick by the action loop. Samples may come
in bursts, twice, out of order or from a clock that is set back. Deliberately does no resampling:
`window` does.
"""

from dataclasses import dataclass
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Reordering on a network is milliseconds; a run of samples this far behind the newest one means
# that the source's clock was set back, or that the newest one was dated into the future.
BACKWARD_STEP_NS = 500_000_000
BACKWARD_STEP_RUN = 32


@dataclass(frozen=True)
class PushReport:
    """What became of one push; accepted + duplicates + late + not_finite = samples pushed."""

    accepted: int = 0
    duplicates: int = 0  # the stamp was there already (also within the push)
    reordered: int = 0  # of the accepted ones: older than a sample that came before it
    late: int = 0  # older than the newest `capacity` samples
    not_finite: int = 0  # holds NaN or infinity, which would poison every action
    restarts: int = 0  # 1 when this push emptied the buffer because the stamps went back


class SampleRing:
    """The newest `capacity` distinct samples (stamp, vector), ordered by stamp.

    Any thread may call any method; one lock guards all. Rows live in a fixed pool and never move:
    the sorted index `_slots` says which row belongs to which stamp, so that a sample that comes
    late costs moving a few integers.
    """

    def __init__(self, width: int, capacity: int, dtype: Any = np.float32) -> None:
        if width <= 0 or capacity <= 0:
            raise ValueError(f'width and capacity must be above 0, not {width} and {capacity}')
        self.width = width
        self.capacity = capacity
        self._lock = threading.Lock()
        self._pool = np.zeros((capacity, width), dtype)
        # Sorted stamps and the rows they belong to are [_head:_tail] of these; room for 2 x
        # capacity, so that the move to the front happens once in `capacity` samples and costs 16
        # bytes a sample.
        self._stamps = np.zeros(2 * capacity, np.int64)
        self._slots = np.zeros(2 * capacity, np.int64)
        self._head = 0
        self._tail = 0
        self._behind = 0
        self.restarts = 0

    def __len__(self) -> int:
        return self._tail - self._head

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest sample, None when empty."""
        with self._lock:
            return int(self._stamps[self._tail - 1]) if self._tail > self._head else None

    @property
    def oldest_ns(self) -> int | None:
        """Stamp of the oldest sample, None when empty."""
        with self._lock:
            return int(self._stamps[self._head]) if self._tail > self._head else None

    def clear(self) -> None:
        """Forget all samples."""
        with self._lock:
            self._head = self._tail = self._behind = 0

    def push(self, stamps_ns: NDArray[np.int64], values: NDArray[Any]) -> PushReport:
        """Take in samples (N,) int64, (N, width); ValueError on other shapes."""
        stamps = np.ascontiguousarray(stamps_ns, np.int64)
        rows = np.asarray(values)
        if stamps.ndim != 1 or rows.shape != (len(stamps), self.width):
            raise ValueError(
                f'expected stamps (N,) and values (N, {self.width}), '
                f'got {stamps.shape} and {rows.shape}'
            )
        finite = np.isfinite(rows).all(axis=1)
        bad = len(stamps) - int(np.count_nonzero(finite))
        if bad:
            stamps, rows = stamps[finite], rows[finite]
        if not len(stamps):
            return PushReport(not_finite=bad)
        in_order = bool((stamps[1:] > stamps[:-1]).all())
        with self._lock:
            restarts = self._detect_backward_step(stamps)
            newest = int(self._stamps[self._tail - 1]) if self._tail > self._head else None
            if in_order and (newest is None or int(stamps[0]) > newest):
                late = max(0, len(stamps) - self.capacity)
                self._append(stamps[late:], rows[late:])
                return PushReport(len(stamps) - late, 0, 0, late, bad, restarts)
            return self._merge(stamps, rows, newest, bad, restarts)

    def slice(self, start_ns: int, end_ns: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Return copies with start < stamp <= end: (M,) int64, (M, width), oldest first."""
        with self._lock:
            stamps = self._stamps[self._head : self._tail]
            first, last = np.searchsorted(stamps, (start_ns, end_ns), side='right')
            last = max(first, last)
            slots = self._slots[self._head + first : self._head + last]
            return stamps[first:last].copy(), self._pool.take(slots, axis=0)

    def _detect_backward_step(self, stamps: NDArray[np.int64]) -> int:
        if self._tail == self._head:
            self._behind = 0
            return 0
        limit = int(self._stamps[self._tail - 1]) - BACKWARD_STEP_NS
        if int(stamps.max()) >= limit:
            self._behind = 0
            return 0
        self._behind += len(stamps)
        if self._behind < BACKWARD_STEP_RUN:
            return 0
        self._head = self._tail = self._behind = 0
        self.restarts += 1
        return 1

    def _append(self, stamps: NDArray[np.int64], rows: NDArray[Any]) -> None:
        """Add sorted samples that are all newer than those held, at most `capacity` of them."""
        count = len(stamps)
        if self._tail + count > len(self._stamps):
            held = self._tail - self._head
            self._stamps[:held] = self._stamps[self._head : self._tail]
            self._slots[:held] = self._slots[self._head : self._tail]
            self._head, self._tail = 0, held
        slots = self._free_slots(count)
        self._pool[slots] = rows
        self._stamps[self._tail : self._tail + count] = stamps
        self._slots[self._tail : self._tail + count] = slots
        self._tail += count

    def _free_slots(self, count: int) -> NDArray[np.int64]:
        """Give `count` rows of the pool: unused ones, then those of the oldest, which go."""
        held = self._tail - self._head
        evict = max(0, held + count - self.capacity)
        slots = np.empty(count, np.int64)
        slots[:evict] = self._slots[self._head : self._head + evict]
        self._head += evict
        if evict < count:
            used = np.zeros(self.capacity, bool)
            used[self._slots[self._head : self._tail]] = True
            used[slots[:evict]] = True
            slots[evict:] = np.flatnonzero(~used)[: count - evict]
        return slots

    def _merge(
        self,
        stamps: NDArray[np.int64],
        rows: NDArray[Any],
        newest: int | None,
        bad: int,
        restarts: int,
    ) -> PushReport:
        """Slow path: the push is out of order or reaches back behind the newest sample."""
        count = len(stamps)
        before = np.maximum.accumulate(stamps)
        floor = np.iinfo(np.int64).min if newest is None else newest
        ahead = np.maximum(np.concatenate(([floor], before[:-1])), floor)
        unique, first = np.unique(stamps, return_index=True)
        held = self._stamps[self._head : self._tail]
        fresh = ~np.isin(unique, held, assume_unique=True)
        unique, first = unique[fresh], first[fresh]
        duplicates = count - len(unique)
        late = 0
        overflow = len(held) + len(unique) - self.capacity
        if overflow > 0:
            # Of old and new together the newest `capacity` stay.
            oldest_kept = np.partition(np.concatenate((held, unique)), overflow)[overflow]
            late = int(np.count_nonzero(unique < oldest_kept))
            unique, first = unique[late:], first[late:]
        reordered = int(np.count_nonzero(stamps[first] < ahead[first]))
        self._insert(unique, rows[first])
        return PushReport(len(unique), duplicates, reordered, late, bad, restarts)

    def _insert(self, stamps: NDArray[np.int64], rows: NDArray[Any]) -> None:
        """Add sorted samples with new stamps anywhere; they fit after evicting the oldest ones."""
        if not len(stamps):
            return
        slots = self._free_slots(len(stamps))
        self._pool[slots] = rows
        all_stamps = np.concatenate((self._stamps[self._head : self._tail], stamps))
        all_slots = np.concatenate((self._slots[self._head : self._tail], slots))
        order = np.argsort(all_stamps, kind='stable')
        self._head, self._tail = 0, len(order)
        self._stamps[: self._tail] = all_stamps[order]
        self._slots[: self._tail] = all_slots[order]
