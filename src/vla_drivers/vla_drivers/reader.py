"""The loop that reads a device in a thread of its own and hands over what came.

Used by the nodes as the target of a worker. Deliberately catches DeviceError only: anything else
that a device or a handler raises is a bug, ends the worker and thereby the process, and the
supervisor starts it anew.
"""

from collections.abc import Callable
import threading

from vla_core.errors import DeviceError
from vla_core.health import HealthItem, Level
from vla_drivers.backoff import Backoff
from vla_drivers.devices.base import Device

READ_TIMEOUT_S = 0.1  # how long a stop can go unnoticed; no data is delayed by it


class DeviceReader:
    """Reads until told to stop; a device that fails is closed and opened again with back-off.

    `run` belongs to the worker's thread, as does the device while it runs; `stop` and `health` are
    for any thread. After each reading the loop rests for `pause_s(readings)`, so that small
    messages gather.
    """

    def __init__(
        self,
        device: Device,
        handle: Callable[[list], None],
        pause_s: Callable[[list], float] = lambda readings: 0.0,
    ):
        self._device = device
        self._handle = handle
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._problem = ''

    def discard_waiting(self) -> None:
        """Throw away and count what gathered while nobody read; called before `run` is started."""
        waiting = self._device.discard_pending()
        if waiting:
            self._device.counters.add('discarded_at_start', waiting)

    def run(self) -> None:
        """Read until `stop`."""
        backoff = Backoff()
        while not self._stop.is_set():
            try:
                if self._problem:
                    self._device.open()
                    self._device.counters.add('reopened')
                    self._problem = ''
                readings = self._device.read(READ_TIMEOUT_S)
            except DeviceError as error:
                self._retry(error, backoff)
                continue
            if readings:
                backoff.reset()
                self._handle(readings)
                pause_s = self._pause_s(readings)
                if pause_s > 0:
                    self._stop.wait(pause_s)

    def stop(self) -> None:
        """Let `run` return soon."""
        self._stop.set()

    def health(self) -> HealthItem:
        """The device, its description and its trouble."""
        level = Level.ERROR if self._problem else Level.OK
        return HealthItem('device', level, self._problem or 'open', self._device.describe())

    def _retry(self, error: DeviceError, backoff: Backoff) -> None:
        self._device.counters.add('device_errors')
        self._device.close()
        wait_s = backoff.next_s()
        self._problem = f'{error} (attempt {backoff.failures}, again in {wait_s:.2f} s)'
        self._stop.wait(wait_s)
