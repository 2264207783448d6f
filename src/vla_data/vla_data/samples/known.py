"""What a live node would know after the messages so far: sensor, robot, views.

Fed with messages in the order of the log, read at a tick. Sensor and robot go through the very
`InputAligner` of the live node; views are judged by new content, as its image inbox does.
Deliberately never looks ahead: what was logged after the tick was not there.
"""

from dataclasses import dataclass, field
import math
from typing import Any

import numpy as np

from vla_core.alignment import InputAligner, ring_capacity
from vla_core.contract import Contract
from vla_core.counters import Counters
from vla_core.errors import WireFormatError
from vla_core.freshness import ContentTracker
from vla_core.sensor_batch import sensor_matrix
from vla_core.timebase import NS, s_to_ns
from vla_data.samples.values import View

# Where reading starts in the middle of a bag, the trackers of new content and the ring must not
# depend on what came before. Both tell reordering from a clock that was set back by steps of up to
# a second, and the tool's motion since a picture is told until that stops the robot; after this
# much of a stream, with new content at the end of it, nothing is left.
_LEAST_SETTLE_S, _SETTLE_MARGIN_S = 1.2, 0.3


@dataclass
class _Stream:
    """How long a stream has been seen, in log times."""

    first_ns: int | None = None
    changed_ns: int | None = None  # last new content

    def note(self, log_ns: int, changed: bool) -> None:
        if self.first_ns is None:
            self.first_ns = log_ns
        if changed:
            self.changed_ns = log_ns

    def seen_for(self, duration_ns: int) -> bool:
        if self.first_ns is None or self.changed_ns is None:
            return False
        return self.changed_ns - self.first_ns >= duration_ns


@dataclass
class _Slot:
    tracker: ContentTracker = field(default_factory=ContentTracker)
    jpeg: bytes = b''
    stamp_ns: int = 0


class Known:
    """State after the messages given so far. One thread.

    Counters: those of InputAligner, and bad_shape, image_empty, image_frozen.
    """

    def __init__(self, contract: Contract, counters: Counters, robot_must_change: bool) -> None:
        self._contract = contract
        self._counters = counters
        self._aligner = InputAligner(contract, robot_must_change, counters)
        self._slots = {view: _Slot() for view in contract.view_names}
        self._streams = {kind: _Stream() for kind in ('sensor', 'robot', *self._slots)}
        self._samples = 0

    def add_samples(self, log_ns: int, batch: Any) -> None:
        """Take in a SensorBatch."""
        tracker = self._aligner.sensor_content
        before = tracker.changed_total
        try:
            stamps_ns, values = sensor_matrix(batch)
            self._aligner.push_samples(stamps_ns, values)
        except (WireFormatError, ValueError):
            self._counters.add('bad_shape')
            return
        self._samples += len(stamps_ns)
        self._streams['sensor'].note(log_ns, tracker.changed_total != before)

    def add_joints(self, log_ns: int, stamp_ns: int, joint_rad: np.ndarray) -> None:
        """Take in joint angles (6,) rad."""
        before = self._aligner.robot_content.changed_total
        self._aligner.set_joints(stamp_ns, joint_rad)
        self._note_robot(log_ns, before)

    def add_pose(
        self, log_ns: int, stamp_ns: int, position_m: np.ndarray, quat_xyzw: np.ndarray
    ) -> None:
        """Take in a pose: (3,) m, (4,) xyzw."""
        before = self._aligner.robot_content.changed_total
        self._aligner.set_pose(stamp_ns, position_m, quat_xyzw)
        self._note_robot(log_ns, before)

    def add_image(self, log_ns: int, view: str, stamp_ns: int, jpeg: bytes) -> None:
        """Take in one JPEG of a view."""
        slot = self._slots[view]
        if not jpeg:
            self._counters.add('image_empty')
            return
        changed = slot.tracker.observe(stamp_ns, hash(jpeg))
        self._streams[view].note(log_ns, changed)
        if changed:
            slot.jpeg, slot.stamp_ns = jpeg, stamp_ns
        else:
            self._counters.add('image_frozen')

    def settled(self, kinds: set[str]) -> bool:
        """Say whether what came before the first message given can no longer matter to the
        streams `kinds`: 'sensor', 'robot', and view names.
        """
        if 'sensor' in kinds and self._samples < ring_capacity(self._contract):
            return False
        stop_s = self._contract.images.limits.stop_s
        needed_ns = s_to_ns(max(stop_s, _LEAST_SETTLE_S) + _SETTLE_MARGIN_S)
        return all(self._streams[kind].seen_for(needed_ns) for kind in kinds)

    def inputs(self, tick_ns: int) -> dict[str, Any]:
        """Return the fields of a Sample that are known at the tick."""
        aligned = self._aligner.at(tick_ns)
        robot = aligned.robot
        width = self._contract.state.width
        views = {
            name: View(slot.jpeg, slot.stamp_ns, _age_s(tick_ns, slot.stamp_ns))
            for name, slot in self._slots.items()
            if slot.jpeg
        }
        ages = [views[name].age_s if name in views else math.nan for name in self._slots]
        stamps_ns = [slot.stamp_ns for slot in self._slots.values()]  # 0 of one that never came
        unknown = np.full((len(stamps_ns), 6), np.nan, np.float32)
        return {
            'views': views,
            'image_age_s': np.array(ages, np.float32),
            'view_motion': self._aligner.motion_since(stamps_ns, robot) if robot else unknown,
            'window': aligned.window.values,
            'window_mask': aligned.window.mask,
            'sensor_age_s': _age_s(tick_ns, aligned.sensor_ns),
            'state': self._aligner.state(robot) if robot else np.full(width, np.nan, np.float32),
            'state_age_s': _age_s(tick_ns, aligned.robot_ns),
        }

    def _note_robot(self, log_ns: int, before: int) -> None:
        changed = self._aligner.robot_content.changed_total != before
        self._streams['robot'].note(log_ns, changed)


def _age_s(tick_ns: int, stamp_ns: int | None) -> float:
    return math.nan if stamp_ns is None else (tick_ns - stamp_ns) / NS
