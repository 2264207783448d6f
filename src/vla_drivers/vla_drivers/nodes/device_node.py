"""What every driver node has: one device, one stream of what it brings, one reading thread.

Base of the three driver nodes. It opens, starts, stops and frees, and shows what all devices have
in common; topics, messages and limits are the nodes' own. Deliberately knows no device by name.
"""

from collections.abc import Callable, Iterable
from typing import Any

from vla_core.clock_model import ClockModel, make_clock
from vla_core.health import HealthItem
from vla_drivers.devices.base import Device
from vla_drivers.health import clock_item, InputHealth
from vla_drivers.reader import DeviceReader
from vla_ros.lifecycle import VlaLifecycleNode

# From a force sample to the robot's stop: neither driver may wait for a model or a renderer.
NICE = -10


class DeviceNode(VlaLifecycleNode):
    """`_on_readings` of the subclass runs in the reader's thread, everything else in the
    executor's. The subclass's parameters must have `clock` and `clock_warn_s`.
    """

    def __init__(self, name: str, parameters: type, hardware_id: str, **kwargs):
        super().__init__(name, parameters, hardware_id=hardware_id, **kwargs)
        self._device: Any = None
        self._stream: Any = None
        self._reader: DeviceReader | None = None

    def deactivate(self) -> None:
        """Stop reading."""
        self._reader.stop()
        self.join_workers()
        self._stream = None

    def cleanup(self) -> None:
        """Free the device."""
        if self._device is not None:
            self._device.close()
            self._device = None

    def health(self) -> list[HealthItem]:
        """Device, input, what the stream brings, and the clock."""
        if self._stream is None:
            return []
        return [
            self._reader.health(),
            self._input.item(),
            *self._stream_health(),
            clock_item(self._source_clock, self._clock_kind(), self.params.clock_warn_s),
        ]

    def _open(self, device: Device, benign: Iterable[str]) -> None:
        """Open the device; counts of the kinds in `benign` are no reason to warn."""
        self._device = device
        device.open()
        self._input = InputHealth(device.counters, benign)

    def _read(
        self,
        make_stream: Callable[[ClockModel], Any],
        pause_s: Callable[[list], float] = lambda readings: 0.0,
    ) -> None:
        """Start the reading thread; what waited while the node was inactive is old."""
        self._source_clock = make_clock(self._clock_kind())
        self._stream = make_stream(self._source_clock)
        self._reader = DeviceReader(self._device, self._on_readings, pause_s)
        self._reader.discard_waiting()
        self.start_worker(f'{self.get_name()} reader', self._reader.run)

    def _clock_kind(self) -> str:
        """Return the clock model of the source."""
        return self.params.clock

    def _stream_health(self) -> list[HealthItem]:
        """Return the subclass's own items."""
        raise NotImplementedError

    def _on_readings(self, readings: list) -> None:
        """Publish what has come; the subclass's."""
        raise NotImplementedError
