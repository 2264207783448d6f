"""Camera images from readings to views: which view, what stamp, whether the picture is a new one.

Used by camera_driver. An image that only repeats the one before is passed on all the same (it is
what the camera sent), counted and reported: whoever acts on images judges freshness by content.
Deliberately never decodes a JPEG.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
import time

from vla_core.clock_model import ClockModel
from vla_core.counters import Counters
from vla_core.errors import ConfigError
from vla_core.freshness import ContentTracker
from vla_core.health import HealthItem, Level, rate_item, RateMeter
from vla_core.timebase import NS, s_to_ns
from vla_drivers.devices.base import CameraReading
from vla_drivers.timeline import Novelty, Timeline

UNKNOWN_NAMES_KEPT = 5


@dataclass(frozen=True)
class CameraLimits:
    """Nominal rate, Hz, shares of it that warn and are an error, ages in s."""

    rate_hz: float
    warn_share: float
    error_share: float
    frozen_s: float
    late_s: float


@dataclass(frozen=True)
class ViewImage:
    """An image of a view; stamp by this machine's clock."""

    view: str
    stamp_ns: int
    jpeg: bytes


def parse_assignments(entries: Sequence[str], key: str) -> dict[str, list[str]]:
    """['view1: A B', ...] -> {'view1': ['A', 'B']}; ConfigError naming the entry that is wrong."""
    result: dict[str, list[str]] = {}
    for entry in entries:
        view, colon, rest = entry.partition(':')
        names = rest.split()
        if not colon or not names or not view.strip().isidentifier():
            raise ConfigError(
                '', key, entry, "expected 'view: name', such as 'view1: ZED_1_left zed_1_left'"
            )
        if view.strip() in result:
            raise ConfigError('', key, entry, f'view {view.strip()} is given twice')
        result[view.strip()] = names
    if not result:
        raise ConfigError('', key, list(entries), 'expected at least one view')
    return result


class _View:
    """What is known about one view."""

    def __init__(self):
        self.timeline = Timeline(history=256)
        self.content = ContentTracker()
        self.rate = RateMeter()
        self.newest_ns: int | None = None
        self.bytes = 0


class CameraStream:
    """`accept` belongs to the reader's thread; `health` may be called from any."""

    def __init__(
        self,
        names: Mapping[str, Sequence[str]],
        ignored: Sequence[str],
        clock: ClockModel,
        limits: CameraLimits,
        counters: Counters,
    ):
        self._view_of = {name: view for view, all_names in names.items() for name in all_names}
        if len(self._view_of) != sum(len(all_names) for all_names in names.values()):
            raise ConfigError('', 'cameras', names, 'a camera may belong to one view only')
        self._views = {view: _View() for view in names}
        self._ignored = tuple(ignored)
        self._clock = clock
        self._limits = limits
        self._counters = counters
        self._unknown: dict[str, int] = {}

    def accept(self, readings: Iterable[CameraReading]) -> list[ViewImage]:
        """Return the images that belong to a view, with local stamps; others are counted."""
        images = []
        for reading in readings:
            view = self._route(reading.frame.camera)
            if view is None:
                continue
            image = self._take(view, reading)
            if image is not None:
                images.append(image)
        return images

    def health(self, now_ns: int) -> list[HealthItem]:
        """One item a view, and one for cameras nobody asked for."""
        items = [self._view_item(name, view, now_ns) for name, view in self._views.items()]
        if self._unknown:
            shown = ', '.join(repr(name) for name in self._unknown)
            items.append(
                HealthItem(
                    'unknown cameras',
                    Level.WARN,
                    f'images of {shown} belong to no view: add it to parameter cameras or ignored',
                    {name: str(count) for name, count in self._unknown.items()},
                )
            )
        return items

    def _route(self, camera: str) -> str | None:
        view = self._view_of.get(camera)
        if view is not None:
            return view
        if any(fnmatchcase(camera, pattern) for pattern in self._ignored):
            self._counters.add('ignored')
            return None
        self._counters.add('unknown_camera')
        if camera in self._unknown or len(self._unknown) < UNKNOWN_NAMES_KEPT:
            self._unknown[camera] = self._unknown.get(camera, 0) + 1
        return None

    def _take(self, name: str, reading: CameraReading) -> ViewImage | None:
        frame, view = reading.frame, self._views[name]
        novelty = view.timeline.judge(frame.stamp_ns, reading.receive_ns)
        if novelty is not Novelty.NEW:
            self._counters.add(novelty.value)
            return None
        self._clock.observe(frame.send_ns or frame.stamp_ns, reading.receive_ns)
        stamp_ns = self._clock.to_local(frame.stamp_ns)
        if reading.receive_ns - stamp_ns > s_to_ns(self._limits.late_s):
            self._counters.add('late')
        if not view.content.observe(stamp_ns, frame.jpeg):
            self._counters.add('frozen')
        view.rate.tick(time.monotonic_ns())
        view.newest_ns, view.bytes = stamp_ns, len(frame.jpeg)
        return ViewImage(name, stamp_ns, frame.jpeg)

    def _view_item(self, name: str, view: _View, now_ns: int) -> HealthItem:
        limits, newest_ns, changed_ns = self._limits, view.newest_ns, view.content.changed_ns
        values = {
            'received_total': str(view.rate.total),
            'jpeg_bytes': str(view.bytes),
            'frozen_total': str(view.content.frozen_total),
            'age_s': 'none' if newest_ns is None else f'{(now_ns - newest_ns) / NS:.3f}',
        }
        item = rate_item(
            name,
            view.rate.hz(time.monotonic_ns()),
            limits.rate_hz * limits.warn_share,
            limits.rate_hz * limits.error_share,
            values,
        )
        if newest_ns is None or changed_ns is None or item.level is Level.STALE:
            return item
        frozen_s = (newest_ns - changed_ns) / NS
        if frozen_s > limits.frozen_s:
            text = (
                f'frozen: images arrive, but the picture is the same for {frozen_s:.1f} s > '
                f'{limits.frozen_s:.1f} s'
            )
            return HealthItem(name, Level.ERROR, text, item.values)
        return item
