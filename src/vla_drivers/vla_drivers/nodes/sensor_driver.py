"""Sensor driver node: OCT/force samples of the legacy sensor host as SensorBatch.

Started by stack.yaml and the launch files. One message a datagram (variant A), or samples gathered
for a few milliseconds (variant B). Logic is in devices/udp_sensor.py and sensor_stream.py.
"""

from dataclasses import dataclass

from geometry_msgs.msg import WrenchStamped

from vla_core.health import HealthItem
from vla_drivers.devices.udp_sensor import UdpSensor
from vla_drivers.nodes.device_node import DeviceNode, NICE
from vla_drivers.sensor_stream import Batch, buffer_item, SensorSettings, SensorStream
from vla_msgs.msg import SensorBatch
from vla_ros import convert, qos
from vla_ros.params import param
from vla_ros.spin import run_node

BENIGN = ('discarded_at_start',)


@dataclass(frozen=True)
class Parameters:
    """Parameters; values in launch/config/sensor_driver.yaml."""

    bind: str = param('local address to listen at; 0.0.0.0 for all interfaces')
    port: int = param('UDP port to listen at', low=1, high=65535)
    sender: str = param('address of the sensor host, others are refused; empty: anybody')
    receive_buffer_bytes: int = param(
        "kernel's receive buffer to ask for, bytes", low=65536, high=2**30
    )
    clock: str = param('clock model of the sensor host', one_of=('trusted', 'estimated'))
    frame: str = param('frame_id of the samples')
    rate_hz: float = param(
        'nominal sample rate, Hz: losses are told from it', low=1.0, high=100000.0
    )
    force_scale: float = param('N per unit of force on the wire')
    force_offset: float = param('N added after scaling')
    profile_scale: float = param('A-scan: factor from the wire to profile_unit')
    profile_offset: float = param('A-scan: added after scaling, in profile_unit')
    profile_unit: str = param('unit of the A-scan, for people')
    gather_records: int = param(
        'single-record datagrams in one message, at most', low=1, high=1000
    )
    gather_s: float = param('time to gather single-record datagrams, s', low=0.0, high=0.1)
    publish_force: bool = param('also publish sensor/force, one WrenchStamped a sample')
    late_s: float = param(
        'a sample older than this on arrival counts as late, s', low=0.0, high=60.0
    )
    warn_share: float = param('warn below this share of the nominal rate', low=0.0, high=1.0)
    error_share: float = param('error below this share of the nominal rate', low=0.0, high=1.0)
    clock_warn_s: float = param('warn when the clocks differ by more, s', low=0.0, high=60.0)


class SensorDriver(DeviceNode):
    """Threads: `_on_readings` publishes from the reader's thread, everything else from the
    executor's.
    """

    def __init__(self, **kwargs):
        super().__init__('sensor_driver', Parameters, 'oct_force', **kwargs)

    def configure(self) -> None:
        """Bind the port and create the topics."""
        params = self.params
        sensor = UdpSensor(params.bind, params.port, params.receive_buffer_bytes, params.sender)
        self._open(sensor, BENIGN)
        self._samples = self.add_publisher(SensorBatch, 'sensor/samples', qos.SENSOR_STREAM)
        self._force = None
        if params.publish_force:
            self._force = self.add_publisher(WrenchStamped, 'sensor/force', qos.SENSOR_STREAM)

    def activate(self) -> None:
        """Begin to read."""
        params = self.params
        settings = SensorSettings(
            rate_hz=params.rate_hz,
            force_scale=params.force_scale,
            force_offset=params.force_offset,
            profile_scale=params.profile_scale,
            profile_offset=params.profile_offset,
            late_s=params.late_s,
            warn_share=params.warn_share,
            error_share=params.error_share,
            batch_records=params.gather_records,
        )
        self._sequence = 0
        self._read(
            lambda clock: SensorStream(settings, clock, self._device.counters), self._pause_s
        )

    def _stream_health(self) -> list[HealthItem]:
        buffer = buffer_item(self._device.buffer_bytes, self.params.receive_buffer_bytes)
        return [buffer, self._stream.health()]

    def _pause_s(self, readings: list) -> float:
        """Let single-record datagrams gather; the kernel keeps their receive times."""
        return self.params.gather_s if len(readings[-1].records) == 1 else 0.0

    def _on_readings(self, readings: list) -> None:
        for batch in self._stream.accept(readings):
            message = convert.sensor_batch(batch.stamps_ns, batch.force_n, batch.profile)
            message.header.frame_id = self.params.frame
            message.sequence = self._sequence
            message.received_total = self._stream.received_total
            message.lost_total = self._stream.lost_total
            message.receive_delay_s = batch.receive_delay_s
            self._samples.publish(message)
            self._sequence += 1
            if self._force is not None:
                self._publish_force(batch)

    def _publish_force(self, batch: Batch) -> None:
        for stamp_ns, force_n in zip(batch.stamps_ns.tolist(), batch.force_n.tolist()):
            message = WrenchStamped()
            message.header.stamp = convert.to_time(stamp_ns)
            message.header.frame_id = self.params.frame
            message.wrench.force.z = force_n  # the needle's axis is the frame's z
            self._force.publish(message)


def main(args=None) -> int:
    """Entry point."""
    return run_node(SensorDriver, args, NICE)
