"""The benchmark's ROS side: gathers records and capture stamps, without an executor.

Looked at twenty times a second; in between everything waits in the middleware. Sensor batches and
images are taken serialized and only their stamps are read. It subscribes with the QoS and on the
topics of the inference nodes, so what it lacks an inference node may lack.
"""

import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage

from vla_cli import ros_records
from vla_cli.bench import cdr
from vla_cli.bench.counts import SENSOR
from vla_cli.monitor.node import taken
from vla_cli.records import ChunkRecord, PassRecord
from vla_core.contract import Contract
from vla_msgs.msg import ActionChunk, SensorBatch, VLFeatureInfo
from vla_ros import qos


class Listener:
    """Gathers from its construction to `close`. One thread."""

    def __init__(self, contract: Contract):
        self.passes: list[PassRecord] = []
        self.chunks: list[ChunkRecord] = []
        self.stamps_ns: dict[str, list[int]] = {SENSOR: []}
        rclpy.init()
        self._node = Node('vla_bench', enable_rosout=False, start_parameter_services=False)
        self._passes = self._subscribe(VLFeatureInfo, 'vlm/info', qos.CHUNKS)
        self._chunks = self._subscribe(ActionChunk, contract.action.topic, qos.CHUNKS)
        self._batches = self._subscribe(
            SensorBatch, contract.sensor.topic, qos.SENSOR_STREAM, raw=True
        )
        self._images = {
            view.name: self._subscribe(CompressedImage, view.topic, qos.IMAGES, raw=True)
            for view in contract.views
        }

    def close(self) -> None:
        """Leave the graph."""
        self._node.destroy_node()
        rclpy.try_shutdown()

    def poll(self) -> None:
        """Take everything that has arrived."""
        self.passes += [ros_records.pass_record(message) for message in taken(self._passes)]
        self.chunks += [ros_records.chunk_record(message) for message in taken(self._chunks)]
        for data in taken(self._batches):
            self.stamps_ns[SENSOR] += cdr.sensor_stamps_ns(data).tolist()
        for view, subscription in self._images.items():
            stamps = self.stamps_ns.setdefault(view, [])
            stamps += [cdr.header_stamp_ns(data) for data in taken(subscription)]

    def _subscribe(self, kind, topic: str, profile, raw: bool = False):
        return self._node.create_subscription(kind, topic, lambda message: None, profile, raw=raw)
